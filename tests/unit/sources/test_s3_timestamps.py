"""Times in answers of S3, as its stores write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.utils import parse_timestamp

from activekg_pipelines.sources.s3.client import _parse_timestamp

MOMENT = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-24T10:30:00.000Z",
        "2026-11-24T10:30:00Z",
        "2026-11-24T12:30:00+02:00",
        "Tue, 24 Nov 2026 10:30:00 GMT",
        "20261124T103000Z",
        1795516200,
    ],
)
def test_every_way_of_writing_a_time_is_read_as_the_library_reads_it(written: object) -> None:
    assert _parse_timestamp(written) == parse_timestamp(written) == MOMENT


@pytest.mark.parametrize("written", ["yesterday", "", "2026-13-45T00:00:00Z"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        _parse_timestamp(written)
