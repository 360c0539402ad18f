"""Sends this package's log records to standard error, as text or as JSON lines.

Each record carries the fields of the current work: tenant, connector, run and object.
They lie in a context variable, so that no call has to pass them on.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from activekg_pipelines.quoting import ESCAPES, printable

if TYPE_CHECKING:
    from activekg_pipelines.connectors.models import Connector
    from activekg_pipelines.services import Services

P = ParamSpec("P")
R = TypeVar("R")

# What every record carries. Anything else was passed as ``extra`` and is a field.
_BUILT_IN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_fields: ContextVar[Mapping[str, str]] = ContextVar("activekg_log_fields", default={})  # noqa: B039 - never changed


@contextmanager
def log_fields(**fields: str) -> Iterator[None]:
    """Add these fields to every record made inside, besides those of the outer work.

    A new thread starts without them. Run its work in a copy of the context
    (``contextvars.copy_context().run``).

    Args:
        fields: ``tenant``, ``connector`` (its name), ``run`` (Dagster's id), ``object``
            (its URI).
    """
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def logs_connector(
    work: Callable[Concatenate[Services, Connector, P], R],
) -> Callable[Concatenate[Services, Connector, P], R]:
    """Decorates work on a connector: its records carry ``tenant`` and ``connector``."""

    @wraps(work)
    def logged(services: Services, connector: Connector, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with log_fields(tenant=connector.tenant_id, connector=connector.name):
            return work(services, connector, *args, **kwargs)

    return logged


class ContextFields(logging.Filter):
    """Adds the fields of the current work to each record, unless it has them already."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        for name, value in _fields.get().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class Redaction(logging.Filter):
    """Removes from each record what looks like a secret, and bounds its length.

    No code of this package logs a secret. This is a second protection. It changes the
    record itself, so that handlers of parent loggers get it without the secret, too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, cleaned."""
        # Twice as much is looked through: half of a secret looks like none.
        message = redact(_message(record)[: 2 * _MOST_CHARACTERS])
        record.msg, record.args = message[:_MOST_CHARACTERS], None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            lines = record.exc_text.splitlines()[-_MOST_LINES:]
            cleaned = redact("\n".join(line[: 2 * _MOST_OF_A_LINE] for line in lines))
            record.exc_text = "\n".join(
                printable(line, _MOST_OF_A_LINE) for line in cleaned.splitlines()
            )
        for name, value in vars(record).items():
            if name not in _BUILT_IN:
                vars(record)[name] = (
                    _REDACTED if _SECRET_NAME.fullmatch(name) else _redact_value(value)
                )
        return True


class TextFormatter(logging.Formatter):
    """``LEVEL: message``, with control characters escaped.

    Object keys may hold characters that break lines or control terminals.
    """

    def __init__(self) -> None:
        super().__init__("%(levelname)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - theirs
        """The record's first line."""
        return super().formatMessage(record).translate(ESCAPES)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _BUILT_IN}
        if record.exc_text or record.exc_info:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(fields, default=str)


def configure_logging(level: str, style: str) -> None:
    """Attach one handler to this package's logger.

    Another call changes level and style.

    Args:
        level: a level's name in :mod:`logging`.
        style: ``text`` or ``json``.
    """
    logger = logging.getLogger("activekg_pipelines")
    handler = logging.StreamHandler()
    handler.addFilter(ContextFields())
    handler.addFilter(Redaction())
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logger.handlers = [handler]
    logger.setLevel(level)


_REDACTED: Final = "[redacted]"
# A store's error of a megabyte must not become a line of a megabyte.
_MOST_CHARACTERS: Final = 16_000
_MOST_LINES: Final = 400
_MOST_OF_A_LINE: Final = 2_000
_SECRET_NAME: Final = re.compile(
    r"(?i)[\w.-]*(?:password|passwd|pwd|passphrase|secret|token|credential|authorization|api_?key|private_?key|kek)[\w.-]*"
)
# The two groups of each pattern stay; the text between them is removed. A name is looked
# for from its first character only, and is not endless: a store chooses the text.
_PATTERNS: Final = (
    # password=…, secret_access_key: "…", X-Amz-Signature=…: quoted values to their end,
    # others to the next separator.
    re.compile(
        r"""(?ix) (
            (?<![\w.-]) [\w.-]*
            (?: password | passwd | pwd | passphrase | secret | token | signature | credential
              | api_?key | private_?key | kek )
            [\w.-]{0,100}+
            ["']? \s* (?: = | (?<=["']) : | : (?= \s* ["'] ) ) \s*
        ) (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;&)}\]"']+ ) ()"""
    ),
    # The password in scheme://user:password@host.
    re.compile(r"(://[^\s:/@]*:)[^\s/?\#]+(@)"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/-]{8,}=*()"),
    # JWT.
    re.compile(r"()\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?()"),
    # Fernet token, and Fernet key: 32 bytes in URL-safe base64.
    re.compile(r"()\bgAAAA[\w-]{16,}=*()"),
    re.compile(r"()(?<![\w+/=-])[\w-]{43}=(?![\w=])()"),
    # A private key in PEM form, its line ends written out or not.
    re.compile(
        r"(?s)()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)()"
    ),
    # Google's access token.
    re.compile(r"()\bya29\.[\w.-]+()"),
    # AWS access key id.
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b()"),
)
# An AWS secret is 40 characters of base64, and so may be the path of an object: URIs of
# objects are left as they are. Upper and lower case and a digit tell it from a SHA-1 in
# hexadecimal and from long words.
_AWS_SECRET: Final = re.compile(
    r"((?:s3|gs)://\S+)|(?<![A-Za-z0-9+/=])(?=[^a-z]{0,39}[a-z])(?=[^A-Z]{0,39}[A-Z])(?=[^0-9+]{0,39}[0-9+])"
    r"[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])"
)


def redact(text: str) -> str:
    """``text`` without what looks like a password, a key or a token."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{_REDACTED}\2", text)
    return _AWS_SECRET.sub(lambda match: match.group(1) or _REDACTED, text)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # Arguments that do not fit the message must not be lost, and must not stop the
        # work that logs.
        return f"{record.msg} {record.args}"


def _redact_value(value: object) -> object:
    match value:
        case bool() | int() | float() | None:
            return value
        case dict():
            return {
                key: _REDACTED
                if isinstance(key, str) and _SECRET_NAME.fullmatch(key)
                else _redact_value(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_redact_value(item) for item in value]
        case _:
            return redact(str(value))
