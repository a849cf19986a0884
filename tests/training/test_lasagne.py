"""The authors' weights as a graph: random weights in their layout, against NumPy written from the layers' own."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.signal import convolve2d

from facealign_cli.errors import FormatError, InputError
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.models.dan import DanModel
from facealign_cli.training.lasagne import LasagneDan, convert_lasagne, window
from facealign_cli.training.lasagne_file import LasagneFile, read_lasagne

SIZE, CHANNELS, FEATURES = 48, (3, 3, 4, 4, 5, 5, 6, 6), 10
Arrays = dict[str, Any]


def original_mean_shape(size: int = SIZE) -> np.ndarray:
    """As the original lays it: larger extent over half the side, the mean of the points at side / 2."""
    shape = MEAN_SHAPE * (size / 2 / np.ptp(MEAN_SHAPE, axis=0).max())
    return shape - shape.mean(axis=0) + size / 2


def random_weights(stages: int, head: bool, seed: int = 3) -> Arrays:
    """Arrays in the authors' layout, few channels, activations near 1, offsets of a pixel or two."""
    rng = np.random.default_rng(seed)

    def norm(n: int) -> list[np.ndarray]:
        return [rng.normal(0, 0.2, n), rng.uniform(0.6, 1.4, n), rng.normal(0, 0.2, n), rng.uniform(0.6, 1.4, n)]

    def stage(n_in: int) -> list[np.ndarray]:
        arrays = []
        for n_out in CHANNELS:
            arrays += [rng.normal(0, (2 / (9 * n_in)) ** 0.5, (n_out, n_in, 3, 3)), *norm(n_out)]
            n_in = n_out
        n_flat = n_in * (SIZE // 16) ** 2
        arrays += [rng.normal(0, (2 / n_flat) ** 0.5, (n_flat, FEATURES)), *norm(FEATURES)]
        return [*arrays, rng.normal(0, 0.5, (FEATURES, 136)), rng.normal(0, 0.5, 136)]

    parameters = stage(1)
    for _ in range(stages - 1):
        half = (SIZE // 2) ** 2
        parameters += [rng.normal(0, 0.4, (FEATURES, half)), rng.normal(0, 0.2, half), *norm(3), *stage(3)]
    if head:
        parameters += [rng.normal(0, 0.4, (FEATURES, 2)), rng.normal(0, 0.4, 2)]
    return {
        **{f"arr_{i}": values.astype(np.float32) for i, values in enumerate(parameters)},
        "errors": np.zeros(3),
        "errorsTrain": np.zeros(3),
        "meanImg": rng.uniform(90, 150, (1, SIZE, SIZE)),
        "stdDevImg": rng.uniform(40, 70, (1, SIZE, SIZE)),
        "initLandmarks": original_mean_shape(),
    }


class Reference:
    """The network in float64 NumPy: each layer as Lasagne and the authors' layers define it, nothing folded."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays, self.init = arrays, arrays["initLandmarks"]
        self.head = (len([key for key in arrays if key.startswith("arr_")]) - 47) % 53 == 2

    def __call__(self, picture: np.ndarray) -> tuple[list[np.ndarray], float]:
        """(S, S) picture → landmarks after each stage, confidence."""
        count = sum(key.startswith("arr_") for key in self.arrays)
        parameters = iter([self.arrays[f"arr_{i}"].astype(float) for i in range(count)])
        image = (picture - self.arrays["meanImg"][0]) / self.arrays["stdDevImg"][0]
        features, offset = self.stage(parameters, image[None])
        stage1_features, landmarks = features, [self.init + offset]
        for _ in range((count - 47) // 53):
            a, b, shift = fit(landmarks[-1], self.init)
            linear = np.array([[a, -b], [b, a]])
            moved = landmarks[-1] @ linear.T + shift
            dense = np.maximum(features @ next(parameters) + next(parameters), 0).reshape(SIZE // 2, SIZE // 2)
            stacked = np.stack([warp(image, linear, shift), heatmap(moved), np.kron(dense, np.ones((2, 2)))])
            features, offset = self.stage(parameters, batch_norm(parameters, stacked))
            landmarks.append((moved + offset - shift) @ np.linalg.inv(linear).T)
        if not self.head:
            return landmarks, 1.0
        powers = np.exp(stage1_features @ next(parameters) + next(parameters))
        assert next(parameters, None) is None
        return landmarks, float(powers[1] / powers.sum())

    @staticmethod
    def stage(parameters: Iterator[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for i in range(8):
            kernels = next(parameters)
            convolved = [sum(convolve2d(x, k, "same") for x, k in zip(images, ks, strict=True)) for ks in kernels]
            images = np.maximum(batch_norm(parameters, np.stack(convolved)), 0)
            if i % 2:
                channels, height, width = images.shape
                images = images.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
        features = np.maximum(batch_norm(parameters, images.ravel() @ next(parameters)), 0)
        return features, (features @ next(parameters) + next(parameters)).reshape(68, 2)


def batch_norm(parameters: Iterator[np.ndarray], values: np.ndarray) -> np.ndarray:
    shape = (-1,) + (1,) * (values.ndim - 1)
    beta, gamma, mean, inv_std = (next(parameters).reshape(shape) for _ in range(4))
    return (values - mean) * (gamma * inv_std) + beta


def fit(src: np.ndarray, dst: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The similarity by a general least-squares solver."""
    rows = np.zeros((136, 4))
    rows[0::2] = np.column_stack([src[:, 0], -src[:, 1], np.ones(68), np.zeros(68)])
    rows[1::2] = np.column_stack([src[:, 1], src[:, 0], np.zeros(68), np.ones(68)])
    a, b, x, y = np.linalg.lstsq(rows, dst.ravel(), rcond=None)[0]
    return a, b, np.array([x, y])


def warp(image: np.ndarray, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    source = (np.stack([x.ravel(), y.ravel()], axis=1) - shift) @ np.linalg.inv(linear).T
    source = source.clip(0, SIZE - 2)
    return map_coordinates(image, [source[:, 1], source[:, 0]], order=1).reshape(SIZE, SIZE)


def heatmap(landmarks: np.ndarray) -> np.ndarray:
    image = np.zeros((SIZE, SIZE))
    for x, y in landmarks.clip(8, SIZE - 9):
        for row in range(int(y) - 8, int(y) + 9):
            for column in range(int(x) - 8, int(x) + 9):
                value = 1 / (1 + np.sqrt((column - x) ** 2 + (row - y) ** 2 + 1e-6))
                image[row, column] = max(image[row, column], value)
    return image


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Arrays], Path]:
    def write(arrays: Arrays) -> Path:
        np.savez(tmp_path / "DAN.npz", **arrays)
        return tmp_path / "DAN.npz"

    return write


@pytest.mark.parametrize(("stages", "head"), [(1, True), (2, False), (3, True)])
def test_equals_the_layers_definitions(stages: int, head: bool, save: Callable[[Arrays], Path], tmp_path: Path) -> None:
    arrays = random_weights(stages, head)
    model, _ = convert_lasagne(save(arrays), tmp_path / "dan.onnx", name="converted", licence="theirs")
    loaded = DanModel(tmp_path / "dan.onnx", device="cpu")
    assert (loaded.metadata.stages, loaded.metadata.licence, loaded.name) == (stages, "theirs", "converted 1")
    side, (x, y) = model.crop_size, model.offset
    crops = np.random.default_rng(1).integers(0, 256, (3, 1, side, side), np.uint8)
    got, reference = loaded.predict(crops), Reference(arrays)
    for i, crop in enumerate(crops):
        landmarks, confidence = reference(crop[0, y : y + SIZE, x : x + SIZE].astype(float))
        np.testing.assert_allclose(got.stage1_landmarks[i], landmarks[0] + [x, y], atol=1e-3)
        np.testing.assert_allclose(got.landmarks[i], landmarks[-1] + [x, y], atol=1e-3)
        assert got.confidence[i] == pytest.approx(confidence, abs=1e-5)
        assert 0.5 < np.abs(landmarks[0] - reference.init).max() < 20, "the weights should do something"
        assert stages == 1 or np.abs(landmarks[-1] - landmarks[0]).max() > 0.5
    assert head == (got.confidence < 1).all()


def test_every_stage_is_the_references(save: Callable[[Arrays], Path]) -> None:
    import torch

    arrays = random_weights(3, False)
    model = LasagneDan(read_lasagne(save(arrays))).eval()
    crop = np.random.default_rng(2).integers(0, 256, (1, 1, model.crop_size, model.crop_size)).astype(np.float32)
    x, y = model.offset
    expected = Reference(arrays)(crop[0, 0, y : y + SIZE, x : x + SIZE])[0]
    with torch.no_grad():
        got = model(torch.from_numpy(crop)).landmarks
    assert len(got) == len(expected) == 3
    for stage, truth in zip(got, expected, strict=True):
        np.testing.assert_allclose(stage[0].numpy(), truth + model.offset, atol=1e-3)


def test_the_true_size() -> None:
    """The window of the authors' own files: 112 px, the face where they had it."""
    init = original_mean_shape(112)
    side, (x, y), shift = window(init, 112)
    frame = CropFrame(side, float(np.ptp(init, axis=0).max()) / side, init)
    assert np.abs(frame.shape - (init + np.array([x, y]))).max() == pytest.approx(shift, abs=1e-9)
    assert shift < 0.5
    assert 112 <= side < 130
    assert min(x, y) >= 0 and max(x, y) + 112 <= side


def test_a_mean_shape_beside_the_picture() -> None:
    with pytest.raises(FormatError, match="not within the picture"):
        window(original_mean_shape() + 100, SIZE)


def changed(**changes: Any) -> Arrays:
    arrays = {**random_weights(2, False), **changes}
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed(meanImg=None), "no meanImg"),
        (changed(arr_7=None), "no arr_7;"),
        (changed(arr_99=None), "99 arrays"),
        (changed(arr_100=np.zeros(3)), "101 arrays"),
        (changed(arr_0=np.zeros((3, 2, 3, 3))), r"arr_0 \(stage 1, convolution 1_1\): expected any × 1 × 3 × 3"),
        (changed(arr_2=np.zeros(4)), r"arr_2 \(stage 1, convolution 1_1, gamma\): expected 3"),
        (changed(arr_40=np.zeros((53, 10))), r"arr_40 \(stage 1, fc1\)"),
        (changed(arr_47=np.zeros((10, 575))), r"arr_47 \(stage 2, feature image\): expected 10 × 576"),
        (changed(arr_49=np.zeros(1)), r"arr_49 \(stage 2, input, beta\): expected 3"),
        (changed(arr_98=np.zeros((10, 134))), r"arr_98 \(stage 2, output\)"),
        (changed(arr_5=np.array(["a"])), "arr_5 does not hold finite numbers"),
        (changed(arr_1=np.array([0, np.nan, 0])), "arr_1 does not hold finite numbers"),
        (changed(initLandmarks=np.zeros((51, 2))), r"initLandmarks: expected shape \(68, 2\)"),
        (changed(initLandmarks=np.zeros((68, 2))), "no extent"),
        (changed(meanImg=np.zeros((3, SIZE, SIZE))), r"meanImg: expected shape \(48, 48\)"),
        (changed(meanImg=np.float32(3)), "meanImg: expected shape"),
        (changed(stdDevImg=np.zeros((SIZE, SIZE))), "stdDevImg is not above 0"),
        (changed(meanImg=np.zeros((40, 40)), stdDevImg=np.ones((40, 40))), "side 40"),
        (changed(meanImg=None, arr_0=None, errors=None), "no arr_0, meanImg;"),
        ({"x": np.zeros(3)}, "no arr_0, meanImg, stdDevImg"),
    ],
)
def test_wrong_files(arrays: Arrays, message: str, save: Callable[[Arrays], Path], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        convert_lasagne(save(arrays), tmp_path / "dan.onnx", name="x")
    assert not (tmp_path / "dan.onnx").exists()


class Trap:
    """Unpickling it would fail the test."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("name", ["arr_3", "meanImg", "initLandmarks"])
def test_pickled_arrays_are_refused(name: str, save: Callable[[Arrays], Path]) -> None:
    with pytest.raises(FormatError, match=f"{name} is pickled"):
        read_lasagne(save(changed(**{name: np.array([Trap()], dtype=object)})))


def test_what_is_not_read_may_be_pickled(save: Callable[[Arrays], Path]) -> None:
    """The lists of errors of an old NumPy; they are never looked at."""
    assert read_lasagne(save(changed(errors=np.array([Trap()], dtype=object)))).n_stages == 2


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", pickle.dumps(Trap()), npy(), b"\x93NUMPY"])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "DAN.npz").write_bytes(content)
    with pytest.raises(FormatError, match=r"DAN\.npz"):
        read_lasagne(tmp_path / "DAN.npz")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_lasagne(tmp_path / "DAN.npz")


def test_counts() -> None:
    def of(count: int) -> LasagneFile:
        image = np.ones((SIZE, SIZE))
        return LasagneFile(Path("x"), [np.zeros(1)] * count, image, image, original_mean_shape())

    found = {count: (of(count).n_stages, of(count).has_head) for count in (47, 49, 100, 102, 153, 155)}
    assert found == {47: (1, False), 49: (1, True), 100: (2, False), 102: (2, True), 153: (3, False), 155: (3, True)}
    for count in (0, 46, 48, 99, 101):
        with pytest.raises(FormatError, match="a DAN has 47"):
            _ = of(count).n_stages
