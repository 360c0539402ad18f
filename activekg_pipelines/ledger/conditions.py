"""Conditions that the statements of several rooms share, for :func:`load_queries`.

``o`` is a row of ``connectors.objects``, ``t`` its text, ``l`` an entry of a listing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OBJECT_CONDITIONS: Final[Mapping[str, str]] = {
    # As planner.is_changed decides.
    "is_changed": (
        "(l.etag <> o.etag AND l.etag IS DISTINCT FROM o.arrived_etag OR l.size <> o.size"
        " OR (%(distrusted)s OR o.etag_is_digest IS FALSE OR o.arrived_etag IS NOT NULL)"
        " AND date_trunc('second', l.modified_at) <> date_trunc('second', o.modified_at))"
    ),
    "is_archived": "(o.state = 'dead' AND o.error_code IS NOT DISTINCT FROM 'archived')",
    # Whether an archived object can be read again, as far as a listing tells. One that is
    # not listed at all is gone.
    "is_restored": (
        "(l.key IS NOT NULL AND o.state = 'dead' AND o.error_code IS NOT DISTINCT FROM 'archived'"
        " AND (o.next_attempt_at IS NULL AND l.is_archived IS NOT TRUE"
        # The source refused it although it was listed so: not before its pause is over.
        " OR l.is_archived IS FALSE AND (o.next_attempt_at <= now()"
        " OR date_trunc('second', l.modified_at) <> date_trunc('second', o.modified_at))))"
    ),
    # To processes of the version before, an archived object is a dead letter.
    "object_state": (
        "CASE WHEN o.state = 'dead' AND o.error_code = 'archived' THEN 'archived'"
        " ELSE o.state::text END"
    ),
    # Of a text, so that the same bytes are read again. No extractor has such a version, and
    # which one read them stays known.
    "to_be_read_again": "'~' || ltrim(t.extractor_version, '~')",
}
