"""Who gets in, and what they may not see.

Nothing of one tenant is seen, changed or confirmed to exist by another.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from fastapi.testclient import TestClient

from activekg_pipelines.api.app import MAX_BODY_BYTES, OPENAPI_PATH
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import (
    CONFIGS,
    RUNS,
    Caller,
    LedgerRows,
    Searches,
    assert_problem,
    registration,
)
from tests.tokens import forged, signed

ROUTES = [
    ("POST", CONFIGS, registration()),
    ("GET", CONFIGS, None),
    ("POST", f"{CONFIGS}/test", registration()),
    ("GET", CONFIGS + "/{id}", None),
    ("PUT", CONFIGS + "/{id}", {"config": {"enabled": False}}),
    ("DELETE", CONFIGS + "/{id}?documents=remove", None),
    ("POST", CONFIGS + "/{id}/test", None),
    ("POST", CONFIGS + "/{id}/sync", None),
    ("POST", CONFIGS + "/{id}/confirm-deletes", None),
    ("POST", CONFIGS + "/{id}/preview", None),
    ("GET", CONFIGS + "/{id}/objects", None),
    ("GET", CONFIGS + "/{id}/dead-letters", None),
    ("POST", CONFIGS + "/{id}/dead-letters/replay", {"all": True}),
    ("POST", "/_admin/connectors/rotate_keys", {"dry_run": True}),
    ("GET", RUNS, None),
    ("GET", RUNS + "?config_id={id}", None),
    ("GET", "/_admin/connectors/actions", None),
    ("POST", RUNS + "/{sync_id}/cancel", None),
    ("GET", "/search?q=roof", None),
    ("GET", OPENAPI_PATH, None),
]
BY_ID = [route for route in ROUTES if "{id}" in route[1]]


def call(caller: Caller, route: tuple[str, str, Any], config_id: object) -> Any:
    method, url, body = route
    return caller.request(
        method, url.replace("{id}", str(config_id)), **({} if body is None else {"json": body})
    )


def test_the_list_of_routes_is_complete(client: TestClient) -> None:
    documented = {
        (method.upper(), path.replace("{config_id}", "{id}"))
        for path, methods in client.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        for method in methods
    }
    listed = {(method, url.partition("?")[0]) for method, url, _ in ROUTES}
    assert documented - listed == {("GET", "/healthz"), ("GET", "/readyz")}
    assert listed - documented == {("GET", OPENAPI_PATH)}


def test_no_route_is_open(anonymous: Caller, subtests: pytest.Subtests) -> None:
    for route in ROUTES:
        with subtests.test(route=route[:2]):
            answer = call(anonymous, route, uuid4())
            assert_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_is_asked_for_before_anything_is_told(anonymous: Caller) -> None:
    assert_problem(anonymous.get("/no/such/route"), 401)
    assert_problem(anonymous.request("POST", CONFIGS, content=b"{not json"), 401)
    assert_problem(anonymous.request("PATCH", CONFIGS), 401)
    assert_problem(anonymous.get("/docs"), 401)


def test_every_class_of_bad_token_is_401(client: TestClient, app_settings: Settings) -> None:
    assert app_settings.jwt_secret_key is not None
    secret = app_settings.jwt_secret_key.get_secret_value()
    now = int(time.time())
    good = {
        "sub": "alice",
        "tenant_id": "acme_corp",
        "scopes": ["connectors:admin"],
        "aud": "activekg",
        "iss": "activekg-auth",
        "exp": now + 600,
    }

    def answer(
        changes: dict[str, Any], key: str | None = secret, algorithm: str | None = "HS256"
    ) -> Any:
        claims = {name: value for name, value in (good | changes).items() if value is not None}
        return Caller(client, jwt.encode(claims, key, algorithm=algorithm)).get(CONFIGS)

    assert answer({}).status_code == 200
    for changes in (
        {"exp": now - 600},
        {"exp": None},
        {"nbf": now + 600},
        {"aud": "other"},
        {"iss": "other"},
        {"sub": None},
        {"tenant_id": None},
        {"padding": "x" * 9000},
    ):
        assert_problem(answer(changes), 401)
    assert_problem(answer({}, None, "none"), 401)
    assert_problem(answer({}, secret * 2, "HS512"), 401)
    assert_problem(answer({}, "another-secret-that-is-long-enough-too"), 401)


def test_a_hostile_token_with_the_right_signature_is_401_and_never_500(
    client: TestClient, app_settings: Settings, subtests: pytest.Subtests
) -> None:
    assert app_settings.jwt_secret_key is not None
    secret = app_settings.jwt_secret_key.get_secret_value()
    good = {
        "sub": "alice",
        "tenant_id": "acme_corp",
        "scopes": ["connectors:admin"],
        "aud": "activekg",
        "iss": "activekg-auth",
        "exp": int(time.time()) + 600,
    }
    changes: list[dict[str, Any]] = [
        {"exp": True}, {"exp": "9" * 12}, {"exp": float("nan")}, {"exp": float("inf")},
        {"exp": 10**400}, {"exp": 1e300}, {"exp": []}, {"iat": True}, {"nbf": "0"},
        {"sub": 7}, {"sub": ["alice"]}, {"sub": "a\r\nb"}, {"sub": "\u202ea"}, {"sub": "\ud800"},
        {"sub": "a" * 5000}, {"tenant_id": ["acme_corp"]}, {"tenant_id": {"": 1}},
        {"tenant_id": True}, {"tenant_id": "acme\n"}, {"tenant_id": "\u202eacme"},
        {"scopes": 7}, {"scopes": {"a": 1}}, {"scopes": [["connectors:admin"]]},
        {"aud": 7}, {"aud": [["activekg"]]}, {"iss": ["activekg-auth"]}, {"iss": {}},
        {"jti": 7}, {"padding": "x" * 60_000},
    ]  # fmt: skip
    headers: list[dict[str, Any]] = [
        {"alg": "none"}, {"alg": ["HS256"]}, {"alg": "RS256"}, {"kid": 7}, {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
    ]  # fmt: skip
    tokens = {
        **{repr(change)[:40]: forged(good | change, secret) for change in changes},
        **{repr(header): forged(good, secret, **header) for header in headers},
        "nested": signed(b'{"sub":' + b"[" * 2500, secret),
        "no object": signed(b"[]", secret),
        "long number": signed(b'{"exp":' + b"9" * 5000 + b"}", secret),
    }
    for name, token in tokens.items():
        with subtests.test(token=name):
            assert_problem(Caller(client, token).get(CONFIGS), 401, "unauthenticated")


def test_a_header_that_is_no_bearer_token_is_401(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    for header in (
        "Basic YTpi",
        "Bearer",
        "Bearer ",
        "bearer  ",
        "Token abc",
        "Bearer a b",
        "Bearer é",
    ):
        with subtests.test(header=header):
            assert_problem(client.get(CONFIGS, headers={"Authorization": header.encode()}), 401)


def test_two_tokens_are_no_token(acme: Caller) -> None:
    headers = [("Authorization", f"Bearer {acme.token}"), ("Authorization", "Bearer other")]
    assert_problem(acme.client.get(CONFIGS, headers=headers), 401)


def test_scopes_open_their_own_routes_only(acme: Caller, reader: Caller, root: Caller) -> None:
    assert_problem(reader.get(CONFIGS), 403, "forbidden")
    assert_problem(acme.get("/search", q="roof"), 403, "forbidden")
    assert reader.get("/search", q="roof").status_code == 200
    assert root.get(CONFIGS).status_code == 200


def test_another_tenants_connector_does_not_exist(
    acme: Caller, globex: Caller, ledger_rows: LedgerRows, subtests: pytest.Subtests
) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.txt", state="dead", error="corrupt")
    before = acme.get(f"{CONFIGS}/{created['id']}").json(), ledger_rows.states(created)
    for route in BY_ID:
        with subtests.test(route=route[:2]):
            refused = call(globex, route, created["id"])
            unknown_id = uuid4()
            unknown = call(globex, route, unknown_id)
            assert_problem(refused, 404, "not_found")
            # Word for word what an id that nobody has is answered with.
            assert refused.text.replace(created["id"], "") == unknown.text.replace(
                str(unknown_id), ""
            )

    assert (acme.get(f"{CONFIGS}/{created['id']}").json(), ledger_rows.states(created)) == before
    assert ledger_rows.waiting_runs(created) == []
    assert len(ledger_rows.documents()) == 1


def test_lists_hold_the_own_tenants_rows_only(
    acme: Caller, globex: Caller, ledger_rows: LedgerRows
) -> None:
    ledger_rows.run(acme.register())
    assert globex.get(CONFIGS).json()["items"] == globex.get(RUNS).json()["items"] == []
    own = globex.register("globex")
    ledger_rows.run(own)
    assert [item["id"] for item in globex.get(CONFIGS).json()["items"]] == [own["id"]]
    assert [item["config_id"] for item in globex.get(RUNS).json()["items"]] == [own["id"]]


def test_naming_another_tenant_is_forbidden(acme: Caller) -> None:
    assert_problem(acme.post(CONFIGS, registration("globex")), 403)
    assert_problem(acme.post(f"{CONFIGS}/test", registration("globex")), 403)
    assert_problem(acme.get(CONFIGS, tenant_id="globex"), 403)
    assert_problem(acme.get(RUNS, tenant_id="globex"), 403)


def test_a_super_admin_acts_for_every_tenant(
    acme: Caller, globex: Caller, root: Caller, searches: Searches, ledger_rows: LedgerRows
) -> None:
    ours, theirs = acme.register(), root.register("globex")
    ledger_rows.run(ours)
    assert {item["id"] for item in root.get(CONFIGS).json()["items"]} == {ours["id"], theirs["id"]}
    assert [item["id"] for item in root.get(CONFIGS, tenant_id="globex").json()["items"]] == [
        theirs["id"]
    ]
    assert globex.get(f"{CONFIGS}/{theirs['id']}").status_code == 200
    assert root.post(f"{CONFIGS}/{ours['id']}/sync").status_code == 202
    assert root.get(RUNS, tenant_id="globex").json()["items"] == []
    assert root.get("/search", q="roof", tenant_id="globex").status_code == 200
    assert searches.asked == [("globex", "roof", 10)]
    assert_problem(root.get("/search", q="roof"), 422)


def test_a_tenant_searches_its_own_documents(reader: Caller, searches: Searches) -> None:
    answer = reader.get("/search", q="Where is the roof?", limit=3)
    assert answer.json()["hits"] == [
        {
            "uri": "s3://b/house.md",
            "title": "House",
            "snippet": "The roof is red.",
            "score": 0.5,
            "chunk_index": 3,
            "document_id": "00000000-0000-0000-0000-000000000007",
            "char_start": 10,
            "char_end": 26,
            "page_from": None,
            "page_to": None,
            "headings": [],
            "table_head": None,
            "link": "s3://b/house.md",
            "warnings": [],
        }
    ]
    assert searches.asked == [("acme_corp", "Where is the roof?", 3)]
    assert_problem(reader.get("/search", q="roof", tenant_id="globex"), 403)
    for params in (
        {},
        {"q": " "},
        {"q": "x" * 2001},
        {"q": "roof", "limit": 101},
        {"q": "roof", "colour": "red"},
    ):
        assert_problem(reader.get("/search", **params), 422)


def test_large_bodies_are_refused_whether_declared_or_streamed(acme: Caller) -> None:
    body = b'{"tenant_id": "' + b"x" * MAX_BODY_BYTES + b'"}'
    headers = {"Content-Type": "application/json"}
    assert_problem(
        acme.request("POST", CONFIGS, content=body, headers=headers), 413, "body_too_large"
    )
    streamed = acme.request(
        "POST", CONFIGS, content=iter([body[:1000], body[1000:]]), headers=headers
    )
    assert_problem(streamed, 413, "body_too_large")


def test_unknown_addresses_and_methods_are_problems(acme: Caller) -> None:
    assert_problem(acme.get("/no/such/route"), 404, "not_found")
    assert_problem(acme.get(CONFIGS + "/"), 404, "not_found")
    refused = acme.request("PATCH", CONFIGS)
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"]
