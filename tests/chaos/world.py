"""The tenants' buckets, and what is known of every version in them.

They are changed past the proxy, as customers change them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.chaos.documents import FORMATS, Version, bad, folder, good, picture, reworded
from tests.s3_bucket import Bucket

_ODD_NAMES = (
    "plain",
    "with space",
    "plus+sign",
    "100%",
    "quote'd",
    "ümlaut",
    "emoji-🚀",
    "a=b&c",
    "dots..here",
)


@dataclass
class Source:
    """One tenant's bucket.

    Attributes:
        versions: every version that was ever written, by ETag.
        changed_at: seconds since the epoch, just after the last change.
        changes: how many of each kind were made.
    """

    tenant_id: str
    bucket: Bucket
    versions: dict[str, Version] = field(default_factory=dict)
    changed_at: float = 0.0
    changes: dict[str, int] = field(default_factory=dict)

    def fill(self, rng: random.Random, documents: int) -> None:
        """The bucket before the first sync."""
        for number in range(documents):
            suffix = FORMATS[number % len(FORMATS)]
            version = bad(rng, suffix) if number % 24 == 23 else good(rng, suffix)
            self._put(self._new_key(rng, suffix), version)
        self._put("folder/", folder())
        self._put("folder/picture.png", picture())

    def listing(self) -> dict[str, str]:
        """ETags by key, as the bucket lists them."""
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket.name
        )
        return {
            entry["Key"]: entry["ETag"].strip('"')
            for page in pages
            for entry in page.get("Contents", [])
        }

    def change(self, rng: random.Random, times: int, *, pause: float = 0.0) -> None:
        """Make changes of every kind, ``pause`` seconds apart."""
        keys = sorted(key for key in self.listing() if PurePosixPath(key).suffix in FORMATS)
        kinds = list(self._changes())
        weights = [6, 6, 3, 3, 2, 2, 2, 2, 1]
        for kind in rng.choices(kinds, weights, k=times):
            self._changes()[kind](rng, keys)
            self.changes[kind] = self.changes.get(kind, 0) + 1
            self.changed_at = time.time()
            time.sleep(pause)

    def _changes(self) -> dict[str, Callable[[random.Random, list[str]], None]]:
        return {
            "added": self._add,
            "overwritten": self._overwrite,
            "overwritten twice in a second": self._overwrite_twice,
            "deleted": self._delete,
            "renamed": self._rename,
            "copied": self._copy,
            "reverted": self._revert,
            "touched": self._touch,
            "spoilt": self._spoil,
        }

    def _add(self, rng: random.Random, keys: list[str]) -> None:
        suffix = rng.choice(FORMATS)
        key = self._new_key(rng, suffix)
        self._put(key, good(rng, suffix))
        keys.append(key)

    def _overwrite(self, rng: random.Random, keys: list[str]) -> None:
        key = rng.choice(keys)
        self._put(key, good(rng, PurePosixPath(key).suffix))

    def _overwrite_twice(self, rng: random.Random, keys: list[str]) -> None:
        """Two versions of the same size within a second.

        Only the ETag tells them apart.
        """
        key = rng.choice(keys)
        suffix = PurePosixPath(key).suffix
        first = good(rng, suffix)
        self._put(key, first)
        self._put(key, reworded(rng, suffix, first))

    def _delete(self, rng: random.Random, keys: list[str]) -> None:
        # The bucket stays about as large as it is, however many rounds there are.
        for _ in range(3 if len(keys) > 260 else 1):
            self.bucket.delete(keys.pop(rng.randrange(len(keys))))

    def _rename(self, rng: random.Random, keys: list[str]) -> None:
        before = rng.choice(keys)
        self._copy_to(before, after := self._new_key(rng, PurePosixPath(before).suffix))
        self.bucket.delete(before)
        keys.remove(before)
        keys.append(after)

    def _copy(self, rng: random.Random, keys: list[str]) -> None:
        before = rng.choice(keys)
        self._copy_to(before, after := self._new_key(rng, PurePosixPath(before).suffix))
        keys.append(after)

    def _revert(self, rng: random.Random, keys: list[str]) -> None:
        """Some earlier version of any object of the format comes back."""
        key = rng.choice(keys)
        header = {".pdf": b"%PDF", ".docx": b"PK", ".html": b"<!do"}.get(
            PurePosixPath(key).suffix, b"Report"
        )
        known = [version for version in self.versions.values() if version.body.startswith(header)]
        if known:
            self._put(key, rng.choice(known))

    def _touch(self, rng: random.Random, keys: list[str]) -> None:
        """The same bytes again: a new time, the same ETag."""
        key = rng.choice(keys)
        self._put(key, self.versions[self.listing()[key]])

    def _spoil(self, rng: random.Random, keys: list[str]) -> None:
        key = rng.choice(keys)
        self._put(key, bad(rng, PurePosixPath(key).suffix))

    def _copy_to(self, before: str, after: str) -> None:
        name = self.bucket.name
        self.bucket.client.copy_object(
            Bucket=name, Key=after, CopySource={"Bucket": name, "Key": before}
        )

    def _put(self, key: str, version: Version) -> None:
        # Known before it can be seen: a reader may meet it at once.
        self.versions[version.etag] = version
        self.bucket.put(key, version.body)
        self.changed_at = time.time()

    def _new_key(self, rng: random.Random, suffix: str) -> str:
        return (
            f"{rng.choice('abcdef')}/{rng.choice(_ODD_NAMES)}-{rng.randrange(1 << 32):08x}{suffix}"
        )
