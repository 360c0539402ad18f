"""What the API says of limits.

The sentence of a refusal, and that a connector's documents wait or are left out.
"""

from __future__ import annotations

from activekg_pipelines.connectors.tenant_limits import TenantLimits
from activekg_pipelines.services import Services
from tests.integration.api.conftest import CONFIGS, Caller, LedgerRows, assert_problem, registration
from tests.integration.syncing import in_transaction


def test_one_connector_too_many_is_refused_with_the_limit(
    acme: Caller, globex: Caller, admin: Services
) -> None:
    in_transaction(admin, admin.tenant_limits.set, "acme_corp", TenantLimits(connectors=1))
    acme.register(prefix="a/")
    problem = assert_problem(acme.post(CONFIGS, registration(prefix="b/")), 409, "connector_limit")
    assert "has 1 connectors and may have 1" in problem["detail"]
    assert admin.orchestrator.partitions == {"acme_corp/my-documents-bucket-a"}  # type: ignore[attr-defined]
    globex.register("globex", prefix="b/")


def test_a_connector_shows_its_tenants_limits_and_what_was_used_of_them(
    acme: Caller, admin: Services, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    shown = acme.get(f"{CONFIGS}/{created['id']}").json()
    assert shown["limits"] == {
        "tenant_id": "acme_corp",
        "max_connectors": 100,
        "max_objects_per_connector": None,
        "max_bytes_per_day": None,
        "is_own": False,
        "connectors": 1,
        "objects_over_limit": 0,
        "bytes_today": 0,
        "waits_until": None,
    }

    in_transaction(
        admin,
        admin.tenant_limits.set,
        "acme_corp",
        TenantLimits(objects=10, bytes_per_day=100),
    )
    ledger_rows.execute(
        "INSERT INTO connectors.tenant_usage VALUES ((now() AT TIME ZONE 'UTC')::date, "
        "'acme_corp', 100)"
    )
    ledger_rows.execute(
        "UPDATE connectors.connectors SET last_scan_completed_at = now(), objects_over_limit = 7"
    )
    shown = acme.get(f"{CONFIGS}/{created['id']}").json()
    assert (shown["status"], shown["objects_over_limit"]) == ("object_limit", 7)
    limits = shown["limits"]
    assert (limits["max_objects_per_connector"], limits["max_bytes_per_day"], limits["is_own"]) == (
        10,
        100,
        True,
    )
    assert (limits["bytes_today"], limits["waits_until"].endswith("T00:00:00Z")) == (100, True)


def test_no_token_sets_a_limit(acme: Caller, root: Caller) -> None:
    created = acme.register()
    for caller in (acme, root):
        for body in ({"config": {"max_objects": 0}}, {"config": {}, "limits": {"connectors": 0}}):
            assert_problem(caller.put(f"{CONFIGS}/{created['id']}", body), 422)
        for method in ("POST", "PUT", "DELETE"):
            answer = caller.request(
                method, "/_admin/connectors/limits", json={"tenant_id": "acme_corp"}
            )
            assert answer.status_code in {404, 405}
