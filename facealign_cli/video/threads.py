"""A source read in a thread of its own, and the short queue between two threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from facealign_cli.video.base import VideoFrame

Item = TypeVar("Item")
QUEUED, QUEUED_BYTES = 8, 256 << 20
"""Frames, and bytes of pictures, that may wait between two threads; one frame may always."""


@dataclass(frozen=True)
class End:
    """The last thing in a queue. error: what the thread that filled it ended with."""

    error: BaseException | None = None


class Ahead(Generic[Item]):
    """Iterates a source in a thread of its own, a few items ahead; leaving the context stops it.

    It is to be iterated once, in its context.
    """

    def __init__(self, source: Iterable[Item], name: str) -> None:
        self._source = source
        self._queue: Pipe[Item | End] = Pipe()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Ahead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.close()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._queue.put(item):
                    return
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            error = problem
        self._queue.put(End(error))

    def waiting(self) -> list[Item | End]:
        """What is there already, without waiting for it; it stays there."""
        return self._queue.waiting()

    def __iter__(self) -> Iterator[Item]:
        while not isinstance(item := self._queue.get(), End):
            yield item
        if item.error is not None:
            raise item.error


class Pipe(Generic[Item]):
    """A short queue, bounded in frames and bytes. Once an end closes it, nothing goes in and who waits is let go."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes, self._closed = 0, False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Wait for room; False if the other end has closed."""
        size = bytes_of(item)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if not self._closed:
                self._waiting.append((item, size))
                self._bytes += size
                self._changed.notify_all()
            return not self._closed

    def get(self) -> Item:
        """Wait for the next one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting))
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def waiting(self) -> list[Item]:
        """What `get` would give without waiting, in its order; it stays there."""
        with self._changed:
            return [item for item, _ in self._waiting]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._waiting or (len(self._waiting) < QUEUED and self._bytes + size <= QUEUED_BYTES)


def bytes_of(item: object) -> int:
    """Of an item's picture; everything else is small."""
    frame = item[0] if isinstance(item, tuple) else item
    return frame.image_bgr.nbytes if isinstance(frame, VideoFrame) and frame.image_bgr is not None else 0
