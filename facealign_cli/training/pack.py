"""The packed data set: grey JPEG bytes, landmarks, boxes, names and the split in one HDF5 file.

Each face lies upright in the middle of a square of `size` pixels that spans `context` times the larger extent of its
landmarks. Landmarks and boxes are in that square's pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facealign_cli.arrays import Bools, Floats, Image, pixels
from facealign_cli.datasets.beside import LARGEST_YAW, SCHEMES
from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.header import read_header
from facealign_cli.files.output import atomic_path
from facealign_cli.geometry import (
    CropFrame,
    bbox_of_shape,
    init_shape_from_bbox,
)
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.metrics import NORMALISERS
from facealign_cli.training.hdf5 import import_h5py, new_hdf5, open_hdf5

FORMAT = "facealign-pack/2"
_OLD_FORMAT = "facealign-pack/1"
"""Packs without weights, yaw and points, which are still read: every point counts whole."""
LARGEST_SIDE, MAX_BYTES = 1024, 64 << 30
"""Of a packed picture, pixels; of all pictures of a pack, decoded: 64 GiB."""
LARGEST_LANDMARK, LEAST_EXTENT = 1e6, 1e-3
_CLOSEST_EYES = 1e-3
"""Of the face's size. The eyes of a face in full profile are ten times as far apart."""
SAME_FACE = 0.002
"""In shares of the face's extent: two sets of landmarks that differ by less are one face given twice."""
MOST_POINTS = max(SCHEMES)
"""Placed by hand, of a face."""
_SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "landmarks": ("f", (N_LANDMARKS, 2)),
    "bbox": ("f", (4,)),
    "rough": ("b", ()),
    "held_out": ("b", ()),
    "weights": ("f", (N_LANDMARKS,)),
    "yaw": ("f", ()),
    "points": ("f", (MOST_POINTS, 2)),
}
"""Column → kind of its values, and their shape for one face."""
_COLUMNS = tuple(_SHAPES)


@dataclass(frozen=True, eq=False)
class Pack:
    """A pack in memory.

    images: (N, P, P) uint8 grey. landmarks: (N, 68, 2) float32. bbox: (N, 4) float32, NaN where the data set gave none.
    rough: (N,) bool, labels that were estimated and do not follow the hand-made ones' convention. held_out: (N,) bool.
    weights: (N, 68) float32, how far each point is to be trusted; 0 is never learnt from.
    A face whose weights are all 0 has no labels: its landmarks only say where it is. yaw: (N,) float32 degrees, NaN
    where unknown. points: (N, 5, 2) float32, points placed by hand in a scheme of `datasets.beside`, NaN where
    there are fewer or none. names: N strings, unique.
    """

    images: Image
    landmarks: Floats
    bbox: Floats
    rough: Bools
    held_out: Bools
    weights: Floats
    yaw: Floats
    points: Floats
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labelled(self) -> Bools:
        """(N,) whether a face has labels."""
        return np.asarray(self.weights.any(axis=1))

    @property
    def sets(self) -> NDArray[np.str_]:
        """(N,) the data set of each face."""
        return np.array([self.set_of(row) for row in range(len(self))])

    def set_of(self, row: int) -> str:
        """The data set of a face."""
        return self.names[row].split(":")[0]

    def select(self, mask: Bools) -> Pack:
        """The faces where the (N,) mask is true."""
        rows = np.flatnonzero(mask)
        columns = {column: getattr(self, column)[rows] for column in ("images", *_COLUMNS)}
        return Pack(**columns, names=[self.names[i] for i in rows])


def rewrite_pack(source: Path, path: Path, pack: Pack, keep: Bools, overwrite: bool = False) -> None:
    """Write the rows of `source` where the (N,) mask is true, its pictures as they are, with the columns of `pack`.

    Errors as `write_rows`.
    """
    rows = np.flatnonzero(keep)
    columns = {column: getattr(pack, column)[rows] for column in _COLUMNS}
    with open_hdf5(source, ("jpeg",)) as old:
        jpegs = (old["jpeg"][row] for row in rows)
        names = [pack.names[row] for row in rows]
        write_rows(path, jpegs, columns, names, attributes=dict(old.attrs), overwrite=overwrite)


def write_rows(
    path: Path,
    jpegs: Iterable[Image],
    columns: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    *,
    attributes: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a pack: JPEG bytes, the columns of `Pack` by name, and the attributes `size` and `context`.

    Raises InputError where there is no row, or one that `read_pack` would refuse; OutputError if `path` cannot be
    written.
    """
    if not names:
        raise InputError(f"{path} is not written: every face was left out")
    if problem := problem_of(columns):
        raise InputError(f"{path} is not written: it would hold {problem}")
    h5py = import_h5py()
    with atomic_path(path, overwrite) as temporary, new_hdf5(temporary) as file:
        file.attrs.update({**attributes, "format": FORMAT})
        pictures = file.create_dataset("jpeg", (len(names),), dtype=h5py.vlen_dtype(np.uint8))
        for i, jpeg in enumerate(jpegs):
            pictures[i] = jpeg
        for column in _COLUMNS:
            file[column] = columns[column]
        file.create_dataset("name", data=list(names), dtype=h5py.string_dtype())


def read_pack(path: Path) -> Pack:
    """Load a pack into memory, pictures decoded. Raises InputError or FormatError."""
    with open_hdf5(path, ("jpeg", "name", *_COLUMNS)) as file:
        if file.attrs.get("format") not in (FORMAT, _OLD_FORMAT):
            raise FormatError(f"{path}: not a {FORMAT} file")
        size = int(file.attrs["size"])
        if not len(file["jpeg"]):
            raise FormatError(f"{path}: no faces in it")
        if not 0 < size <= LARGEST_SIDE or len(file["jpeg"]) * size**2 > MAX_BYTES:
            raise FormatError(f"{path}: {len(file['jpeg'])} pictures of {size} pixels are more than a pack may hold")
        images = np.stack([decode_grey(data, size) for data in file["jpeg"][:]])
        names = [name.decode() for name in file["name"][:]]
        columns = {key: file[key][:] for key in _COLUMNS if file.attrs["format"] == FORMAT or key in file}
    columns.setdefault("weights", np.ones((len(names), N_LANDMARKS), np.float32))
    columns.setdefault("yaw", np.full(len(names), np.nan, np.float32))
    columns.setdefault("points", np.full((len(names), MOST_POINTS, 2), np.nan, np.float32))
    if any(column.shape[:1] != (len(names),) for column in (images, *columns.values())):
        raise FormatError(f"{path}: its columns are not of one length")
    columns = _of_kinds(path, columns)
    if problem := problem_of(columns):
        raise FormatError(f"{path}: {problem}")
    if twice := _twice_in(names):
        raise FormatError(f"{path}: {twice!r:.80} is the name of two faces")
    return Pack(images=images, names=names, **columns)


def read_packs(paths: Sequence[Path]) -> Pack:
    """Read several packs as one, in the order given.

    Raises InputError where their pictures differ in size, a face is twice in them, or one that is held out is trained
    on under another name; errors as `read_pack`.
    """
    packs = [read_pack(path) for path in paths]
    if len({pack.images.shape[1:] for pack in packs}) != 1:
        raise InputError(f"{', '.join(map(str, paths))}: the packs' pictures differ in size; pack them with one --size")
    together = joined(packs)
    if twice := _twice_in(together.names):
        raise InputError(f"{twice} is in more than one of the packs {', '.join(map(str, paths))}")
    if seen := _held_out_but_seen(together):
        held_out, trained = (together.names[row] for row in seen[0])
        raise InputError(
            f"{', '.join(map(str, paths))}: of the faces that are held out, {len(seen)} are trained on under another "
            f"name: {held_out!r:.80} is {trained!r:.80}. A training would be measured on what it has learnt. Which "
            "photos are held out follows from the names of the folder and the photo: pack each photo from one folder"
        )
    return together


def _held_out_but_seen(pack: Pack) -> list[tuple[int, int]]:
    """Rows of held-out faces, each with that of a training face that has the same landmarks but for place and size."""
    shapes = pack.landmarks.astype(np.float32)
    shapes = shapes - shapes.min(axis=1, keepdims=True)
    shapes = (shapes / shapes.max(axis=(1, 2), keepdims=True)).reshape(len(pack), -1)
    labelled, seen = np.flatnonzero(pack.labelled & ~pack.held_out), []
    order = labelled[np.argsort(shapes[labelled].sum(axis=1), kind="stable")]
    sums, reach = shapes[order].sum(axis=1), SAME_FACE * shapes.shape[1]
    for row in np.flatnonzero(pack.labelled & pack.held_out):
        low, high = np.searchsorted(sums, shapes[row].sum() + np.array([-reach, reach]))
        alike = np.abs(shapes[order[low:high]] - shapes[row]).max(axis=1, initial=0) < SAME_FACE
        seen += [(int(row), int(order[low + np.argmax(alike)]))] if alike.any() else []
    return seen


def _twice_in(names: Sequence[str]) -> str | None:
    """The first name that stands there more than once, if there is one."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def joined(packs: Sequence[Pack]) -> Pack:
    """Several packs, whose pictures have one size, as one pack."""
    columns = {column: np.concatenate([getattr(pack, column) for pack in packs]) for column in ("images", *_COLUMNS)}
    return Pack(**columns, names=[name for pack in packs for name in pack.names])


def crops_in_frame(pack: Pack, frame: CropFrame) -> tuple[Image, Floats]:
    """(N, 1, S, S) uint8 crops around the init shapes from the data set's boxes, and the truth (N, 68, 2) in them.

    Where the data set gave no box, the tight box of the landmarks stands for it.
    """
    crops = np.empty((len(pack), 1, frame.size, frame.size), np.uint8)
    truth = np.empty((len(pack), 68, 2))
    for i in range(len(pack)):
        bbox = pack.bbox[i] if np.isfinite(pack.bbox[i]).all() else bbox_of_shape(pack.landmarks[i])
        crops[i, 0], transform = frame.crop(pack.images[i], init_shape_from_bbox(bbox))
        truth[i] = transform.apply(pack.landmarks[i])
    return crops, truth


def _of_kinds(path: Path, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns, numbers as float32. Raises FormatError for other kinds and shapes than a pack's."""
    for name, (kind, shape) in _SHAPES.items():
        values = columns[name]
        if values.dtype.kind != kind or values.shape[1:] != shape:
            raise FormatError(f"{path}: {name}: expected shape (N, {shape}), got {values.dtype} {values.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return {k: values.astype(np.float32) if _SHAPES[k][0] == "f" else values for k, values in columns.items()}


def problem_of(columns: Mapping[str, NDArray[Any]]) -> str | None:
    """What in the columns of a pack, by name, no face can have; None where there is nothing. `read_pack` refuses it."""
    return next(_problems(columns), None)


def _problems(columns: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    landmarks, weights, bbox = columns["landmarks"], columns["weights"], columns["bbox"]
    if not (np.abs(landmarks) <= LARGEST_LANDMARK).all() or np.isinf(bbox).any():
        yield "landmarks or boxes that are not finite pixels"
    if not ((weights >= 0) & (weights <= 1)).all():  # False for NaN
        yield "weights that are not between 0 and 1"
    boxes = bbox[~np.isnan(bbox).any(axis=1)]
    if not ((boxes[:, 2:] > boxes[:, :2]).all() and (np.abs(boxes) <= LARGEST_LANDMARK).all()):
        yield "boxes that are empty or beyond any picture"
    if not (np.ptp(landmarks, axis=1) >= LEAST_EXTENT).all():
        yield "landmarks without an extent"
    if not eyes_apart(landmarks[weights.any(axis=1)]).all():
        yield "labelled faces whose two eyes are in one place"
    if (np.abs(columns["yaw"]) > LARGEST_YAW).any():  # False for NaN
        yield f"yaw that is beyond {LARGEST_YAW:.0f} degrees"
    if (np.abs(columns["points"]) > LARGEST_LANDMARK).any():
        yield "points that are beyond any picture"
    placed = np.isfinite(columns["points"]).all(axis=2).sum(axis=1)
    if not np.isin(placed, (0, *SCHEMES)).all():
        yield f"hand points whose number is none of {', '.join(map(str, sorted(SCHEMES)))}"


def eyes_apart(landmarks: Floats) -> Bools:
    """(N,) whether the distance between the pupils, which errors are divided by, is anything beside the face's size.

    landmarks: (N, 68, 2).
    """
    apart = NORMALISERS["inter-pupil"](np.asarray(landmarks, float))
    return np.asarray(apart > _CLOSEST_EYES * np.ptp(landmarks, axis=1).max(axis=1))


def encode_grey(grey: Image, quality: int) -> Image:
    """(K,) the bytes of a (H, W) uint8 picture as a JPEG."""
    import cv2

    return pixels(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]).ravel()


def decode_grey(data: Image, size: int | None = None) -> Image:
    """(H, W) uint8 grey of a JPEG's bytes. size: its side. Raises ValueError for what is none or has another size."""
    import simplejpeg

    if size is not None and (header := read_header(data.tobytes())) and (header.height, header.width) != (size, size):
        raise ValueError(f"a packed picture is damaged: {header.width} x {header.height} pixels, not {size}")
    try:
        grey: Image = simplejpeg.decode_jpeg(data.tobytes(), "GRAY")
        return grey[..., 0]
    except ValueError as error:
        raise ValueError(f"a packed picture is damaged: {error}") from error
