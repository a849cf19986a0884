"""More turned heads for training: the faces of a pack, turned further in depth by `head`, as a pack of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign_cli.arrays import Floats, Image, Ints
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output
from facealign_cli.landmarks import GROUPS
from facealign_cli.training.hdf5 import open_hdf5
from facealign_cli.training.head import Head, Turned
from facealign_cli.training.pack import MOST_POINTS, Pack, encode_grey, read_pack, write_rows

_EITHER_SIDE = 10.0
"""Degrees below which a face is turned to either side; others are turned the way they look, since what they hide is
not in the picture."""
_STEEPEST = 30.0
"""Degrees of pitch beyond which the fitted pose is often that of another head than the one in the picture."""
_LEAST = 15.0
"""Degrees that a turn has at least: less is what the picture itself shows."""
_FAR_JAW, _FAR_JAW_UNTIL = 0.5, 60.0
"""What the landmarks of the averted side of the jaw count, beside those of the picture that was turned, and degrees
beyond which they count nothing, since nobody agrees on where they are."""
_QUALITY = 90
_LEFT_JAW, _RIGHT_JAW = np.array(GROUPS["jaw"][:8]), np.array(GROUPS["jaw"][9:])


@dataclass(frozen=True, eq=False)
class _Copy:
    row: int
    angle_deg: float
    jpeg: Image
    landmarks: Floats
    weights: Floats
    yaw_deg: float


@dataclass(frozen=True)
class Turns:
    """By how much faces are turned. Raises InputError where the range of yaw is none.

    yaw_range: degrees to either side within which the new yaw lies. most: a face that is already turned by more is left
    alone. copies: how often each face is turned, to another yaw each time.
    """

    yaw_range: tuple[float, float] = (30.0, 80.0)
    most: float = 40.0
    copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.yaw_range[0] < self.yaw_range[1] <= 90:
            raise InputError(f"yaw: expected two angles of 0 to 90 degrees, the lower one first, got {self.yaw_range}")

    def copies_of(self, pack: Pack) -> Iterator[_Copy | str]:
        """The turned copies of a pack's faces, in order, and for each face without any the reason."""
        for row in range(len(pack)):
            if pack.held_out[row] or not pack.labelled[row]:
                yield "held out" if pack.held_out[row] else "without labels"
                continue
            try:
                head = Head(pack.images[row], pack.landmarks[row])
            except ValueError as error:
                yield str(error)
                continue
            now, rng = abs(head.yaw_deg), np.random.default_rng([self.seed, row])
            low, high = max(self.yaw_range[0], now + _LEAST), self.yaw_range[1]
            if max(now, np.nan_to_num(abs(pack.yaw[row]))) > self.most or low >= high:
                yield "turned too far already"
                continue
            if abs(head.pitch_deg) > _STEEPEST:
                yield f"looks up or down by more than {_STEEPEST:.0f} degrees"
                continue
            steps = np.linspace(low, high, self.copies + 1)
            for target in steps[:-1] + rng.random(self.copies) * np.diff(steps):
                side = float(rng.choice([-1, 1]) if now < _EITHER_SIDE else np.sign(head.yaw_deg))
                yield _copy(pack, row, head, side * target - head.yaw_deg)


@dataclass(frozen=True)
class TurnReport:
    """yaw: (N,) degrees of the faces written. left_out: reason → how many training faces were not turned."""

    yaw: Floats
    left_out: dict[str, int]

    def counts(self, edges: tuple[int, ...]) -> Ints:
        """(len(edges) - 1,) how many faces are turned by so many degrees to either side."""
        return np.histogram(np.abs(self.yaw), edges)[0]


def turn_pack(source: Path, path: Path, turns: Turns, *, overwrite: bool = False) -> TurnReport:
    """Write a pack of the training faces of `source`, turned further.

    Held-out faces and those without labels stay out. A landmark that the turn hides has the weight 0.
    Raises InputError where no face can be turned, OutputError if `path` cannot be written.
    """
    check_output(path, overwrite)
    pack = read_pack(source)
    tried = list(turns.copies_of(pack))
    copies_made = [copy for copy in tried if isinstance(copy, _Copy)]
    left_out = Counter(reason for reason in tried if isinstance(reason, str))
    if not copies_made:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items())
        raise InputError(f"{source}: no face in it can be turned ({reasons})")
    rows = np.array([copy.row for copy in copies_made])
    columns = {
        "landmarks": np.stack([copy.landmarks for copy in copies_made]).astype(np.float32),
        "bbox": np.full((len(rows), 4), np.nan, np.float32),
        "rough": pack.rough[rows],
        "held_out": np.zeros(len(rows), bool),
        "weights": np.stack([copy.weights for copy in copies_made]).astype(np.float32),
        "yaw": np.array([copy.yaw_deg for copy in copies_made], np.float32),
        "points": np.full((len(rows), MOST_POINTS, 2), np.nan, np.float32),
    }
    names = _numbered([f"{pack.names[copy.row]} (turned {copy.angle_deg:+.0f})" for copy in copies_made])
    with open_hdf5(source, ("jpeg",)) as file:
        attributes = dict(file.attrs)
    jpegs = (copy.jpeg for copy in copies_made)
    write_rows(path, jpegs, columns, names, attributes=attributes, overwrite=overwrite)
    return TurnReport(columns["yaw"], dict(left_out))


def _numbered(names: list[str]) -> list[str]:
    """The names, the second of two equal ones with " 2" behind it: two copies may be turned by about the same angle."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return numbered


def _copy(pack: Pack, row: int, head: Head, angle_deg: float) -> _Copy:
    turned = head.turned(angle_deg)
    jpeg, weights = encode_grey(turned.image, _QUALITY), _weights(pack.weights[row], turned)
    return _Copy(row, angle_deg, jpeg, turned.landmarks, weights, turned.yaw_deg)


def _weights(weights: Floats, head: Turned) -> Floats:
    """(68,) of a turned face, from those of the face as it was."""
    turned = np.where(head.visible, weights, 0.0)
    averted = _LEFT_JAW if head.yaw_deg > 0 else _RIGHT_JAW
    turned[averted] *= _FAR_JAW if abs(head.yaw_deg) < _FAR_JAW_UNTIL else 0.0
    return turned
