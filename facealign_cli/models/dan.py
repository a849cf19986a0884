"""DanModel: a DAN graph run by ONNX Runtime, from crops to landmarks.

The graph's contract. In: `crop` (N, 1, S, S) uint8 or float32, grey, 0–255. Out, in the crop's pixels: `landmarks`
(N, 68, 2), `stage1_landmarks` (N, 68, 2), and `confidence` (N,), 0 to 1. A graph of version 2 also has `sigma` (N, 68):
how far each landmark may be off, in the crop's pixels; the true point is within that radius in 68 of 100 cases. Its
metadata entry "facealign" is JSON that `GraphMetadata` describes. A graph that does not match is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arguments import check_kind, check_number
from facealign_cli.arrays import Floats, Image
from facealign_cli.errors import ArgumentError, InputError, ModelError
from facealign_cli.files.base import check_path
from facealign_cli.files.documents import parse_json, parsing, structured
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import N_LANDMARKS, SCHEME
from facealign_cli.runtime import create_session, provider_of

METADATA_KEY = "facealign"
METADATA_FORMAT = "facealign-graph/1"
METADATA_FORMAT_SIGMA = "facealign-graph/2"
"""Graphs without and with the output `sigma`."""
OUTPUTS = ("landmarks", "stage1_landmarks", "confidence")
OUTPUT_SHAPES: tuple[tuple[int, ...], ...] = ((N_LANDMARKS, 2), (N_LANDMARKS, 2), (), (N_LANDMARKS,))
"""Of a crop's outputs, sigma's last."""
LARGEST_OUTPUT, LARGEST_CROP = 1e6, 2048
"""In crop pixels: what lies beyond is no landmark; no crop has a longer side."""
LONGEST_NAME, MOST_STAGES, MAX_METADATA = 200, 99, 1 << 20
"""Characters of a name, which stands in every record, or of a version; stages; characters of the metadata entry."""
_LIMITS = {
    "landmarks": (-LARGEST_OUTPUT, LARGEST_OUTPUT),
    "stage1_landmarks": (-LARGEST_OUTPUT, LARGEST_OUTPUT),
    "confidence": (0.0, 1.0),
    "sigma": (0.0, LARGEST_OUTPUT),
}


@dataclass(frozen=True)
class GraphMetadata:
    """What a graph says of itself.

    crop_size: S. crop_share: the face's share of the crop's side. mean_shape: 68 pairs, any unit.
    figures: name → value, each named with its set, init and normaliser. Raises InputError for a name or version that
    cannot stand in records, ValueError for other values that no graph has.
    """

    name: str
    version: str
    scheme: str
    stages: int
    crop_size: int
    crop_share: float
    mean_shape: list[list[float]] = field(repr=False)
    training_data: str = ""
    licence: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    format: str = METADATA_FORMAT

    def __post_init__(self) -> None:
        if self.format not in (METADATA_FORMAT, METADATA_FORMAT_SIGMA):
            raise ValueError(f"format: expected {METADATA_FORMAT} or {METADATA_FORMAT_SIGMA}, got {self.format!r}")
        if self.scheme != SCHEME:
            raise ValueError(f"scheme: expected {SCHEME}, got {self.scheme!r}")
        shape = np.asarray(self.mean_shape, float)
        if shape.shape != (N_LANDMARKS, 2) or not np.isfinite(shape).all():
            raise ValueError(f"mean_shape: expected {N_LANDMARKS} finite pairs, got shape {shape.shape}")
        if not np.ptp(shape, axis=0).min() > 0:
            raise ValueError("mean_shape: its points have no extent")
        if not 1 <= self.stages <= MOST_STAGES:
            raise ValueError(f"stages: expected 1 to {MOST_STAGES}, got {self.stages}")
        for field_name in ("name", "version"):
            text = getattr(self, field_name)
            if len(text) > LONGEST_NAME or not text.isprintable():
                expected = f"up to {LONGEST_NAME} characters in one line, without control characters"
                raise InputError(f"{field_name}: expected {expected}, got {text!r:.60}")
        _ = self.frame  # checks the size and the share
        if self.crop_size > LARGEST_CROP:
            raise ValueError(f"crop_size: expected {LARGEST_CROP} or less, got {self.crop_size}")

    @property
    def frame(self) -> CropFrame:
        """The frame that crops are cut to."""
        return CropFrame(self.crop_size, self.crop_share, np.asarray(self.mean_shape, float))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs, in their order."""
        return OUTPUTS if self.format == METADATA_FORMAT else (*OUTPUTS, "sigma")

    def to_json(self) -> str:
        """The metadata entry's text."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> GraphMetadata:
        """From the entry's text. Raises ValueError."""
        return structured(parse_json(text), cls)


@dataclass(frozen=True, eq=False)
class DanPrediction:
    """landmarks, stage1_landmarks: (N, 68, 2) float32, crop pixels. confidence: (N,) float32, 0 to 1.

    sigma: (N, 68) float32, crop pixels, how far each landmark may be off; NaN where the graph does not say.
    """

    landmarks: Floats
    stage1_landmarks: Floats
    confidence: Floats
    sigma: Floats = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.sigma is None:
            object.__setattr__(self, "sigma", np.full(self.landmarks.shape[:2], np.nan, np.float32))


class DanModel:
    """A DAN graph that has been loaded.

    It can be used from several threads at once. It can be pickled; the copy loads its file anew.

    path: an ONNX file. device: "auto", "cpu", "cuda" or "cuda:N". threads: how many threads one operator may use.
    batch_size: how many crops go through the graph at once, at most; larger input is cut into such parts. loading: with
    which device and threads it was loaded.
    Raises InputError for numbers out of range, ModelError for a file that is damaged or no such graph, and DeviceError
    if the device is not there.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        device: str = "auto",
        threads: int = 1,
        batch_size: int = 16,
    ) -> None:
        check_path("path", path)
        check_number("batch_size", batch_size, 1, whole=True)
        self.path = Path(path)
        self.loading: dict[str, Any] = {"device": device, "threads": threads}
        self._session = create_session(self.path, device, threads)
        self.metadata = self._read_metadata()
        self.frame = self.metadata.frame
        self._outputs = list(self.metadata.outputs)
        self.provider = provider_of(self._session)
        self.batch_size, self.padded = batch_size, False
        with parsing(self.path, "one of facealign's models", ModelError):
            self._dtype = self._check_interface()

    def padded_to(self, batch_size: int) -> DanModel:
        """The same graph, loaded once, whose input is always filled up to so many crops.

        The result of a crop then does not depend on how many crops come with it.
        """
        model = object.__new__(type(self))
        model.__dict__ |= self.__dict__ | {"batch_size": batch_size, "padded": True}
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_again, (self.path, self.loading, self.batch_size, self.padded)

    @property
    def name(self) -> str:
        """Name and version, as records state them."""
        return f"{self.metadata.name} {self.metadata.version}"

    def predict(self, crops: Image | Floats) -> DanPrediction:
        """Place landmarks in crops.

        crops: (N, 1, S, S) or (N, S, S), grey, 0 to 255, uint8 or float; N may be 0. Raises InputError for another
        shape, for other values than numbers and for NaN and infinity, and ModelError if the graph gives something else
        than landmarks.
        """
        size = self.metadata.crop_size
        check_kind("crops", crops, np.ndarray)
        crops = crops[:, None] if crops.ndim == 3 else crops
        if crops.ndim != 4 or crops.shape[1:] != (1, size, size):
            raise ArgumentError(f"expected crops of shape (N, 1, {size}, {size}), got {crops.shape}")
        if crops.dtype.kind not in "uif" or (crops.dtype.kind == "f" and not np.isfinite(crops).all()):
            got = "NaN or infinity" if crops.dtype.kind == "f" else str(crops.dtype)
            raise ArgumentError(f"expected crops of grey values, 0 to 255, got {got}")
        pieces = [crops[i : i + self.batch_size] for i in range(0, len(crops), self.batch_size)]
        if not pieces:
            empty = np.zeros((0, N_LANDMARKS, 2), np.float32)
            return DanPrediction(empty, empty, np.zeros(0, np.float32))
        given = [self._run(piece) for piece in pieces]
        parts = [self._floats(outputs, len(piece)) for piece, outputs in zip(pieces, given, strict=True)]
        return DanPrediction(*self._checked([np.concatenate(values) for values in zip(*parts, strict=True)]))

    def _run(self, crops: np.ndarray) -> list[np.ndarray]:
        crops = np.ascontiguousarray(crops if crops.dtype == self._dtype else self._cast(crops))
        count = len(crops)
        if self.padded and count < self.batch_size:
            crops = np.concatenate([crops, np.zeros((self.batch_size - count, *crops.shape[1:]), crops.dtype)])
        try:
            outputs: list[np.ndarray] = self._session.run(self._outputs, {"crop": crops})
        except Exception:
            with parsing(self.path, "a graph that can be run", ModelError):
                raise
        return outputs

    def _floats(self, outputs: list[np.ndarray], count: int) -> list[Floats]:
        """What the graph gave of `count` crops, float32. Raises ModelError for other shapes and kinds."""
        size, result = self.batch_size if self.padded else count, []
        for name, values, shape in zip(self._outputs, outputs, OUTPUT_SHAPES, strict=False):  # the last one is sigma's
            if values.shape != (size, *shape) or values.dtype.kind != "f":
                raise ModelError(
                    f"{self.path}: it gave {values.dtype} {values.shape} as {name}, not floats {(size, *shape)}"
                )
            floats = values if values.dtype == np.float32 else values.astype(np.float32)
            result.append(floats if count == size else floats[:count])
        return result

    def _checked(self, outputs: list[Floats]) -> list[Floats]:
        """The same outputs. Raises ModelError for numbers beyond their ranges.

        The sums of the squares tell in a tenth of the time that no number is too large; only where they are large
        themselves the numbers are looked at one by one. Unlike `dot`, `vdot` gives no warning where it is beyond all
        floats. Right after the network, which has used the caches, this takes 50 us, and a fifth of that when done
        again: so all parts are checked together, after the last of them.
        """
        confidence, *sigma = outputs[2:]
        squares = sum(float(np.vdot(values, values)) for values in (*outputs[:2], *sigma))
        bounded = all(0 <= value <= 1 for value in confidence.tolist()) and all(s.min(initial=0) >= 0 for s in sigma)
        if not (bounded and squares <= LARGEST_OUTPUT**2):  # False for NaN
            self._check_each(outputs)
        return outputs

    def _check_each(self, outputs: list[Floats]) -> None:
        for name, values in zip(self._outputs, outputs, strict=True):
            least, most = _LIMITS[name]
            if not ((values >= least) & (values <= most)).all():  # False for NaN
                expected = f"within {least:g} to {most:g}"
                raise ModelError(
                    f"{self.path}: it gave {name} not {expected}: the graph is damaged or was never trained"
                )

    def _cast(self, crops: np.ndarray) -> np.ndarray:
        return (
            np.clip(np.rint(crops), 0, 255).astype(np.uint8) if self._dtype == np.uint8 else crops.astype(self._dtype)
        )

    def _read_metadata(self) -> GraphMetadata:
        with parsing(self.path, "one of facealign's models", ModelError):  # texts in it may be no UTF-8
            text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{self.path}: an ONNX model, but not one of facealign's: it has no {METADATA_KEY!r} metadata"
            )
        try:
            if len(text) > MAX_METADATA:
                raise ValueError(f"it has {len(text)} characters, more than {MAX_METADATA}")
            return GraphMetadata.from_json(text)
        except (ValueError, InputError) as error:
            raise ModelError(f"{self.path}: metadata that facealign cannot use: {error}") from error

    def _check_interface(self) -> Any:
        """The dtype of the input; raises ModelError where names, types or shapes break the contract."""
        size, dtypes = self.metadata.crop_size, {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
        inputs, outputs = self._session.get_inputs(), {o.name: o.shape for o in self._session.get_outputs()}
        if [i.name for i in inputs] != ["crop"] or inputs[0].type not in dtypes:
            raise ModelError(f"{self.path}: expected one input, crop, uint8 or float32")
        if list(inputs[0].shape[1:]) != [1, size, size] or isinstance(inputs[0].shape[0], int):
            raise ModelError(f"{self.path}: crop is {inputs[0].shape}, but the metadata says (N, 1, {size}, {size})")
        missing = [name for name in self.metadata.outputs if name not in outputs]
        if missing:
            raise ModelError(f"{self.path}: no output {', '.join(missing)}")
        for name, expected in zip(self.metadata.outputs, OUTPUT_SHAPES, strict=False):
            if tuple(outputs[name][1:]) != expected:
                raise ModelError(f"{self.path}: {name} is {outputs[name]}, expected {['N', *expected]}")
        return dtypes[inputs[0].type]


def _load_again(path: Path, loading: dict[str, Any], batch_size: int, padded: bool) -> DanModel:
    model = DanModel(path, batch_size=batch_size, **loading)
    return model.padded_to(batch_size) if padded else model
