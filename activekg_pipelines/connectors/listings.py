"""When a connector's last completed listing is late: parts of statements on connectors.

The connector is ``c`` there.
"""

from __future__ import annotations

from typing import Final

# Three poll intervals and five minutes, as the alert ConnectorNotScanned has it.
_DUE: Final = "now() - make_interval(mins => 5, secs => 3 * c.poll_interval_seconds)"

LISTING_PARTS: Final = {
    "listing_is_in_time": f"c.last_scan_completed_at >= {_DUE}",
    # One that was changed or resumed has as long from then on.
    "listing_is_late": f"greatest(c.last_scan_completed_at, c.created_at, c.updated_at) < {_DUE}",
}
