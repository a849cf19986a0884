"""A shard's index: which segments of the journal the shard holds, and the keys of its pictures."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from facealign_cli.arrays import Keys
from facealign_cli.batch.base import Counts
from facealign_cli.files.documents import parse_json, structured

KEY_FIELDS = ("keys", "failed_keys")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """What a shard holds. segments: the first, and the one after the last. keys, failed_keys: sorted uint64.

    size: bytes of the shard's file; None where it is not known, as in the indexes of earlier versions.
    bare: without its keys, of which a job of a thousand million pictures has 8 GB; such a one is not written.
    """

    segments: tuple[int, int]
    counts: Counts
    keys: Keys
    failed_keys: Keys
    size: int | None = None
    to_clean: bool = False
    bare: bool = False

    def to_json(self) -> bytes:
        """The file's content. Raises ValueError for a bare one."""
        if self.bare:
            raise ValueError("an index without its keys cannot be written")
        texts = {name: base64.b64encode(getattr(self, name).astype("<u8").tobytes()).decode() for name in KEY_FIELDS}
        facts = {"segments": self.segments, "counts": asdict(self.counts), "to_clean": self.to_clean, "size": self.size}
        return json.dumps({**facts, **texts, "checksum": _checksum({**facts, **texts})}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ShardIndex:
        """From the file's content. Raises ValueError."""
        values = parse_json(text)
        fields = structured(values, _IndexFields)
        if fields.checksum is not None and fields.checksum != _checksum(values):
            raise ValueError("its checksum is that of another content")
        keys, failed = (
            np.frombuffer(base64.b64decode(getattr(fields, name), validate=True), "<u8").astype(np.uint64)
            for name in KEY_FIELDS
        )
        first, end = fields.segments
        counts = fields.counts
        if not 0 <= first <= end or counts.pictures != len(keys) + len(failed) or counts.failed != len(failed):
            raise ValueError("its counts contradict one another")
        return cls((first, end), counts, keys, failed, fields.size, fields.to_clean)

    def without_keys(self) -> ShardIndex:
        """Without what takes memory."""
        none = np.zeros(0, np.uint64)
        return replace(self, keys=none, failed_keys=none, bare=True)

    def without_failed(self) -> ShardIndex:
        """Of the shard without its failed pictures, out of which they are still to be taken."""
        counts = replace(
            self.counts,
            pictures=self.counts.pictures - self.counts.failed,
            rows=self.counts.rows - self.counts.failed,
            failed=0,
        )
        return replace(self, counts=counts, failed_keys=np.zeros(0, np.uint64), size=None, to_clean=True)


@dataclass(frozen=True)
class _IndexFields:
    """What stands in an index's file."""

    segments: tuple[int, int]
    counts: Counts
    to_clean: bool
    keys: str
    failed_keys: str
    size: int | None = None
    checksum: int | None = None


def _checksum(values: dict[str, Any]) -> int:
    """Of an index's values but the checksum itself."""
    return zlib.crc32(json.dumps({k: v for k, v in values.items() if k != "checksum"}, sort_keys=True).encode())
