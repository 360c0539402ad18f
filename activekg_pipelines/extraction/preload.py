"""Imported once by the fork server, so that each worker starts with the parsers loaded:
10 ms instead of a second.

Nothing else imports this module.
"""

from __future__ import annotations
