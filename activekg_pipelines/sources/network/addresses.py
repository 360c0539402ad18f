"""Which hosts and addresses a tenant's connector may reach. It connects to nothing.

A tenant names the host of its store. Without a rule the service could be sent to its
own network, or to the credentials that a cloud machine's metadata service hands out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from activekg_pipelines.errors import InvalidConnector

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

EVERYWHERE: Final[tuple[Network, ...]] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""For the operator's own endpoints.

AWS itself may have a private address (VPC endpoints with private DNS).
"""

_PRIVATE: Final[tuple[Network, ...]] = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

# Names that the public DNS does not hold: an operator who lists one means a machine of
# the own network. They are from RFC 2606, 6761, 6762 (with its appendix G) and 8375, and
# from the names that ICANN never delegates. ``svc`` is Kubernetes'.
_OWN_SUFFIXES: Final = (
    ".internal", ".local", ".localdomain", ".lan", ".home", ".corp", ".intranet", ".private",
    ".test", ".svc", ".home.arpa",
)  # fmt: skip

# No documents lie there, and so no operator can allow them.
_NEVER: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",  # link-local: metadata of AWS, Google, Azure; credentials of ECS, EKS
            "224.0.0.0/4",
            "240.0.0.0/4",
            "168.63.129.16/32",  # Azure's host, a public address in form only
            "100.100.100.200/32",  # metadata of Alibaba
            "192.0.0.192/32",  # metadata of Oracle
            "::/128",
            "fe80::/10",
            "ff00::/8",
            "fd00:ec2::/32",  # metadata of AWS
            "fd20:ce::254/128",  # metadata of Google
        ),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class AddressRule:
    """The addresses that one endpoint may have, which are never a metadata service's.

    Attributes:
        networks: allowed networks besides the public ones.
    """

    networks: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Why a connection may not go to an address; None where it may.

        The reason ends the sentence "it has the address …".

        Args:
            address: as the resolver gives it, with a scope (``fe80::1%eth0``) or
                without.
        """
        given = ip_address(address)
        real = _embedded(given)
        if _within(given, _NEVER) or _within(real, _NEVER):
            return (
                "which no connector may reach: it is link-local, multicast, reserved or of a "
                "metadata service"
            )
        if _is_public(real) or _within(real, self.networks):
            return None
        return (
            "which is not public. If the store lies there, the operator adds its network to "
            f"ACTIVEKG_PRIVATE_NETWORKS (for example {real}/{real.max_prefixlen})"
        )


def check_endpoint(endpoint_url: str, allowlist: Collection[str]) -> None:
    """Refuse an endpoint whose host the operator did not allow.

    The addresses of the host's name are checked when a connection is made.

    Args:
        endpoint_url: as :data:`~activekg_pipelines.sources.config.EndpointUrl` has it.
        allowlist: ``host`` or ``host:port``.

    Raises:
        InvalidConnector: neither is on the list.
    """
    parts = urlsplit(endpoint_url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if not {parts.hostname, host, f"{host}:{port}"} & {entry.lower() for entry in allowlist}:
        raise InvalidConnector(
            f"endpoint_url: the host {parts.netloc} is not allowed. The operator allows stores by "
            "name in ACTIVEKG_ENDPOINT_ALLOWLIST, for every process."
        )


def rule_for_tenants(host: str, private_networks: Iterable[Network]) -> AddressRule:
    """The rule for a host that a tenant named and the operator's list holds.

    An address on the list means itself, and ``localhost`` means the loopback. A name
    outside the public domains (``minio``, ``minio.internal``) means the operator's
    network. Any other name must have public addresses: a person who controls its DNS
    must not be able to point it into the operator's network.

    Args:
        host: name or address, in lower case, an IPv6 address without brackets.
        private_networks: further networks that the operator allows for every name.
    """
    allowed = tuple(private_networks)
    try:
        return AddressRule((*allowed, ip_network(_embedded(ip_address(host)))))
    except ValueError:
        pass
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return AddressRule((*allowed, *_LOOPBACK))
    if "." not in name or name.endswith(_OWN_SUFFIXES):
        return AddressRule((*allowed, *_PRIVATE))
    return AddressRule(allowed)


def _embedded(address: Address) -> Address:
    """The IPv4 address in a mapped, NAT64, 6to4 or IPv4-compatible IPv6 address.

    A connection to such an address arrives there. Other addresses come back unchanged.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global
    return address in _GLOBAL_UNICAST and address.is_global


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
