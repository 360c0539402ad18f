"""Which addresses an endpoint may have, by who named its host."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from activekg_pipelines.s3.addresses import EVERYWHERE, AddressRule, rule_for_tenants

PUBLIC = [
    "52.216.8.1",
    "192.88.99.1",
    "2a05:d018::1",
    "64:ff9b::3448:801",
    "2002:3448:801::1",
    "::ffff:52.216.8.1",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1"]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
OTHER_NETWORKS = [
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "2001:db8::1",
    "2001::1",
    "fec0::1",
    "64:ff9b:1::1",
    "4000::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
]
NOWHERE = [
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "ff02::1",
    "fe80::1%eth0",
    "fe80::1",
]


def disguised(address: str) -> list[str]:
    """Every IPv6 address by which the IPv4 address is reached."""
    number = int(ip_network(address).network_address)
    high, low = number >> 16, number & 0xFFFF
    return [
        f"::ffff:{address}",
        f"64:ff9b::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::1",
        f"::{high:x}:{low:x}",
    ]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_for_everybody(address: str) -> None:
    assert AddressRule().refusal(address) is None


@pytest.mark.parametrize("address", [*PRIVATE, *LOOPBACK, *OTHER_NETWORKS])
def test_other_addresses_are_for_endpoints_of_the_operator(address: str) -> None:
    refusal = AddressRule().refusal(address)
    assert refusal is not None
    assert "ACTIVEKG_PRIVATE_NETWORKS" in refusal
    assert AddressRule(EVERYWHERE).refusal(address) is None


@pytest.mark.parametrize("address", [*METADATA, *NOWHERE])
def test_link_local_metadata_and_reserved_addresses_are_for_nobody(address: str) -> None:
    assert AddressRule().refusal(address) is not None
    assert AddressRule(EVERYWHERE).refusal(address) is not None


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "192.168.1.1"])
def test_an_address_in_another_notation_is_the_same_address(address: str) -> None:
    for notation in disguised(address):
        assert AddressRule().refusal(notation) is not None, notation
        assert AddressRule((ip_network(address),)).refusal(notation) is None, notation
    for notation in disguised("169.254.169.254"):
        assert AddressRule(EVERYWHERE).refusal(notation) is not None, notation


@pytest.mark.parametrize(
    ("host", "allowed", "refused"),
    [
        ("s3.wasabisys.com", PUBLIC, PRIVATE + LOOPBACK + METADATA),
        ("minio.corp.example.com", PUBLIC, PRIVATE + LOOPBACK + METADATA),
        ("internal.example.com", PUBLIC, PRIVATE + LOOPBACK + METADATA),
        ("127.1", PUBLIC, PRIVATE + LOOPBACK + METADATA),
        ("minio", PUBLIC + PRIVATE, LOOPBACK + METADATA),
        ("minio.internal", PUBLIC + PRIVATE, LOOPBACK + METADATA),
        ("minio.storage.svc.cluster.local", PUBLIC + PRIVATE, LOOPBACK + METADATA),
        ("2130706433", PUBLIC + PRIVATE, LOOPBACK + METADATA),
        ("localhost", PUBLIC + LOOPBACK, PRIVATE + METADATA),
        ("minio.localhost", PUBLIC + LOOPBACK, PRIVATE + METADATA),
        (
            "10.0.0.1",
            [*PUBLIC, "10.0.0.1", "::ffff:10.0.0.1"],
            [*PRIVATE[1:], *LOOPBACK, *METADATA],
        ),
        ("::1", [*PUBLIC, "::1"], [*PRIVATE, "127.0.0.1", *METADATA]),
        ("169.254.169.254", PUBLIC, PRIVATE + LOOPBACK + METADATA),
    ],
)
def test_what_the_operator_listed_says_where_it_may_lie(
    host: str, allowed: list[str], refused: list[str]
) -> None:
    rule = rule_for_tenants(host, ())
    assert [address for address in allowed if rule.refusal(address)] == []
    assert [address for address in refused if rule.refusal(address) is None] == []


def test_a_network_of_the_operator_is_for_every_listed_name() -> None:
    rule = rule_for_tenants(
        "s3.example.com", [ip_network("10.2.0.0/16"), ip_network("fd00:1::/32")]
    )
    assert rule.refusal("10.2.3.4") is None
    assert rule.refusal("fd00:1::9") is None
    assert rule.refusal("10.3.0.1") is not None
    assert rule.refusal("fd00:2::9") is not None
