"""Sends this package's log records to standard error, as text or as JSON lines."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

# Everything a record carries by itself; what is left was passed as ``extra`` and is a field.
_BUILT_IN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _BUILT_IN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def configure_logging(level: str, style: str) -> None:
    """Attach one handler to this package's logger; calling it again changes level and style.

    Args:
        level: a name of :mod:`logging`'s.
        style: ``text`` or ``json``.
    """
    logger = logging.getLogger("activekg_pipelines")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter("%(levelname)s: %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(level)
