"""The packed data set: grey JPEG bytes, landmarks, boxes, names and the split in one HDF5 file.

Each face lies upright in the middle of a square of `size` pixels that spans `context` times the larger extent of its
landmarks. Landmarks and boxes are in that square's pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facealign_cli.arrays import Bools, Floats, Image, pixels
from facealign_cli.datasets import LeftOut, Sample, read_samples
from facealign_cli.datasets.beside import SCHEMES
from facealign_cli.datasets.splits import is_held_out, photo_number
from facealign_cli.datasets.unlabelled import FindFace
from facealign_cli.datasets.unlabelled import read as read_unlabelled
from facealign_cli.detectors import create_detector
from facealign_cli.detectors.base import DEFAULT_DETECTOR
from facealign_cli.errors import FormatError, InputError
from facealign_cli.files.header import read_header
from facealign_cli.files.output import atomic_path, check_output
from facealign_cli.files.pictures import read_image, to_grey
from facealign_cli.geometry import (
    CropFrame,
    SimilarityTransform,
    bbox_of_shape,
    extent_of_shape,
    init_shape_from_bbox,
    warp,
)
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.records import BBox
from facealign_cli.training.hdf5 import import_h5py, open_hdf5

FORMAT = "facealign-pack/2"
_OLD_FORMAT = "facealign-pack/1"
"""Packs without weights, yaw and points, which are still read: every point counts whole."""
LARGEST_SIDE, MAX_BYTES = 1024, 64 << 30
"""Of a packed picture, pixels; of all pictures of a pack, decoded: 64 GiB."""
LARGEST_LANDMARK = 1e6
_MOST_POINTS = max(SCHEMES)
_SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "landmarks": ("f", (N_LANDMARKS, 2)),
    "bbox": ("f", (4,)),
    "rough": ("b", ()),
    "held_out": ("b", ()),
    "weights": ("f", (N_LANDMARKS,)),
    "yaw": ("f", ()),
    "points": ("f", (_MOST_POINTS, 2)),
}
"""Column → kind of its values, and their shape for one face."""
_COLUMNS = tuple(_SHAPES)
SPLITS = ("train", "train (rough)", "held out", "not labelled")
_SMALLEST_FACE = 16.0
_SAME_FACE = 0.002
"""In shares of the face's extent: two sets of landmarks that differ by less are one face given twice."""


@dataclass(frozen=True)
class PackReport:
    """What went into a pack: counts per data set and split, and every face left out with its reason.

    held_out_photo: the one that had to be held out since no photo's name says so; None where one does.
    """

    counts: dict[str, dict[str, int]]
    left_out: list[LeftOut]
    held_out_photo: str | None = None


@dataclass(frozen=True, eq=False)
class Pack:
    """A pack in memory.

    images: (N, P, P) uint8 grey. landmarks: (N, 68, 2) float32. bbox: (N, 4) float32, NaN where the data set gave none.
    rough: (N,) bool, labels that were estimated and do not follow the hand-made ones' convention. held_out: (N,) bool.
    weights: (N, 68) float32, how far each point is to be trusted; 0 is never learnt from nor measured on.
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


@dataclass(frozen=True, eq=False)
class _Row:
    sample: Sample
    name: str
    jpeg: Image
    landmarks: Floats
    bbox: Floats
    points: Floats


def write_pack(
    roots: Sequence[Path],
    path: Path,
    *,
    size: int = 256,
    context: float = 3.0,
    quality: int = 90,
    unlabelled: bool = False,
    overwrite: bool = False,
) -> PackReport:
    """Read, validate and pack every annotated face below `roots`.

    unlabelled: pictures without landmarks, too, for `relabel`; see `datasets.unlabelled`.
    Raises InputError if nothing is left to pack, OutputError if `path` cannot be written.
    """
    check_output(path, overwrite)
    rows: list[_Row] = []
    left_out: list[LeftOut] = []
    seen: dict[str, list[Floats]] = {}
    for item in _samples(roots, unlabelled):
        result = item if isinstance(item, LeftOut) else _row(item, size, context, quality, seen)
        (left_out if isinstance(result, LeftOut) else rows).append(result)  # type: ignore[arg-type]
    if not rows:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in left_out[:3])
        raise InputError(f"no usable face in {', '.join(map(str, roots))} ({reasons})")
    chosen = _photo_to_hold_out(rows)
    for row in [row for row in rows if row.sample.photo == chosen and _hold_out_problem(row.sample)]:
        rows.remove(row)
        left_out.append(LeftOut(row.name, _hold_out_problem(row.sample) or ""))
    _write(path, rows, size, context, overwrite=overwrite, chosen=chosen)
    return PackReport(_counts(rows, chosen), left_out, chosen)


def _photo_to_hold_out(rows: list[_Row]) -> str | None:
    """Of a small set, in which no photo is held out by its name: the one whose number is least.

    A run of training needs faces that it does not see. None where there are some, or there is but one photo.
    """
    photos = {row.sample.photo for row in rows if not row.sample.rough and not _is_unlabelled(row.sample)}
    if len(photos) < 2 or any(is_held_out(photo) for photo in photos):
        return None
    return min(photos, key=photo_number)


def _samples(roots: Sequence[Path], unlabelled: bool) -> Iterable[Sample | LeftOut]:
    for root in map(Path, roots):
        if not unlabelled or root.is_file() or next(root.rglob("*.pts"), None):
            yield from read_samples(root)
        if unlabelled and root.is_dir():
            yield from read_unlabelled(root, _largest_face())


def _largest_face() -> FindFace:
    """Finds the box that the landmarks of a picture's largest face are expected to fill."""
    detector = create_detector(DEFAULT_DETECTOR)

    def find(path: Path) -> BBox | None:
        boxes = [detector.calibration.landmarks_bbox(found.bbox) for found in detector.detect(read_image(path))]
        return max(boxes, key=lambda box: box.width * box.height, default=None)

    return find


def _row(sample: Sample, size: int, context: float, quality: int, seen: dict[str, list[Floats]]) -> _Row | LeftOut:
    import cv2

    name = f"{sample.photo.split('/')[0]}:{sample.name}"
    if is_held_out(sample.photo) and (problem := _hold_out_problem(sample)):
        return LeftOut(name, problem)
    try:
        image = read_image(sample.image_path)
    except InputError as error:
        return LeftOut(name, str(error))
    problem = _problem(sample, image.shape[:2], seen.setdefault(sample.photo, []))
    if problem:
        return LeftOut(name, problem)
    box = bbox_of_shape(sample.landmarks)
    scale = size / (context * extent_of_shape(sample.landmarks))
    center = (box[:2] + box[2:]) / 2
    shift = (size - 1) / 2 - scale * center
    transform = SimilarityTransform(scale, 0.0, float(shift[0]), float(shift[1]))
    grey = warp(to_grey(image), transform, size)
    jpeg = pixels(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
    bbox = np.full(4, np.nan)
    if sample.bbox is not None:
        bbox = transform.apply(np.array(sample.bbox.xyxy).reshape(2, 2)).reshape(4)
    points = np.full((_MOST_POINTS, 2), np.nan)
    if sample.points is not None:
        points[: len(sample.points)] = transform.apply(sample.points)
    return _Row(sample, name, jpeg.ravel(), transform.apply(sample.landmarks), bbox, points)


def _is_unlabelled(sample: Sample) -> bool:
    return sample.weights is not None and not sample.weights.any()


def _hold_out_problem(sample: Sample) -> str | None:
    """Why a face whose photo is held out is neither trained on nor measured on, or None."""
    kind = "not" if _is_unlabelled(sample) else "roughly" if sample.rough else None
    return kind and f"{kind} labelled, and its photo is held out"


def _problem(sample: Sample, size: tuple[int, int], same_photo: list[Floats]) -> str | None:
    """Why a face cannot be trained on, or None; `same_photo` gathers the photo's faces to find one given twice."""
    box = bbox_of_shape(sample.landmarks)
    extent = extent_of_shape(sample.landmarks)
    if extent < _SMALLEST_FACE:
        return f"the face is {extent:.1f} pixels large; at least {_SMALLEST_FACE:.0f} are needed"
    height, width = size
    outside = (sample.landmarks < -0.5).any(axis=1) | (sample.landmarks > [width - 0.5, height - 0.5]).any(axis=1)
    if outside.mean() > 0.5:
        return "more than half of its points lie outside the picture"
    normalised = (sample.landmarks - box[:2]) / extent
    if any(np.abs(normalised - other).max() < _SAME_FACE for other in same_photo):
        return "the same face as another of this photo"
    same_photo.append(normalised)
    return None


def _counts(rows: list[_Row], chosen: str | None) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        entry = counts.setdefault(row.sample.dataset, dict.fromkeys(SPLITS, 0))
        entry[_split_of(row.sample, chosen)] += 1
    return counts


def _split_of(sample: Sample, chosen: str | None) -> str:
    if _is_unlabelled(sample):
        return "not labelled"
    held_out = is_held_out(sample.photo) or sample.photo == chosen
    return "held out" if held_out else "train (rough)" if sample.rough else "train"


def _write(path: Path, rows: list[_Row], size: int, context: float, *, overwrite: bool, chosen: str | None) -> None:
    h5py = import_h5py()
    with atomic_path(path, overwrite) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"format": FORMAT, "size": size, "context": context})
        jpeg = file.create_dataset("jpeg", (len(rows),), dtype=h5py.vlen_dtype(np.uint8))
        for i, row in enumerate(rows):
            jpeg[i] = row.jpeg
        file["landmarks"] = np.stack([row.landmarks for row in rows]).astype(np.float32)
        file["bbox"] = np.stack([row.bbox for row in rows]).astype(np.float32)
        file["rough"] = np.array([row.sample.rough for row in rows])
        file["held_out"] = np.array([is_held_out(row.sample.photo) or row.sample.photo == chosen for row in rows])
        whole = np.ones(N_LANDMARKS, np.float32)
        file["weights"] = np.stack([whole if row.sample.weights is None else row.sample.weights for row in rows])
        file["yaw"] = np.array([row.sample.yaw for row in rows], np.float32)
        file["points"] = np.stack([row.points for row in rows]).astype(np.float32)
        file.create_dataset("name", data=[row.name for row in rows], dtype=h5py.string_dtype())


def rewrite_pack(source: Path, path: Path, pack: Pack, keep: Bools, overwrite: bool = False) -> None:
    """Write the rows of `source` where the (N,) mask is true, its pictures as they are, with the columns of `pack`.

    Raises OutputError if `path` cannot be written.
    """
    h5py = import_h5py()
    rows = np.flatnonzero(keep)
    with (
        open_hdf5(source, ("jpeg",)) as old,
        atomic_path(path, overwrite) as temporary,
        h5py.File(temporary, "w") as file,
    ):
        file.attrs.update({**old.attrs, "format": FORMAT})
        jpeg = file.create_dataset("jpeg", (len(rows),), dtype=h5py.vlen_dtype(np.uint8))
        for i, row in enumerate(rows):
            jpeg[i] = old["jpeg"][row]
        for column in _COLUMNS:
            file[column] = getattr(pack, column)[rows]
        file.create_dataset("name", data=[pack.names[row] for row in rows], dtype=h5py.string_dtype())


def read_pack(path: Path) -> Pack:
    """Load a pack into memory, pictures decoded. Raises InputError or FormatError."""
    with open_hdf5(path, ("jpeg", "name", *_COLUMNS)) as file:
        if file.attrs.get("format") not in (FORMAT, _OLD_FORMAT):
            raise FormatError(f"{path}: not a {FORMAT} file")
        size = int(file.attrs["size"])
        if not 0 < size <= LARGEST_SIDE or len(file["jpeg"]) * size**2 > MAX_BYTES:
            raise FormatError(f"{path}: {len(file['jpeg'])} pictures of {size} pixels are more than a pack may hold")
        images = np.stack([decode_grey(data, size) for data in file["jpeg"][:]])
        names = [name.decode() for name in file["name"][:]]
        columns = {key: file[key][:] for key in _COLUMNS if file.attrs["format"] == FORMAT or key in file}
    columns.setdefault("weights", np.ones((len(names), N_LANDMARKS), np.float32))
    columns.setdefault("yaw", np.full(len(names), np.nan, np.float32))
    columns.setdefault("points", np.full((len(names), _MOST_POINTS, 2), np.nan, np.float32))
    _check_columns(path, columns)
    if any(len(column) != len(names) for column in (images, *columns.values())):
        raise FormatError(f"{path}: its columns are not of one length")
    return Pack(images=images, names=names, **columns)


def read_packs(paths: Sequence[Path]) -> Pack:
    """Several packs as one, in the order given. Raises InputError where their pictures differ in size or a face is
    twice in them; errors as `read_pack`."""
    packs = [read_pack(path) for path in paths]
    if len({pack.images.shape[1:] for pack in packs}) != 1:
        raise InputError(f"{', '.join(map(str, paths))}: the packs' pictures differ in size; pack them with one --size")
    names = [name for pack in packs for name in pack.names]
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{twice} is in more than one of the packs {', '.join(map(str, paths))}")
    columns = {column: np.concatenate([getattr(pack, column) for pack in packs]) for column in ("images", *_COLUMNS)}
    return Pack(**columns, names=names)


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


def _check_columns(path: Path, columns: dict[str, Floats]) -> None:
    for name, (kinds, shape) in _SHAPES.items():
        values = columns[name]
        if values.dtype.kind not in kinds or values.shape[1:] != shape:
            raise FormatError(f"{path}: {name}: expected shape (N, {shape}), got {values.dtype} {values.shape}")
    if not (np.abs(columns["landmarks"]) <= LARGEST_LANDMARK).all() or np.isinf(columns["bbox"]).any():
        raise FormatError(f"{path}: landmarks or boxes that are not finite pixels")
    if not ((columns["weights"] >= 0) & (columns["weights"] <= 1)).all():  # False for NaN
        raise FormatError(f"{path}: weights that are not between 0 and 1")
    boxes = columns["bbox"][~np.isnan(columns["bbox"]).any(axis=1)]
    if not ((boxes[:, 2:] > boxes[:, :2]).all() and (np.abs(boxes) <= LARGEST_LANDMARK).all()):
        raise FormatError(f"{path}: boxes that are empty or beyond any picture")
    if not (np.ptp(columns["landmarks"], axis=1) > 0).all():
        raise FormatError(f"{path}: landmarks without an extent")


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
