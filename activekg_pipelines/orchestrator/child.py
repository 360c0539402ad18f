"""Dagster's command line, as a child process that ends when its parent dies.

Run as ``python -m activekg_pipelines.orchestrator.child``.
"""

from __future__ import annotations

import ctypes
import signal
import sys

from dagster._cli import main

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    # Linux only. Elsewhere a killed parent leaves Dagster running, as a terminal does.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    main()  # type: ignore[no-untyped-call]
