"""The thread that lists: it goes ahead of the work, leaves out what is done, and counts what there is to do."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from facealign_cli.batch.keys import KeySet, key_of
from facealign_cli.errors import FacealignError

LISTED_AHEAD = 1_000_000
"""Pictures that are listed before the work asks for them, so that their number is known; about 100 bytes each."""

_LOOK_UP = 256

_BETWEEN = b"\xff"
"""Stands between paths in memory: no path has it in UTF-8, while a list may hold paths with any character, NUL too."""


def largest_first(paths: Iterable[str]) -> list[str]:
    """The same paths, those of the largest files first: a long clip at the end would keep one worker busy alone.

    Those whose size is not known at once, such as URLs, come last.
    """

    def size(path: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return os.path.getsize(path)
        return 0

    return sorted(paths, key=size, reverse=True)


class Listing:
    """Chunks of paths for a pool, from a thread. Use as a context: leaving it stops the thread.

    paths: lists them, and tells problems by what it is given. done: these are left out. ordered: puts those that were
    found together, up to 256, into the order in which they are given out.
    found: pictures to do so far. skipped: done before, or named twice. ended: all there are have been taken.
    complete: `found` is the number of all there are. problems: what could not be listed, in words.
    """

    def __init__(
        self,
        paths: Callable[[Callable[[str], None]], Iterator[str]],
        done: KeySet,
        chunk_size: int,
        ordered: Callable[[list[str]], list[str]] = lambda names: names,
    ) -> None:
        self.found = self.skipped = 0
        self.complete = False
        self.problems: list[str] = []
        self._paths, self._done, self._chunk_size, self._ordered = paths, done, chunk_size, ordered
        self._chunks: deque[bytes] = deque()  # joined: far smaller than lists of strings
        self._waiting = 0
        self._change = threading.Condition()
        self._closed = False
        self._error: FacealignError | OSError | None = None
        self._thread = threading.Thread(target=self._run, name="facealign-list", daemon=True)

    def __enter__(self) -> Listing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()

    @property
    def ended(self) -> bool:
        """Whether `take` will never give a chunk again."""
        with self._change:
            return self.complete and not self._chunks and self._error is None

    @property
    def any_found(self) -> bool:
        """Whether there is anything so far, done or not."""
        return bool(self.found or self.skipped)

    def take(self) -> list[str] | None:
        """The next chunk; None if there is none yet, or none will come. Errors of the listing are raised at its end."""
        with self._change:
            if self._chunks:
                chunk = [raw.decode("utf-8", "surrogatepass") for raw in self._chunks.popleft().split(_BETWEEN)]
                self._waiting -= len(chunk)
                self._change.notify_all()
                return chunk
            if self._error is not None:
                raise self._error
            return None

    def _run(self) -> None:
        try:
            names: list[str] = []
            for path in self._paths(self.problems.append):
                names.append(path)
                if len(names) == _LOOK_UP and not self._enter(names):
                    return
                names = [] if len(names) == _LOOK_UP else names
            self._enter(names)
        except (FacealignError, OSError) as error:
            self._error = error
        except BaseException as error:  # noqa: BLE001 - whatever it is, the work must hear that nothing more comes
            self._error = FacealignError(
                f"the pictures could not be listed: unexpected {type(error).__name__}: {error}"
            )
        with self._change:
            self.complete = True

    def _enter(self, names: list[str]) -> bool:
        """Put those not done yet in the queue; False if nobody wants them any more."""
        new = self._done.add(np.array([key_of(name) for name in names], np.uint64))
        fresh = self._ordered([name for name, is_new in zip(names, new, strict=True) if is_new])
        chunks = [fresh[i : i + self._chunk_size] for i in range(0, len(fresh), self._chunk_size)]
        with self._change:
            self._change.wait_for(lambda: self._waiting < LISTED_AHEAD or self._closed)
            self._chunks.extend(_BETWEEN.join(name.encode("utf-8", "surrogatepass") for name in c) for c in chunks)
            self._waiting += len(fresh)
            self.found += len(fresh)
            self.skipped += len(names) - len(fresh)
            return not self._closed
