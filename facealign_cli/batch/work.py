"""From a list of pictures to their rows: read, decode, detect, align, write crops. Knows nothing of pools or clusters.

Reading and decoding run ahead in a thread. The faces of several pictures go through the network together, in batches
that are always filled up to `NETWORK_BATCH`, so that a row cannot depend on which pictures happened to come together.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from facealign_cli.aligner import NETWORK_BATCH, Aligner, confident
from facealign_cli.arguments import check_flags, check_kind, check_number
from facealign_cli.arrays import Image
from facealign_cli.batch.base import Outcome
from facealign_cli.boxes import Detection
from facealign_cli.crops import CropOptions, cut_face
from facealign_cli.detectors import DetectorOptions
from facealign_cli.detectors.base import DEFAULT_DETECTOR, detect_faces
from facealign_cli.errors import InputError, ModelError, OutputError
from facealign_cli.files.output import safe_tree
from facealign_cli.files.pictures import MAX_PIXELS, decode_picture, drawing_suffix, encode_image, max_file_bytes
from facealign_cli.files.storage import Storage, join, storage_for
from facealign_cli.formats.pts import encode_pts
from facealign_cli.models.registry import load_model
from facealign_cli.overlay import draw_overlay
from facealign_cli.placing import FoundFaces, place_landmarks
from facealign_cli.pose import PoseEstimator
from facealign_cli.quality import with_quality
from facealign_cli.records import Face, FrameResult

_AHEAD_BYTES = 64 << 20
_HELD_BYTES = 64 << 20


@dataclass(frozen=True)
class WorkOptions:
    """All that decides what becomes of a picture; it can be pickled. Folders may be URLs; None: there is none.

    model: a name or an .onnx file, as for `Aligner`. detector: a name, with its options in detector_options. device,
    threads, min_confidence: as for `Aligner`. max_pixels: a picture of more pixels fails. pose: estimates the head pose
    of each face; None means that faces get no pose. quality: whether faces get the quality of their picture. sigma:
    whether CSV rows and drawings show how far each point may be off; Parquet and JSON always do. crops_folder: gets
    each face as a square, and beside it a document with its matrix and
    landmarks. crop_preset, crop_size: as for `CropOptions`. overlay_folder: gets the pictures with their faces drawn.
    pts_folder: gets a .pts file for each face. Raises InputError.
    """

    model: str | None = None
    detector: str = DEFAULT_DETECTOR
    detector_options: DetectorOptions = field(default_factory=DetectorOptions)
    device: str = "auto"
    threads: int = 1
    max_pixels: int = MAX_PIXELS
    pose: PoseEstimator | None = None
    quality: bool = False
    sigma: bool = False
    crops_folder: str | None = None
    crop_preset: str = "upright"
    crop_size: int | None = None
    overlay_folder: str | None = None
    pts_folder: str | None = None
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        CropOptions(self.crop_preset, self.crop_size)
        check_kind("detector_options", self.detector_options, DetectorOptions)
        check_kind("pose", self.pose, PoseEstimator, None, hint="None switches it off")
        check_number("max_pixels", self.max_pixels, 1, whole=True)
        check_flags(quality=self.quality, sigma=self.sigma)
        for name in ("detector", "device"):
            check_kind(name, getattr(self, name), str)
        check_number("threads", self.threads, 1, whole=True)
        for name in ("model", "crops_folder", "overlay_folder", "pts_folder"):
            check_kind(name, path := getattr(self, name), str, os.PathLike, None)
            if path is not None:
                object.__setattr__(self, name, os.fspath(path))

    @property
    def crop(self) -> CropOptions:
        """How faces are cut out."""
        return CropOptions(self.crop_preset, self.crop_size)


@dataclass(eq=False)
class _Picture:
    """A picture on its way. image: None where it could not be had, or once it has been put away."""

    path: str
    last: bool
    image: Image | None = None
    error: str | None = None
    warning: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    detections: Sequence[Detection] = ()
    found: FoundFaces | None = None

    @property
    def n_bytes(self) -> int:
        return 0 if self.image is None else self.image.nbytes


class PictureWork:
    """Turns pictures into outcomes; holds the networks, so one is made per process.

    cpu_s: seconds of processor time by stage so far. Raises what `Aligner` raises.
    """

    def __init__(self, options: WorkOptions) -> None:
        import cv2

        cv2.setNumThreads(options.threads)
        model = load_model(options.model, device=options.device, threads=options.threads)
        self.options = options
        self.aligner = Aligner(
            model.padded_to(NETWORK_BATCH),
            options.detector,
            options=options.detector_options,
            min_confidence=options.min_confidence,
        )
        self.cpu_s: dict[str, float] = defaultdict(float)
        self._places = {
            folder: _held(folder)
            for folder in (options.crops_folder, options.overlay_folder, options.pts_folder)
            if folder is not None
        }
        self._used = {
            "detector": self.aligner.detector.name,
            "model": self.aligner.model.name,
            "provider": self.aligner.model.provider,
        }

    def process(self, paths: Sequence[str]) -> list[Outcome]:
        """The outcomes of some pictures, in their order. Raises OutputError where a crop cannot be written."""
        return [outcome for outcomes in self.process_chunks([paths]) for outcome in outcomes]

    def process_chunks(
        self, chunks: Iterable[Sequence[str]], on_picture: Callable[[], None] = lambda: None
    ) -> Iterator[list[Outcome]]:
        """The outcomes of one chunk after another, the next one's pictures being read meanwhile.

        on_picture: called when a picture has been looked at. Raises as `process` does, and what `chunks` raises.
        """
        waiting: list[_Picture] = []
        done: list[Outcome] = []
        with _Ahead(self._loaded(chunks)) as pictures:
            for picture in pictures:
                self._detect(picture)
                on_picture()
                waiting.append(picture)
                if picture.last or sum(p.n_bytes for p in waiting) > _HELD_BYTES:
                    done += self._finish(waiting)
                    waiting = []
                if picture.last:
                    yield done
                    done = []

    def _loaded(self, chunks: Iterable[Sequence[str]]) -> Iterator[_Picture]:
        for paths in chunks:
            for i, path in enumerate(paths):
                picture = _Picture(path, last=i == len(paths) - 1)
                self._guarded(picture, self._load)
                yield picture

    def _load(self, picture: _Picture) -> None:
        with self._timed("read", [picture]):
            data = storage_for(picture.path).read(picture.path, max_file_bytes(self.options.max_pixels))
            picture.extra |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        with self._timed("decode", [picture]):
            decoded = decode_picture(data, picture.path, max_pixels=self.options.max_pixels)
            picture.image, picture.warning = decoded.image, decoded.warning

    def _detect(self, picture: _Picture) -> None:
        self._guarded(picture, self._find_faces)

    def _find_faces(self, picture: _Picture) -> None:
        if picture.image is None:
            return
        with self._timed("detect", [picture]):
            picture.detections = detect_faces(self.aligner.detector, picture.image, picture.path)
        with self._timed("align", [picture]):
            calibration = self.aligner.detector.calibration
            picture.found = self.aligner.cut_boxes(picture.image, picture.detections, calibration)

    def _finish(self, pictures: list[_Picture]) -> list[Outcome]:
        with_faces = [p for p in pictures if p.error is None and p.detections]
        faces: dict[int, list[Face]] = {}
        try:
            faces = self._align(with_faces)
        except Exception:  # noqa: BLE001 - one of them is to blame: each alone tells which
            for picture in with_faces:
                self._guarded(picture, lambda one: faces.update(self._align([one])))
        return [self._outcome(picture, faces.get(id(picture), [])) for picture in pictures]

    def _align(self, pictures: list[_Picture]) -> dict[int, list[Face]]:
        """The faces by picture."""
        with self._timed("align", pictures):
            faces = place_landmarks(self.aligner.model, [p.found for p in pictures if p.found is not None])
        return {id(picture): faces[i] for i, picture in enumerate(pictures)}

    def _outcome(self, picture: _Picture, found: list[Face]) -> Outcome:
        faces = confident(found, self.aligner.min_confidence)
        picture.extra["left_out"] = len(found) - len(faces)
        if self.options.pose is not None and picture.image is not None:
            faces = self.options.pose(faces, picture.image.shape[1], picture.image.shape[0])
        if self.options.quality and picture.image is not None:
            faces = with_quality(picture.image, faces)
        if picture.error is None:
            self._guarded(picture, lambda one: self._write(one, faces))
        facts: dict[str, Any] = {**self._used, "warning": picture.warning}
        if picture.image is not None:
            facts |= {"height": picture.image.shape[0], "width": picture.image.shape[1]}
        picture.image = None
        if picture.error is not None:
            return Outcome(FrameResult.of_error(picture.path, picture.error, **facts), picture.extra)
        return Outcome(FrameResult.of_faces(picture.path, faces, **facts), picture.extra)

    def _write(self, picture: _Picture, faces: list[Face]) -> None:
        options, image = self.options, picture.image
        if image is None or not (options.crops_folder or options.overlay_folder or options.pts_folder):
            return
        with self._timed("write", [picture]):
            for face in faces:
                if options.crops_folder:
                    crop = cut_face(image, face, options.crop)
                    for suffix, data in crop.files(source=picture.path, face_id=face.face_id).items():
                        self._put(options.crops_folder, picture.path, f"_{face.face_id}{suffix}", data)
                if options.pts_folder:
                    self._put(options.pts_folder, picture.path, f"_{face.face_id}.pts", encode_pts(face.landmarks))
            if options.overlay_folder:
                suffix = drawing_suffix(image)
                drawing = encode_image(draw_overlay(image, faces, sigma=self.options.sigma), suffix)
                self._put(options.overlay_folder, picture.path, suffix, drawing)

    def _put(self, folder: str, source: str, suffix: str, data: bytes) -> None:
        self._places[folder].write(join(folder, safe_tree(source) + suffix), data)

    def _guarded(self, picture: _Picture, step: Callable[[_Picture], object]) -> None:
        """Take a step; what it fails with is recorded with the picture, and the others go on."""
        if picture.error is not None:
            return
        try:
            step(picture)
        except OutputError:  # nowhere to write: no fault of the picture
            raise
        except (InputError, ModelError, MemoryError) as error:
            picture.error = str(error) or "out of memory"
        except Exception as error:  # noqa: BLE001 - a picture nobody foresaw must not end a job of millions
            picture.error = f"{picture.path}: unexpected {type(error).__name__}: {error}"

    def _timed(self, stage: str, pictures: list[_Picture]) -> _Timed:
        return _Timed(stage, pictures, self.cpu_s)


class _Timed:
    """Adds the body's wall time to the pictures, each its faces' share of it, and its processor time to a counter."""

    def __init__(self, stage: str, pictures: list[_Picture], cpu_s: dict[str, float]) -> None:
        self._stage, self._pictures, self._cpu_s = stage, pictures, cpu_s

    def __enter__(self) -> None:
        self._begin = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        milliseconds = (time.perf_counter() - self._begin[0]) * 1000
        self._cpu_s[self._stage] += time.thread_time() - self._begin[1]
        faces = sum(len(p.detections) for p in self._pictures)
        for picture in self._pictures:
            share = len(picture.detections) / faces if len(self._pictures) > 1 else 1.0
            key = f"{self._stage}_ms"
            picture.extra[key] = round(picture.extra.get(key, 0.0) + share * milliseconds, 3)


class _Ahead:
    """Iterates in a thread of its own, so far ahead as `_AHEAD_BYTES` of decoded pictures allow; at least one."""

    def __init__(self, pictures: Iterator[_Picture]) -> None:
        self._source = pictures
        self._queue: queue.SimpleQueue[_Picture | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._held = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="facealign-read", daemon=True)

    def __enter__(self) -> Iterator[_Picture]:
        self._thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for picture in self._source:
                with self._room:
                    self._held += picture.n_bytes + 1
                self._queue.put(picture)
                with self._room:
                    self._room.wait_for(lambda: self._held <= _AHEAD_BYTES or self._closed)
                    if self._closed:
                        return
        except BaseException as error:  # noqa: BLE001 - raised again where the pictures are taken
            end = error
        self._queue.put(end)

    def _items(self) -> Iterator[_Picture]:
        while isinstance(item := self._queue.get(), _Picture):
            size = item.n_bytes + 1
            with self._room:
                self._held -= size
                self._room.notify_all()
            yield item
        if item is not None:
            raise item


def _held(folder: str) -> Storage:
    """The storage of a folder, which is made if it is missing. Raises OutputError, InputError."""
    storage = storage_for(folder)
    storage.hold(folder)
    return storage
