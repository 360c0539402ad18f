"""The names of this package's sensors."""

from __future__ import annotations

from typing import Final

WORK_QUEUE_SENSOR: Final = "work_queue"
"""Tells this package's code location from others in the same workspace."""
