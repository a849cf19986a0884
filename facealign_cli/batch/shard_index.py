"""A shard's index: which segments of the journal the shard holds, and the keys of its pictures."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from facealign_cli.arrays import Keys
from facealign_cli.batch.base import Counts
from facealign_cli.files.documents import parse_json, structured

KEY_FIELDS = ("keys", "failed_keys")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """What a shard holds. segments: the first, and the one after the last. keys, failed_keys: sorted uint64.

    bare: without its keys, of which a job of a thousand million pictures has 8 GB; such a one is not written.
    """

    segments: tuple[int, int]
    counts: Counts
    keys: Keys
    failed_keys: Keys
    to_clean: bool = False
    bare: bool = False

    def to_json(self) -> bytes:
        """The file's content. Raises ValueError for a bare one."""
        if self.bare:
            raise ValueError("an index without its keys cannot be written")
        texts = {name: base64.b64encode(getattr(self, name).astype("<u8").tobytes()).decode() for name in KEY_FIELDS}
        return json.dumps(
            {"segments": self.segments, "counts": asdict(self.counts), "to_clean": self.to_clean, **texts}
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ShardIndex:
        """From the file's content. Raises ValueError."""
        fields = structured(parse_json(text), _IndexFields)
        keys, failed = (
            np.frombuffer(base64.b64decode(getattr(fields, name), validate=True), "<u8").astype(np.uint64)
            for name in KEY_FIELDS
        )
        first, end = fields.segments
        if not 0 <= first <= end or fields.counts.pictures != len(keys) + len(failed):
            raise ValueError("its counts contradict one another")
        return cls((first, end), fields.counts, keys, failed, fields.to_clean)

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
        return replace(self, counts=counts, failed_keys=np.zeros(0, np.uint64), to_clean=True)


@dataclass(frozen=True)
class _IndexFields:
    """What stands in an index's file."""

    segments: tuple[int, int]
    counts: Counts
    to_clean: bool
    keys: str
    failed_keys: str
