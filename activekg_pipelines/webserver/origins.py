"""Whose requests are our own page's: names of this server, and origins of browsers.

A browser sends requests for whatever page it shows. What it says about that page cannot
be forged by the page: ``Host``, ``Origin`` and ``Sec-Fetch-Site``. Other programs say
nothing about a page, and hold no cookies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST: Final = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class OriginRefused(Exception):
    """The request is not our own page's. The message is for whoever sent it."""


class Origins:
    """The names under which this server is one's own.

    Args:
        hosts: names or addresses without a port, beside those of the loopback interface.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = LOOPBACK_NAMES | {_name(host) for host in hosts}

    @property
    def only_loopback(self) -> bool:
        """Whether nobody else's browser can have a reason to ask."""
        return all(is_loopback(host) for host in self._hosts)

    def check_host(self, headers: Headers) -> None:
        """Refuse a name that is not ours.

        Whoever owns a domain can point it here, and its pages would be of our origin.

        Raises:
            OriginRefused: none, several, or an unknown one.
        """
        if _host(headers)[0] not in self._hosts:
            raise OriginRefused(
                "This server is not known by that name. Name it in ACTIVEKG_WEBSERVER_HOSTS."
            )

    def check_page(self, headers: Headers, *, reads: bool) -> None:
        """Refuse what another page makes the browser send.

        Args:
            headers: with a host that was checked.
            reads: the request changes nothing. Another page may then lead here, as a
                link does, but embed nothing.

        Raises:
            OriginRefused: another page sent it.
        """
        site = headers.get("sec-fetch-site")
        if site not in {None, "same-origin", "none"}:
            is_link = (
                headers.get("sec-fetch-mode") == "navigate"
                and headers.get("sec-fetch-dest") == "document"
            )
            if not (reads and is_link):
                raise OriginRefused("Another page sent this request.")
        origins = headers.getlist("origin")
        if origins and not reads and (len(origins) > 1 or not _is_own(origins[0], headers)):
            raise OriginRefused(
                "Another page sent this request: its origin is not this server's. A proxy in "
                "between has to pass the header Host on."
            )

    def check_form(self, headers: Headers) -> None:
        """Refuse a form that was not sent from our own page, also where nothing says so.

        Raises:
            OriginRefused: another page sent it, or it is unknown which did.
        """
        self.check_page(headers, reads=False)
        if "origin" not in headers and "sec-fetch-site" not in headers:
            raise OriginRefused("The browser does not say which page sent this form.")


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_own(origin: str, headers: Headers) -> bool:
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    host, own_port = _host(headers)
    return default is not None and (parts.hostname, port or default) == (host, own_port or default)


def _host(headers: Headers) -> tuple[str, int | None]:
    """The name, in lower case, and the port.

    Raises:
        OriginRefused: there is none, or several, or one that other programs might read
            differently.
    """
    given = headers.getlist("host")
    found = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
    if found is None:
        raise OriginRefused("The request needs one header Host with a name.")
    port = found["port"]
    return _name(found["name"]), int(port) if port else None


def _name(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
