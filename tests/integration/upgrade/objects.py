"""What lies in the buckets of the filled database, byte for byte as it was indexed.

Also the keys that encrypted the secrets of its connectors.
"""

from __future__ import annotations

KEKS = {
    "CONNECTOR_KEK_V1": "Vl9ub3RfYV9zZWNyZXRfb2ZfYW55Ym9keV9fdjFfXzA=",
    "CONNECTOR_KEK_V2": "Vl9ub3RfYV9zZWNyZXRfb2ZfYW55Ym9keV9fdjJfXzA=",
    "CONNECTOR_KEK_ACTIVE_VERSION": "1",
}
ENDPOINT = "http://s3.test:9000"
"""The store's address in the file of rows. Each test session has another one."""

HANDBOOK = {
    # Failed once: it was listed and gone when it was fetched. It has come back since.
    "back.txt": "The valve V-3 opens at 6 bar.\n",
    # A dead letter.
    "broken.docx": "This is no Word file.",
    "late.txt": "Who comes late tells the shift leader.\n",
    "logo.png": "x",
    "notes/": "",
    "notes/empty.txt": "",
    "notes/leave.html": "<html><body><h1>Leave</h1>"
    "<p>Thirty days of leave a year, for everybody.</p></body></html>",
    "notes/übung größe 100%.txt": "The fire drill is on the first Monday of each month.\n",
    "pumps.md": "# Pumps\n\nThe pump P-7 runs at 42 bar.\n\n"
    "# Seals\n\nThe seal of P-7 is of PTFE.\n",
}
# May and January were deleted. The scan that stands half-way has seen it, and has not
# come to its end.
REPORTS = {
    f"2026/{name}.txt": f"The report of {name[3:].title()}: "
    f"{int(name[:2]) * 7} machines were sold.\n"
    for name in (
        "02-february",
        "03-march",
        "04-april",
        "06-june",
        "07-july",
        "08-august",
        "09-september",
    )
}
CONTRACTS = {
    "copy of nda.md": "# NDA\n\nBoth sides keep silent for three years.\n",
    "lease.txt": "The lease of hall 4 ends in 2031.\n",
    "nda.md": "# NDA\n\nBoth sides keep silent for three years.\n",
}
BUCKETS = {
    "acme-handbook": HANDBOOK,
    "acme-reports": REPORTS,
    "globex-contracts": CONTRACTS,
}
