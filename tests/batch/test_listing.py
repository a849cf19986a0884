"""The listing gives out what sources find, each once, and says how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facealign_cli.batch.keys import KeySet, key_of
from facealign_cli.batch.listing import Listing, largest_first
from facealign_cli.batch.sources import Sources
from facealign_cli.errors import FacealignError, FormatError


def test_the_listing_leaves_out_what_is_done_and_what_comes_twice() -> None:
    done = KeySet([np.array([key_of("b")], np.uint64)])
    with Listing(lambda tell: iter(["a", "b", "./a", "c", "d\udcff"] * 200), done, 2) as listing:
        chunks = []
        while not listing.ended:
            chunks.append(listing.take())
    assert [chunk for chunk in chunks if chunk] == [["a", "c"], ["d\udcff"]]
    assert (listing.found, listing.skipped) == (3, 997)


def test_the_largest_are_given_out_first(tmp_path: Path) -> None:
    sizes = {"a": 3, "b": 7, "c": 7, "d\udcff": 9}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    paths = ["memory://x/clip.mp4", *(str(tmp_path / name) for name in sizes)]
    with Listing(lambda tell: iter(paths), KeySet(), 1, largest_first) as listing:
        chunks = []
        while not listing.ended:
            chunks.append(listing.take())
    assert [Path(*chunk).name for chunk in chunks if chunk] == ["d\udcff", "b", "c", "a", "clip.mp4"]


@pytest.mark.parametrize("error", [FormatError("cut"), OSError("cut"), ValueError("cut"), SystemExit("cut")])
def test_a_listing_that_fails_says_so_after_what_it_found(error: BaseException) -> None:
    def paths(_tell: object) -> Iterator[str]:
        yield from [f"{i}" for i in range(256)]
        raise error

    taken, until = 0, time.monotonic() + 20
    expected = OSError if isinstance(error, OSError) else FacealignError
    with Listing(paths, KeySet(), 16) as listing, pytest.raises(expected, match="cut"):
        while not listing.ended and time.monotonic() < until:
            taken += len(listing.take() or [])
    assert taken == 256


def test_a_path_with_a_nul_is_one_path(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.jpg\0b.jpg", "a.jpg"]}), tmp_path / "l.parquet")
    sources = Sources(lists=(str(tmp_path / "l.parquet"),))
    with Listing(sources.paths, KeySet(), 4) as listing:
        while not (chunk := listing.take()):
            assert not listing.ended
    assert chunk == ["a.jpg\0b.jpg", "a.jpg"]
    assert (listing.found, listing.skipped) == (2, 0)
