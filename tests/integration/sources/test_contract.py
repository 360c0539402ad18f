"""What every source does, whatever place it reads: the contract, over HTTP."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activekg_pipelines.errors import ObjectGone, TooLarge
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.probe import probe
from activekg_pipelines.sources.source import Entry, Location, Source
from tests.places import Place

ODD_KEYS = [
    "a",
    "a b/c  d.txt",
    "a+b.txt",
    "a/b//c.txt",
    "a%2Fb%.txt",
    "folder/",
    "q?x=1&y#z;.txt",
    "reports-2024.txt",
    "reports/a.txt",
    "wilde \"quotes\" 'and' <tags>.txt",
    "ünï/é.txt",
    "文書.txt",
    "\uffee.txt",
    "\U0001f600.txt",
    "~.txt",
    "x" * 1024,
]
MAX_BYTES = 1_000_000


@contextmanager
def opened(place: Place, **changes: object) -> Iterator[Source]:
    with closing(place.open(**changes)) as source:
        yield source


def listed(source: Source, after: str = "") -> list[Entry]:
    return [entry for page in source.pages(after) for entry in page.entries]


def keys(source: Source, after: str = "") -> list[str]:
    return [entry.key for entry in listed(source, after)]


def in_byte_order(some: list[str]) -> list[str]:
    return sorted(some, key=str.encode)


def test_an_empty_place_has_one_empty_page(place: Place) -> None:
    with opened(place) as source:
        (page,) = source.pages()
        assert page.entries == []
        assert page.is_last
        assert source.find("a.txt") is None
        assert probe(source).objects == 0


def test_keys_come_as_they_are_in_the_order_of_their_bytes(place: Place) -> None:
    for key in ODD_KEYS:
        place.put(key, f"of {key}")
    with opened(place) as source:
        assert keys(source) == in_byte_order(ODD_KEYS)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_object_is_found_fetched_and_read_by_its_key(
    place: Place, key: str, tmp_path: Path
) -> None:
    place.put("0 before", "something else")
    place.put(key, f"of {key}")
    with opened(place) as source:
        entry = source.find(key)
        assert entry is not None
        assert entry.key == key
        fetched = source.fetch(key, entry.etag, tmp_path / "object", max_bytes=MAX_BYTES)
        assert fetched.path.read_text() == f"of {key}"
        source.read_one_byte(key)


def test_an_entry_says_size_time_and_version(place: Place) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    place.put("a.txt", "one")
    with opened(place) as source:
        (entry,) = listed(source)
        assert entry.size == 3
        assert before <= entry.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
        assert entry.modified_at.tzinfo is UTC
        assert entry == source.find("a.txt")
        place.put("a.txt", "two")
        (changed,) = listed(source)
        assert changed.etag != entry.etag


def test_a_listing_goes_on_after_any_key_whether_it_is_still_there_or_not(place: Place) -> None:
    for key in ODD_KEYS:
        place.put(key, "x")
    ordered = in_byte_order(ODD_KEYS)
    with opened(place) as source:
        for number, key in enumerate(ordered, start=1):
            assert keys(source, key) == ordered[number:], key
        assert keys(source, "reports-") == ordered[ordered.index("reports-2024.txt") :]
        (last,) = source.pages(ordered[-1])
        assert last.entries == []
        assert last.is_last


def test_only_keys_under_the_prefix_are_listed(place: Place) -> None:
    for key in ("a.txt", "reports", "reports-2024.txt", "reports/a.txt", "reports/b c.txt", "z"):
        place.put(key, "x")
    with opened(place, prefix="reports/") as source:
        assert keys(source) == ["reports/a.txt", "reports/b c.txt"]
        assert keys(source, "reports/a.txt") == ["reports/b c.txt"]
        assert [e.key for p in source.listing() for e in p.entries] == keys(source)
    with opened(place, prefix="rep") as source:
        assert len(keys(source)) == 4


def test_fifteen_hundred_objects_come_in_two_pages(place: Place) -> None:
    names = [f"{number:04}.txt" for number in range(1500)]
    place.put_many(dict.fromkeys(names, "x"))
    with opened(place) as source:
        first, second = source.pages()
        assert [e.key for e in (*first.entries, *second.entries)] == names
        assert (len(first.entries), first.is_last) == (1000, False)
        assert (len(second.entries), second.is_last) == (500, True)
        assert keys(source, "1000.txt") == names[1001:]
        assert probe(source).objects == 1500
        assert [e.key for p in source.listing() for e in p.entries] == names


def test_a_thousand_objects_are_the_last_page_or_an_empty_one_is(place: Place) -> None:
    place.put_many({f"{number:04}": "x" for number in range(1000)})
    with opened(place) as source:
        pages = list(source.pages())
        assert sum(len(page.entries) for page in pages) == 1000
        assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]


def test_a_page_has_its_ten_seconds_when_no_time_is_left(place: Place) -> None:
    place.put("a.txt", "x")
    with opened(place) as source:
        for page in source.pages(deadline=time.monotonic() - 1):
            assert [entry.key for entry in page.entries] == ["a.txt"]


def test_a_listing_can_be_left_in_the_middle(place: Place) -> None:
    place.put_many({f"{number:04}": "x" for number in range(1001)})
    with opened(place) as source:
        with closing(source.pages()) as pages:
            assert len(next(pages).entries) == 1000
        assert len(keys(source)) == 1001


def test_the_sorted_listing_is_the_same(place: Place) -> None:
    for key in ODD_KEYS:
        place.put(key, "x")
    with opened(place) as source:
        assert listed(Ordered(source)) == listed(source)


def test_the_listed_version_is_fetched(place: Place, tmp_path: Path) -> None:
    body = bytes(range(256)) * 2000
    place.put("a.bin", body)
    with opened(place) as source:
        (entry,) = listed(source)
        fetched = source.fetch("a.bin", entry.etag, tmp_path / "object", max_bytes=len(body))
        assert fetched.path.read_bytes() == body
        assert (fetched.etag, fetched.size) == (entry.etag, len(body))
        assert fetched.sha256 == hashlib.sha256(body).digest()
        assert abs(fetched.modified_at - entry.modified_at) <= timedelta(seconds=1)


def test_an_empty_object_is_fetched_and_may_be_read(place: Place, tmp_path: Path) -> None:
    place.put("empty.txt", "")
    with opened(place) as source:
        (entry,) = listed(source)
        assert entry.size == 0
        assert source.fetch("empty.txt", entry.etag, tmp_path / "object", max_bytes=9).size == 0


def test_of_an_overwritten_object_the_present_version_comes(place: Place, tmp_path: Path) -> None:
    place.put("a.txt", "old")
    with opened(place) as source:
        (old,) = listed(source)
        place.put("a.txt", "newer")
        fetched = source.fetch("a.txt", old.etag, tmp_path / "object", max_bytes=MAX_BYTES)
        assert fetched.path.read_text() == "newer"
        (new,) = listed(source)
        assert fetched.etag == new.etag != old.etag


def test_a_deleted_object_is_gone(place: Place, tmp_path: Path) -> None:
    place.put("a b.txt", "x")
    with opened(place) as source:
        (entry,) = listed(source)
        place.delete("a b.txt")
        with pytest.raises(ObjectGone, match=r"a b\.txt"):
            source.fetch("a b.txt", entry.etag, tmp_path / "object", max_bytes=MAX_BYTES)
        assert source.find("a b.txt") is None
        # It was allowed; what is gone is for the next listing to say.
        source.read_one_byte("a b.txt")


def test_an_object_over_the_limit_is_not_fetched(place: Place, tmp_path: Path) -> None:
    place.put("large.txt", b"x" * 1001)
    with opened(place) as source:
        (entry,) = listed(source)
        with pytest.raises(TooLarge, match="1,001 bytes, limit 1,000"):
            source.fetch("large.txt", entry.etag, tmp_path / "object", max_bytes=1000)
        assert source.fetch("large.txt", entry.etag, tmp_path / "object", max_bytes=1001)


def test_a_source_is_used_by_several_threads(place: Place, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"{number}.txt" for number in range(40)]
    place.put_many({name: f"of {name}" for name in names})
    with opened(place) as source, ThreadPoolExecutor(8) as threads:

        def fetch(name: str) -> str:
            return source.fetch(name, "0", tmp_path / name, max_bytes=99).path.read_text()

        assert list(threads.map(fetch, names)) == [f"of {name}" for name in names]


def test_uris_and_external_ids_name_scheme_and_place(place: Place) -> None:
    location = place.config(prefix="docs/").location()
    assert str(location) == f"{place.scheme}://{place.name}/docs/"
    assert Location.parse(str(location)) == location
    assert location.uri("docs/a b.txt") == place.uri("docs/a b.txt")
    external_id = location.external_id("acme", "docs/a b.txt")
    assert external_id == f"{place.scheme}:acme:{place.name}/docs/a b.txt"
    with opened(place, prefix="docs/") as source:
        assert source.location == location


def test_sources_overlap_where_they_share_keys_of_one_place(place: Place) -> None:
    prefixes = ["", "docs/", "docs/2024", "other/"]
    locations = {prefix: place.config(prefix=prefix).location() for prefix in prefixes}
    apart = {
        (one, other)
        for one, other in itertools.combinations(prefixes, 2)
        if not locations[one].overlaps(locations[other])
    }
    assert apart == {("docs/", "other/"), ("docs/2024", "other/")}
    elsewhere = Location("another", place.name)
    assert not any(location.overlaps(elsewhere) for location in locations.values())
