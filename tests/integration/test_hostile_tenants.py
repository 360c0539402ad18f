"""Names and keys that tenants choose are only text everywhere.

They are no SQL, no file, no sensor of another tenant, and no line of a log.
"""

from __future__ import annotations

import hashlib
import io
import logging
import string
import unicodedata
from collections.abc import Iterator

import dagster as dg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from activekg_pipelines.connectors.models import TenantId, partition_key
from activekg_pipelines.defs.sensors import tenant_sensor
from activekg_pipelines.errors import Corrupt
from activekg_pipelines.logs import TextFormatter
from activekg_pipelines.orchestrator.sensors import sensor_name
from activekg_pipelines.pipeline.extract import log_failure
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import ConnectorName
from activekg_pipelines.sources.s3.config import S3Config
from tests.fault_proxy import Answer, FaultProxy
from tests.integration.api.conftest import (
    CONFIGS,
    Caller,
    acme,
    admin,
    client,
    orchestrator,
    searches,
)
from tests.integration.cli.conftest import CommandLine, cli
from tests.integration.syncing import documents, drain, found, outcomes, query, scan, states, sync
from tests.s3_bucket import Bucket

__all__ = ["acme", "admin", "cli", "client", "orchestrator", "searches"]


def default_name(bucket: str, prefix: str) -> str:
    return S3Config.stored({"bucket": bucket, "prefix": prefix}, {}).default_name()


HOSTILE_KEYS = [
    " ",
    "   ",
    "trailing spaces   ",
    ".",
    "..",
    "./.",
    "../../../../etc/passwd",
    "/",
    "//",
    "/a",
    "a//b",
    "a/./b/../c",
    "C:\\windows\\system32",
    "%",
    "%2F",
    "%00",
    "%0a",
    "%s%n%x",
    "+",
    "a+b c%20d",
    "'; DROP TABLE nodes; --",
    '" OR ""="',
    "\\'; SELECT pg_sleep(100); --",
    "$1 %(key)s {key} {0.__class__}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>.md",
    "[link](javascript:alert(1)).txt",
    '=HYPERLINK("http://evil.example.com").txt',
    "\u202egnp.txt",
    "\u2066left\u2069.txt",
    "\u2028separator\u2029.txt",
    "\u200bzero width",
    "\ufeffmark",
    "emoji 👩\u200d🚀🏴\u200d☠️.txt",
    "tab\there.txt",
    "return\rhere.txt",
    "\x01\x02\x07\x08\x0b\x0c\x1b[31mred\x1b]0;title\x07\x7f\x9b.txt",
    "é" * 512,
    "𐀀" * 256,
    "x" * 1024,
    "a" * 1020 + ".txt",
    "s3:other_tenant:bucket/key",
    "#chunk:0:0",
    "nul\\x00.txt",
    "\ud7ff\ue000\uffff.txt",
]
# The stand-in for S3 lists these and cannot give them, so the proxy gives them.
UNSERVED_KEYS = ["new\nline.txt", "INFO: everything is fine\nERROR: nothing.txt"]


def body_of(key: str) -> str:
    return (
        "A report about penguins, number "
        f"{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}."
    )


def sync_hostile_keys(
    services: Services, bucket: Bucket, proxy: FaultProxy, keys: list[str], **changes: object
) -> object:
    """Put and sync objects with these keys, through the proxy."""
    connector = bucket.register(services, endpoint_url=proxy.url, **changes)
    bucket.put_many({key: body_of(key) for key in keys})
    for key in UNSERVED_KEYS:
        body = body_of(key).encode()
        headers = {
            "ETag": f'"{hashlib.md5(body).hexdigest()}"',
            "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
        }
        proxy.inject(
            "GET", key, lambda _, body=body, headers=headers: Answer(200, headers, body, len(body))
        )
    sync(services, connector)
    return connector


# Keys


def test_a_document_with_any_key_is_found_under_its_uri_and_goes_when_the_key_goes(
    configured: object, bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_delete_guard_min_objects=1000)
    keys = [*HOSTILE_KEYS, *UNSERVED_KEYS]
    connector = sync_hostile_keys(services, bucket, proxy, keys)
    documents_of = {key: f"s3://{bucket.name}/{key}" for key in keys}
    assert states(services, connector) == dict.fromkeys(keys, ("indexed", None))
    assert found(services, "penguins", limit=100) == set(documents_of.values())
    for key in ("..", "'; DROP TABLE nodes; --", "\u202egnp.txt", "new\nline.txt", " "):
        digest = body_of(key).split()[-1]
        assert documents_of[key] in found(services, f"report number {digest}", limit=100)

    gone = keys[::2]
    bucket.delete(*(key for key in gone if key not in UNSERVED_KEYS))
    remove_unserved(bucket, [key for key in gone if key in UNSERVED_KEYS])
    scan(services, connector)
    assert documents(services) == {uri for key, uri in documents_of.items() if key not in gone}
    drain(services, connector)


def remove_unserved(bucket: Bucket, keys: list[str]) -> None:
    from moto.backends import get_backend
    from moto.core import DEFAULT_ACCOUNT_ID

    for key in keys:
        get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].delete_object(bucket.name, key)


def test_a_dead_letter_with_any_key_is_replayed_by_its_key(
    services: Services, bucket: Bucket, acme: Caller, cli: CommandLine
) -> None:
    keys = [key for key in [*HOSTILE_KEYS, *UNSERVED_KEYS] if not key.endswith("/")]
    connector = bucket.register(services, name="hostile")
    scan(services, connector)
    with services.database.transaction() as conn:
        for key in keys:
            conn.execute(
                "INSERT INTO connectors.objects"
                " (connector_id, tenant_id, key, etag, size, modified_at, state, error_code)"
                " VALUES (%s, 'acme_corp', %s, 'e', 5, now(), 'dead', 'corrupt')",
                (connector.id, key),
            )
    listed = acme.get(f"{CONFIGS}/{connector.id}/dead-letters", limit=100).json()["items"]
    assert {item["key"] for item in listed} == set(keys)
    for number, key in enumerate(keys):
        if number % 2:
            answer = acme.post(f"{CONFIGS}/{connector.id}/dead-letters/replay", {"keys": [key]})
            assert (answer.status_code, answer.json()) == (200, {"replayed": 1}), (key, answer.text)
        else:
            command = ("dead-letters", "replay", "acme_corp/hostile", f"--key={key}")
            assert cli.json(*command) == {"replayed": 1}, key
        assert outcomes(services, connector)[key].state == "pending", key
        assert (
            sum(ended.state == "dead" for ended in outcomes(services, connector).values())
            == len(keys) - number - 1
        )


# Any character that S3 can hold, but for the line end that its stand-in cannot give;
# NUL is left out of the ledger.
_KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\n"), min_size=1, max_size=60
).filter(lambda key: not key.endswith("/"))


@examples(
    max_examples=8,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.sets(_KEYS, min_size=1, max_size=40))
def test_documents_are_those_of_the_bucket_whatever_the_keys(
    services: Services, bucket: Bucket, keys: set[str]
) -> None:
    name = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:40]
    mine = Bucket.create(bucket.endpoint_url, f"any-{name}")
    connector = mine.register(services)
    mine.put_many({key: body_of(key) for key in keys})
    sync(services, connector)
    assert {uri for uri in documents(services) if uri.startswith(f"s3://any-{name}/")} == {
        f"s3://any-{name}/{key}" for key in keys if states(services, connector)[key][0] == "indexed"
    }
    assert {code for _, code in states(services, connector).values()} <= {None, "unsupported_type"}


def test_no_key_takes_the_place_of_another_documents_chunk(
    services: Services, bucket: Bucket
) -> None:
    connector = bucket.register(services)
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(services, connector)
    (identity,) = query(
        services, "SELECT props ->> 'external_id' FROM nodes WHERE 'Chunk' = ANY(classes)"
    )[0]
    key = identity.split(f"{bucket.name}/", 1)[1]
    assert key.startswith("a.txt#")
    bucket.put(key, "Walruses live in the Arctic.")
    sync(services, connector)
    assert documents(services) == {f"s3://{bucket.name}/a.txt", f"s3://{bucket.name}/{key}"}
    assert len(found(services, "Where do they live?")) == 2
    bucket.delete(key)
    scan(services, connector)
    assert found(services, "Penguins") == {f"s3://{bucket.name}/a.txt"}


@pytest.mark.parametrize("key", [*HOSTILE_KEYS, *UNSERVED_KEYS])
def test_a_key_is_one_line_of_the_log_and_commands_no_terminal(key: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("activekg_pipelines")
    logger.addHandler(handler)
    try:
        log_failure(
            "extract", f"s3://bucket/{key}", Corrupt(f"The document s3://bucket/{key} is damaged.")
        )
    finally:
        logger.removeHandler(handler)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("ERROR: ")
    assert not any(unicodedata.category(character) == "Cc" for character in line)
    assert not {"\u2028", "\u2029", "\u202e", "\u2066", "\u2069"} & set(line)


# Names


def names() -> Iterator[str]:
    """Tenant ids that are alike once what Dagster refuses is replaced or cut."""
    yield from (
        "acme",
        "acme_corp",
        "acme-corp",
        "acme.corp",
        "acme@corp",
        "acme--corp",
        "acme__corp",
        "Acme_Corp",
    )
    yield from ("a" * 80, "a" * 81, "a" * 127, "a" * 127 + "b", "a" * 127 + "c", "a-" * 60)
    for odd in ("acme-corp", "acme.corp", "a" * 127 + "b"):
        # What another tenant's sensor is called, as a tenant's id.
        yield sensor_name(odd).removeprefix("poll_")
        digest = hashlib.sha256(odd.encode()).hexdigest()
        yield f"acme_corp_{digest[:8]}"
        yield f"acme_corp_{digest[:32]}"


def test_every_tenant_has_a_sensor_of_its_own(instance: dg.DagsterInstance) -> None:
    tenants = sorted(set(names()))
    valid = TypeAdapter(TenantId)
    for tenant in tenants:
        valid.validate_python(tenant)
    sensors = [tenant_sensor(tenant, 900) for tenant in tenants]
    assert len({sensor.name for sensor in sensors}) == len(tenants)
    assert all(
        set(sensor.name) <= {*string.ascii_letters, *string.digits, "_"} for sensor in sensors
    )
    assert sensor_name("acme_corp") == "poll_acme_corp"
    # Dagster refuses two sensors of one name, and names and tags that it does not like.
    dg.Definitions(sensors=sensors)

    keys = [
        partition_key(tenant, name)
        for tenant in tenants
        for name in ("documents", default_name("b", "a/../b c"))
    ]
    instance.add_dynamic_partitions("connector", keys)
    assert set(instance.get_dynamic_partitions("connector")) == set(keys)
    assert len(set(keys)) == len(keys)


_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}", fullmatch=True)


@examples(max_examples=300, database=None, deadline=None)
@given(one=_IDS, other=_IDS)
def test_two_ids_never_share_a_sensor(one: str, other: str) -> None:
    assert (sensor_name(one) == sensor_name(other)) == (one == other)
    assert (partition_key(one, "n") == partition_key(other, "n")) == (one == other)


NO_NAMES = [
    "", " ", "a b", "a/b", "a:b", "../a", "a..b", ".a", "_a", "-a", "@a", "a\n", "a\x00",
    "a\x1b[31m", "a'b", 'a"b', "a;b", "a%b", "a\\b", "a{b}", "a$b", "<b>", "é", "\u202ea",
    "a,b", "a=b", "a\u200bb", "\uff41", "a" * 129,
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_needed_escaping_somewhere_is_refused(name: str) -> None:
    for kind in (TenantId, ConnectorName):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(name)


@pytest.mark.parametrize("prefix", ["a\x00b", "\ud800", "é" * 513])
def test_a_prefix_that_no_key_can_have_is_refused(bucket: Bucket, prefix: str) -> None:
    with pytest.raises(ValidationError):
        bucket.config(prefix=prefix)


@examples(max_examples=200, database=None, deadline=None)
@given(
    prefix=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=120
    )
)
def test_a_connectors_own_name_is_one_that_could_be_registered(prefix: str) -> None:
    TypeAdapter(ConnectorName).validate_python(default_name("bucket", prefix))


# Prefixes


@pytest.mark.parametrize(
    ("prefix", "hint"),
    [
        ("/documents/", "'documents/' is probably meant"),
        ("Documents/", "case-sensitive"),
        ("\u202eno\x1b[2J", "check"),
    ],
)
def test_a_prefix_that_matches_nothing_is_warned_of(
    services: Services, bucket: Bucket, acme: Caller, cli: CommandLine, prefix: str, hint: str
) -> None:
    bucket.put("documents/a.txt", "text")
    created = acme.register(
        bucket=bucket.name, endpoint_url=bucket.endpoint_url, prefix=prefix, name="odd"
    )
    answer = acme.post(f"{CONFIGS}/{created['id']}/test").json()
    assert (answer["status"], answer["objects_found"]) == ("success", 0)
    assert hint in answer["warning"]
    shown = cli("connectors", "test", "acme_corp/odd").stdout
    assert "Warning: No key begins with" in shown
    assert "\x1b" not in shown


def test_a_prefix_with_a_leading_slash_that_keys_have_is_taken_as_it_is(
    services: Services, bucket: Bucket, acme: Caller
) -> None:
    bucket.put_many(
        {
            "/documents/a.txt": "A text about penguins.",
            "documents/b.txt": "Another one about penguins.",
        }
    )
    created = acme.register(
        bucket=bucket.name, endpoint_url=bucket.endpoint_url, prefix="/documents/", name="slash"
    )
    answer = acme.post(f"{CONFIGS}/{created['id']}/test").json()
    assert answer == {"status": "success", "message": answer["message"], "objects_found": 1}
    sync(services, services.connector_of_partition("acme_corp/slash"))
    assert documents(services) == {f"s3://{bucket.name}//documents/a.txt"}
