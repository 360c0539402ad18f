"""Rotating the key that encrypts credentials.

It is counted, only some may do it, and it is safe beside everything else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from pydantic import SecretStr

from activekg_pipelines.api.app import create_app
from activekg_pipelines.connectors import rotation
from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.store import ConnectorStore
from activekg_pipelines.errors import ActiveKGError
from activekg_pipelines.services import Services
from tests.integration.api.conftest import CONFIGS, Caller, LedgerRows, assert_problem
from tests.parts import with_parts
from tests.registry import change, secrets_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3ConfigPatch

ROTATE = "/_admin/connectors/rotate_keys"
KEYS = {version: SecretStr(Fernet.generate_key().decode()) for version in (1, 2)}
SECRET = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}


def store_with(admin: Services, *versions: int, active: int) -> ConnectorStore:
    ring = KeyRing({version: KEYS[version] for version in versions}, active)
    return ConnectorStore(ring, admin.settings)


@pytest.fixture
def admin(admin: Services) -> Services:
    """The API has both keys, and the new one is active."""
    return with_parts(admin, keyring=KeyRing(KEYS, 2), connectors=store_with(admin, 1, 2, active=2))


@pytest.fixture
def register_before(
    admin: Services, orchestrator: object
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Registers connectors as they were before the new key."""
    before = with_parts(
        admin, keyring=KeyRing({1: KEYS[1]}, 1), connectors=store_with(admin, 1, active=1)
    )
    with TestClient(create_app(with_parts(before, orchestrator=orchestrator))) as client:

        def register(
            caller: Caller, tenant_id: str = "acme_corp", **changes: Any
        ) -> dict[str, Any]:
            return Caller(client, caller.token).register(tenant_id, **changes)

        yield register


def versions(admin: Services) -> list[int]:
    return sorted(connector.kek_version for connector in list(admin.every_connector()))


def test_after_a_rotation_the_old_key_can_go(
    root: Caller, admin: Services, register_before: Any
) -> None:
    ids = [register_before(root, prefix=f"{number}/")["id"] for number in range(5)]
    new = root.register(prefix="new/")
    answer = root.post(ROTATE, {"batch_size": 2})
    assert answer.json() == {
        "rotated": 5,
        "remaining": 0,
        "failed": [],
        "dry_run": False,
        "active_version": 2,
    }
    without_old = with_parts(admin, connectors=store_with(admin, 2, active=2))
    assert [secrets_of(without_old, id_) for id_ in [*ids, new["id"]]] == [SECRET] * 6
    assert root.post(ROTATE).json()["rotated"] == 0


def test_nothing_but_the_envelope_changes(
    root: Caller, admin: Services, register_before: Any
) -> None:
    created = register_before(root)
    root.post(ROTATE)
    assert root.get(f"{CONFIGS}/{created['id']}").json().items() >= created.items()


def test_a_dry_run_says_so_and_changes_nothing(
    root: Caller, admin: Services, register_before: Any
) -> None:
    register_before(root)
    answer = root.post(ROTATE, {"dry_run": True}).json()
    assert answer == {
        "rotated": 1,
        "remaining": 0,
        "failed": [],
        "dry_run": True,
        "active_version": 2,
    }
    assert versions(admin) == [1]


def test_an_administrator_rotates_its_own_tenants(
    acme: Caller,
    globex: Caller,
    root: Caller,
    reader: Caller,
    admin: Services,
    register_before: Any,
) -> None:
    register_before(acme)
    register_before(globex, "globex")
    register_before(root, "umbrella")
    assert_problem(reader.post(ROTATE), 403)
    assert_problem(acme.post(ROTATE, {"tenant_id": "globex"}), 403)
    assert versions(admin) == [1, 1, 1]
    answer = acme.post(ROTATE).json()
    assert (answer["rotated"], answer["remaining"]) == (1, 0)
    assert versions(admin) == [1, 1, 2]
    assert root.post(ROTATE, {"tenant_id": "umbrella", "provider": "s3"}).json()["rotated"] == 1
    assert root.post(ROTATE).json()["rotated"] == 1


def test_what_cannot_be_read_is_named_and_keeps_its_key(
    root: Caller, admin: Services, register_before: Any, ledger_rows: LedgerRows
) -> None:
    good, broken, lost = (register_before(root, prefix=f"{number}/")["id"] for number in range(3))
    ledger_rows.execute("UPDATE connectors.connectors SET secrets = 'x' WHERE id = %s", [broken])
    ledger_rows.execute("UPDATE connectors.connectors SET kek_version = 7 WHERE id = %s", [lost])
    for dry_run in (True, False):
        answer = root.post(ROTATE, {"dry_run": dry_run, "batch_size": 1}).json()
        assert (answer["rotated"], answer["remaining"]) == (1, 2)
        reasons = {failure["config_id"]: failure["reason"] for failure in answer["failed"]}
        assert reasons.keys() == {broken, lost}
        assert "CONNECTOR_KEK_V7" in reasons[lost]
    assert secrets_of(admin, good) == SECRET


def test_new_credentials_win_over_a_rotation_that_read_the_old_ones(
    root: Caller, admin: Services, register_before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = register_before(root)
    # A process that still has the old key active changes the credentials between
    # reading and writing.
    old_process = store_with(admin, 1, active=1)
    patch = S3ConfigPatch(
        access_key_id=SecretStr("AKIANEWNEWNEWNEWNEW1"), secret_access_key=SecretStr("n" * 40)
    )
    write = rotation._write
    interruptions = iter([True])

    def write_late(*arguments: Any) -> int:
        if next(interruptions, False):
            with admin.database.transaction() as conn:
                old_process.update(conn, created["id"], patch)
        return write(*arguments)

    monkeypatch.setattr(rotation, "_write", write_late)
    answer = root.post(ROTATE).json()
    assert (answer["rotated"], answer["remaining"]) == (1, 0)
    assert secrets_of(
        with_parts(admin, connectors=store_with(admin, 2, active=2)), created["id"]
    ) == {
        "access_key_id": "AKIANEWNEWNEWNEWNEW1",
        "secret_access_key": "n" * 40,
    }


def test_readers_and_writers_beside_a_rotation_notice_nothing(
    root: Caller, admin: Services, register_before: Any
) -> None:
    ids = [register_before(root, prefix=f"{number}/")["id"] for number in range(20)]
    done = threading.Event()
    errors: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            for id_ in ids:
                try:
                    assert secrets_of(admin, id_) == SECRET
                    change(admin, id_, S3ConfigPatch(poll_interval_seconds=120))
                except (ActiveKGError, psycopg.Error, AssertionError) as error:
                    errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    total = sum(root.post(ROTATE, {"batch_size": 3}).json()["rotated"] for _ in range(2))
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert total == 20
    assert versions(admin) == [2] * 20


def test_requests_that_mean_nothing_are_refused(root: Caller) -> None:
    for body in (
        {"batch_size": 0},
        {"batch_size": 1001},
        {"provider": "drive"},
        {"tenant_id": "a/b"},
        {"force": True},
    ):
        assert_problem(root.post(ROTATE, body), 422)
