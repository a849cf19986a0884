"""The pictures of a review, with their faces as they stand, and the side file that keeps every step.

The side file is JSON Lines: a first line that says what it is, then a line for each step, with the whole state of one
picture. A line is appended by one write and flushed to the disk; a torn last line, of a killed run, is passed over. The
last line of a picture counts, so that whoever opens the same rows later goes on where the work stopped. Pictures are
known by their paths from the root folder, so that the folder may lie elsewhere then.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.files.documents import parse_json, reading
from facealign_cli.files.output import write_reason
from facealign_cli.formats.codec import from_dict, json_line, to_dict
from facealign_cli.geometry import extent_of_shape
from facealign_cli.records import Face, FrameResult

State = Literal["open", "accepted", "skipped"]
STATES: tuple[State, ...] = get_args(State)

_FORMAT = "facealign-review/1"


class StaleError(Exception):
    """A step that builds on a state which another window or person has changed meanwhile."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the review.

    name: as the rows have it. key: in the side file. path: where it lies. result: its faces as they stand.
    revision: counts its steps. score: how much it needs a look; see `need_of`. by: who made the last step.
    """

    name: str
    key: str
    path: Path
    result: FrameResult
    score: float
    state: State = "open"
    revision: int = 0
    by: str = ""


class Session:
    """The pictures, in the order of their need, and the side file.

    results: the proposals; of a name that comes twice the first counts. root: the folder that pictures must lie in.
    other: results of another model, for `need_of`. Raises InputError where there is no picture, or the side file is in
    use; FormatError where the side file is none.
    """

    def __init__(
        self,
        results: Iterable[FrameResult],
        root: Path,
        side_file: Path,
        *,
        by: str = "",
        other: Iterable[FrameResult] = (),
    ) -> None:
        self.root, self.side_file, self.by = Path(os.path.realpath(root)), side_file, by
        self._given_root = root
        others = {result.source: result for result in other}
        results = list(results)
        named = {result.source: result for result in reversed(results) if result.frame is None}
        self.pictures = sorted(
            (
                Picture(name, self._key(name), Path(os.path.realpath(name)), result, need_of(result, others.get(name)))
                for name, result in named.items()
            ),
            key=lambda picture: (-picture.score, picture.name),
        )
        if not self.pictures:
            why = (
                ": the rows are of frames of clips, and pictures are reviewed" if results else ": no picture was found"
            )
            raise InputError(f"nothing to review{why}")
        self._numbers = {picture.key: i for i, picture in enumerate(self.pictures)}
        self.unknown_steps = 0
        self._lock = threading.Lock()
        self._stream: io.FileIO | None = None
        self._size = 0  # of the side file, after the last step
        self._read_side_file()

    def _read_side_file(self) -> None:
        """Take over the last step of each picture."""
        if not os.path.lexists(self.side_file) or not self.side_file.stat().st_size:
            return
        self.unknown_steps = 0
        for step in read_steps(self.side_file):
            number = self._numbers.get(step.key)
            if number is None:
                self.unknown_steps += 1
                continue
            before = self.pictures[number]
            result = replace(step.result, source=before.name)
            self.pictures[number] = replace(before, result=result, state=step.state, revision=step.revision, by=step.by)

    def _key(self, name: str) -> str:
        path = Path(os.path.abspath(name))
        root = Path(os.path.abspath(self._given_root))
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else name

    def open(self) -> None:
        """Take the side file for this process. Raises InputError where another one has it, OutputError."""
        try:
            self._stream = open(self.side_file, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise OutputError(
                f"cannot write {self.side_file}: {write_reason(error)}; --work names another file"
            ) from error
        if not _lock(self._stream):
            self.close()
            raise InputError(f"{self.side_file} is in use: another review of these rows is running")
        self._read_side_file()  # what the one before wrote until the lock was free
        self._size = self._stream.tell()
        if self._size == 0:
            self._append({"format": _FORMAT})
        elif not _ends_with_line_feed(self.side_file):
            self._stream.write(b"\n")  # closes the torn line that a killed run has left

    def close(self) -> None:
        """Give the side file back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def inside(self, picture: Picture) -> bool:
        """Whether the picture lies in the root folder, links followed."""
        return picture.path.is_relative_to(self.root)

    def step(self, number: int, revision: int, state: State, faces: Sequence[Face]) -> Picture:
        """Make a picture's new state last, then take it over.

        revision: of the state that the step builds on. Raises StaleError where it is not the present one; OutputError
        where it cannot be written, and the old state stays.
        """
        with self._lock:
            before = self.pictures[number]
            if revision != before.revision:
                raise StaleError(f"{before.name}: step {revision} builds on an old state; {before.revision} is present")
            result = FrameResult.of_faces(
                before.name, tuple(faces), **{key: getattr(before.result, key) for key in _KEPT}
            )
            after = replace(before, result=result, state=state, revision=revision + 1, by=self.by)
            self._append(_to_step(after))
            self.pictures[number] = after
            return after

    def resized(self, number: int, width: int, height: int) -> None:
        """Note a picture's size where the rows did not know it."""
        with self._lock:
            picture = self.pictures[number]
            result = picture.result
            if result.status != "error" and (result.width, result.height) != (width, height):
                self.pictures[number] = replace(picture, result=replace(result, width=width, height=height))

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._stream is None:
            raise OutputError(f"cannot write {self.side_file}: it is not open")
        line = json_line(dict(record)) + b"\n"
        try:
            if not self._is_in_place(self._stream):
                self._begin_anew()
            elif os.fstat(self._stream.fileno()).st_size < self._size:  # another program has emptied or cut it
                self._stream.truncate(0)
                line = self._whole() + line
            written = self._stream.write(line)
            os.fsync(self._stream.fileno())
            self._size = os.fstat(self._stream.fileno()).st_size
        except OSError as error:
            raise OutputError(f"cannot write {self.side_file}: {write_reason(error)}") from error
        if written != len(line):
            self._stream.write(b"\n")  # the torn part is passed over at reading
            raise OutputError(f"cannot write {self.side_file}: the disk is full")

    def _is_in_place(self, stream: io.FileIO) -> bool:
        """Whether the side file is still found under its name; what is written to a deleted one is lost."""
        try:
            return os.path.samestat(os.stat(self.side_file), os.fstat(stream.fileno()))
        except FileNotFoundError:
            return False

    def _begin_anew(self) -> None:
        """Write every step that counts into a new side file. Raises OutputError if another file has taken its place."""
        try:
            stream = open(self.side_file, "xb", buffering=0)  # noqa: SIM115 - closed by `close`
        except FileExistsError as error:
            raise OutputError(
                f"{self.side_file}: another file has taken the place of the work. Give it another name."
            ) from error
        _lock(stream)
        whole = self._whole()
        if stream.write(whole) != len(whole):
            stream.close()
            os.unlink(self.side_file)
            raise OutputError(f"cannot write {self.side_file}: the disk is full")
        self.close()
        self._stream = stream

    def _whole(self) -> bytes:
        """The content of a side file with every step that counts."""
        steps = [_to_step(picture) for picture in self.pictures if picture.revision]
        return b"".join(json_line(step) + b"\n" for step in [{"format": _FORMAT}, *steps])

    def results(self, states: Iterable[State] = ("accepted",)) -> list[FrameResult]:
        """The pictures in these states, in the order of their names; the faces of an accepted one have confidence 1."""
        wanted = set(states)
        chosen = [_judged(p) for p in self.pictures if p.state in wanted and p.result.status != "error"]
        return sorted(chosen, key=lambda result: result.source)


def _judged(picture: Picture) -> FrameResult:
    if picture.state != "accepted":
        return picture.result
    return replace(picture.result, faces=tuple(replace(face, confidence=1.0) for face in picture.result.faces))


_KEPT = ("width", "height", "detector", "model", "provider", "scheme")


def need_of(result: FrameResult, other: FrameResult | None = None) -> float:
    """How much a picture needs a look, 0 to 1 and more.

    That of its worst face: 1 - confidence, or, where another model's faces are given, how far the nearest of them is
    away, as a share of the face's extent, where that is more. No face, or a failed picture: 0.5, among the doubtful.
    """
    if not result.faces:
        return 0.5
    needs = [1 - face.confidence for face in result.faces]
    if other is not None:
        needs += [_distance(face, other.faces) for face in result.faces]
    return max(needs)


def _distance(face: Face, others: Sequence[Face]) -> float:
    size = max(extent_of_shape(face.landmarks), 1e-6)
    distances = [float(np.linalg.norm(face.landmarks - o.landmarks, axis=1).mean()) / size for o in others]
    return min([1.0, *distances])


def _to_step(picture: Picture) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"state": picture.state, "revision": picture.revision, "by": picture.by, "time": now}
    return {**about, "result": to_dict(replace(picture.result, source=picture.key))}


def read_steps(path: Path) -> Iterator[Picture]:
    """The steps of a side file, each as the picture's state after it; a torn line is passed over.

    Raises InputError if it cannot be read, FormatError if it is no side file of a review.
    """
    with reading(path), open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                record = parse_json(line)
            except ValueError as error:
                if number == 1:
                    raise FormatError(f"{path}: not the side file of a review") from error
                continue
            if number == 1:
                if not isinstance(record, dict) or record.get("format") != _FORMAT:
                    raise FormatError(f"{path}: not the side file of a review: expected {_FORMAT} in its first line")
                continue
            yield _from_step(f"{path}: line {number}", record)


def _from_step(place: str, record: Any) -> Picture:
    try:
        state, revision, result = record["state"], record["revision"], from_dict(record["result"])
        if state not in STATES or not isinstance(revision, int):
            raise FormatError(f"expected a state of {', '.join(STATES)} and a revision")
        return Picture(result.source, result.source, Path(), result, 0.0, state, revision, str(record.get("by", "")))
    except (KeyError, TypeError, FormatError) as error:
        raise FormatError(f"{place}: {error}") from error


def _lock(stream: io.FileIO) -> bool:
    """Take the file for this process, where the system can (not on Windows); False if another one has it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _ends_with_line_feed(path: Path) -> bool:
    with open(path, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def default_side_file(source: Path) -> Path:
    """Where the work on a folder or a file of rows is kept: in the folder, or beside the file."""
    return source / "facealign-review.jsonl" if source.is_dir() else source.with_name(f"{source.name}.review.jsonl")
