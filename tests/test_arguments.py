"""Wrong arguments of public functions: the error names the argument, what it got and, where it can, the remedy."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

import facealign_cli as fa
from facealign_cli.arguments import check_number
from facealign_cli.landmarks import MEAN_SHAPE

PICTURE = np.zeros((48, 64, 3), np.uint8)
RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64)
FACE = fa.Face(0, fa.BBox(0, 0, 40, 40), MEAN_SHAPE, 0.5)
BOX = fa.BBox(0, 0, 9, 9)


@pytest.fixture(scope="module")
def aligner() -> fa.Aligner:
    return fa.Aligner()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (PICTURE / 255.0, "got (48, 64, 3) float64; of values from 0 to 1, (image * 255)"),
        (PICTURE + 254.5, "image.round().astype(numpy.uint8) makes one, since its values are from 254.5 to 254.5"),
        (PICTURE + np.nan, "it holds NaN or infinity"),
        (
            RAMP * 2 - 1,
            "its values are from -1 to 1, a picture's from 0 to 255: (255 * (image - image.min())",
        ),
        (PICTURE.astype(np.int64) + 7, "got (48, 64, 3) int64; image.astype(numpy.uint8) makes one"),
        (PICTURE.astype(np.int32) - 1, "its values are from -1 to -1, a picture's from 0 to 255"),
        (PICTURE + np.uint16(999), "(image >> 8).astype(numpy.uint8) makes one"),
        (PICTURE > 0, "got (48, 64, 3) bool; image.astype(numpy.uint8) * 255 makes one"),
        (PICTURE.astype(object), "an array of numbers is needed"),
        (PICTURE.ravel(), "decode_image(image.tobytes()) makes one"),
        (PICTURE[..., 0].ravel() * 1.0, "image.reshape(height, width, 3) gives it the shape"),
        (PICTURE[..., :2], "without the transparency"),
        (np.repeat(PICTURE, 3, axis=2), "more colours than three"),
        (PICTURE.transpose(2, 0, 1) / 255, "puts the colours last; of values from 0 to 1"),
        (PICTURE.tolist(), "got list; numpy.array(image, numpy.uint8) makes an array"),
        ([PICTURE, PICTURE], "got list; align_many takes several pictures"),
        (PICTURE.tobytes(), "got bytes; decode_image makes a picture"),
        (io.BytesIO(), "got _io.BytesIO; decode_image(file.read()) makes a picture"),
        (cv2.UMat(PICTURE), "got cv2.UMat; image.get() gives its array"),
        (PIL.Image.new("RGB", (8, 8)), "got PIL.Image; numpy.asarray makes an array"),
        (3, "got int; numpy.asarray"),
        (np.dstack([PICTURE, PICTURE[..., 0]]), "image[..., :3] leaves the transparency out"),
        (PICTURE[..., :1], "image[..., 0] is a grey picture"),
        (PICTURE.transpose(2, 0, 1), "image.transpose(1, 2, 0) puts the colours last"),
        (PICTURE[None], "align_many takes several pictures"),
        (np.zeros((0, 0, 3), np.uint8), "it has no pixel"),
        (None, "read_image says why"),
    ],
)
def test_an_array_that_is_no_picture(aligner: fa.Aligner, tmp_path: Path, wrong: Any, words: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: aligner.align(wrong),
        lambda: fa.draw_overlay(wrong, [FACE]),
        lambda: fa.crop_face(wrong, FACE),
        lambda: fa.write_image(tmp_path / "p.png", wrong),
    ]
    for call in calls:
        with pytest.raises(fa.InputError) as caught:
            call()
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((68, 3)), "expected (68, 2) numbers, got (68, 3) float64"),
        (MEAN_SHAPE[:67], "got (67, 2) float64"),
        ([], "got (0,) float64"),
        ([[1, 2], [3]], "got list"),
        (MEAN_SHAPE * np.nan, "got NaN or infinity"),
        (MEAN_SHAPE * 1e300, "expected pixels of a picture"),
        (np.full((68, 2), None), "got (68, 2) object"),
    ],
)
def test_landmarks_are_checked_alike_everywhere(aligner: fa.Aligner, wrong: Any, words: str) -> None:
    with pytest.raises(fa.InputError) as cropped:
        fa.crop_face(PICTURE, wrong)
    with pytest.raises(fa.InputError) as placed:
        aligner.align_shapes(PICTURE, [MEAN_SHAPE * 30, wrong])
    with pytest.raises(ValueError) as made:
        fa.Face(0, BOX, wrong, 0.5)
    starts = "face: ", "init_shapes[1]: ", "landmarks: "
    for caught, start in zip((cropped, placed, made), starts, strict=True):
        assert str(caught.value).startswith(start)
        assert words in str(caught.value)


@pytest.mark.parametrize("wrong", ["dan-light", 3, fa.Aligner])
def test_what_is_no_aligner(tmp_path: Path, wrong: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: next(fa.track_video("clip.mp4", wrong)),
        lambda: next(fa.overlay_video("clip.mp4", tmp_path / "o.mp4", wrong)),
        lambda: next(fa.align_pictures(["p.jpg"], wrong)),
        lambda: fa.evaluate(tmp_path, wrong),
        lambda: fa.Tracker(wrong),
    ]
    for call in calls:
        with pytest.raises(fa.InputError, match=r"aligner: expected Aligner.*, got .*\(model, detector\) makes one"):
            call()


TRACKING, SMOOTHING, NAN = fa.TrackingOptions, fa.Smoothing, float("nan")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fa.VideoOptions(smoothing=True), "smoothing: expected LookAhead or Smoothing or None, got True"),
        (lambda: fa.VideoOptions(tracking={}), "tracking: expected TrackingOptions, got dict"),
        (lambda: fa.VideoOptions(pose=True), "pose: expected PoseEstimator or None"),
        (lambda: next(fa.track_video("c.mp4", None, fa.TrackingOptions())), "options: expected VideoOptions"),
        (lambda: next(fa.track_video(3)), "source: expected"),
        (lambda: TRACKING(detect_every=NAN), "detect_every: expected a whole number, 1 or more, got nan"),
        (lambda: TRACKING(keep_lost_s=-1), "keep_lost_s: expected 0 or more, got -1"),
        (lambda: TRACKING(new_confidence="x"), "new_confidence: expected 0 to 1, got 'x'"),
        (lambda: SMOOTHING(beta=None), "beta: expected 0 to 1,000,000,000, got NoneType"),
        (lambda: SMOOTHING(d_cutoff_hz=0), "d_cutoff_hz: expected 0.000001 to 1,000,000,000, got 0"),
        (
            lambda: fa.FaceSmoother(SMOOTHING())([FACE], "x"),
            "timestamp_s: expected a finite number of seconds, got 'x'",
        ),
        (
            lambda: fa.FaceSmoother(SMOOTHING())([FACE], NAN),
            "timestamp_s: expected a finite number of seconds, got nan",
        ),
        (lambda: fa.FaceSmoother(SMOOTHING())(FACE, 0.0), "faces: expected a list of Face, got Face"),
        (lambda: fa.DetectorOptions(min_face="x"), "min_face: expected 12 to 1,000,000, got 'x'"),
        (lambda: fa.DetectorOptions(max_faces=1.5), "max_faces: expected a whole number, 1 or more, got 1.5"),
        (lambda: fa.DetectorOptions(any_roll="no"), "any_roll: expected True or False, got 'no'"),
        (lambda: fa.BatchOptions("out", workers=True), "workers: expected a whole number, 0 or more, got True"),
        (lambda: fa.WorkOptions(pose=True), "pose: expected PoseEstimator or None"),
        (lambda: fa.run_batch(3, "out"), "sources: expected Iterable, got 3"),
        (lambda: next(fa.align_pictures("p.jpg", None)), "paths: expected list, got 'p.jpg'; a single one"),
        (lambda: fa.read_image(None), "path: expected a path, got NoneType"),
        (lambda: fa.read_results(""), "path: expected a path, got an empty one"),
        (lambda: fa.write_results("", []), "path: expected a path, got an empty one"),
        (lambda: fa.open_source(b"clip.mp4"), "path: expected a path, got bytes"),
        (lambda: fa.evaluate_predictions("", "truth"), "predictions: expected a path, got an empty one"),
        (lambda: fa.evaluate("truth", workers=-1), "workers: expected a whole number, 0 or more, got -1"),
        (lambda: fa.crop_face(PICTURE, FACE, share="x"), "share: expected"),
        (lambda: fa.cut_face(PICTURE, FACE, {}), "options: expected CropOptions or None, got dict"),
    ],
)
def test_the_argument_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(fa.InputError) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fa.BBox("a", 0, 1, 1), "bbox: x1: expected a number, got 'a'"),
        (lambda: fa.BoxCalibration(left="x"), "calibration: expected four finite numbers"),
        (lambda: fa.BoxCalibration(0.9, 0, -0.9, 0), "leaves nothing of a box"),
        (lambda: fa.Detection(BOX, rolls="x"), "rolls: expected one or more finite numbers"),
        (lambda: fa.Face("x", BOX, MEAN_SHAPE, 0.5), "face_id: expected a whole number"),
        (lambda: fa.Face(0, BOX, MEAN_SHAPE, None), "confidence: expected 0 to 1, got None"),
        (lambda: fa.FrameResult("p.jpg", "ok", faces=(1,)), "expected a text as source and Face in faces, got int"),
        (lambda: fa.FrameResult("p.jpg", "no_face", scheme="wflw-98"), "scheme: expected ibug-68"),
        (lambda: fa.auc([0.1], "x"), "expected a threshold above 0, got 'x'"),
        (lambda: fa.register_format("mine", "my", write=print, read=print), "expected a list of extensions"),
        (lambda: fa.register_format("mine", [".my"], write=print), "it needs write, and read or scan"),
    ],
)
def test_records_say_what_is_wrong(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_one_picture_is_not_many(aligner: fa.Aligner) -> None:
    with pytest.raises(fa.InputError, match="images: expected several pictures, got one"):
        next(aligner.align_many(PICTURE))
    assert len(list(aligner.align_many(np.stack([PICTURE, PICTURE])))) == 2
    assert len(list(aligner.align_many(np.zeros((2, 48, 64), np.uint8)))) == 2


def test_a_path_object_is_a_source(tmp_path: Path) -> None:
    assert fa.FrameResult(tmp_path / "p.jpg", "no_face").source == str(tmp_path / "p.jpg")


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [(-math.inf, math.inf, "a number"), (-math.inf, 5, "5 or less"), (1e-6, math.inf, "0.000001 or more")],
)
def test_bounds_are_said_in_words(least: float, most: float, words: str) -> None:
    with pytest.raises(fa.InputError, match=f"^n: expected {words}, got 'x'$"):
        check_number("n", "x", least, most)


@pytest.mark.parametrize("time_s", [1.5, 1.25, -1, np.float32(0.5)])
def test_time_goes_on(aligner: fa.Aligner, time_s: float) -> None:
    tracker, smoother = fa.Tracker(aligner), fa.FaceSmoother(SMOOTHING())
    calls: list[Callable[[float], object]] = [lambda t: tracker.update(PICTURE, t), lambda t: smoother([], t)]
    for call in calls:
        call(-2)
        call(1.5)
        with pytest.raises(fa.InputError, match=r"timestamp_s: each frame comes later .* s came after 1\.5 s; make a "):
            call(time_s)
        call(1.6)


@pytest.mark.parametrize(
    ("upcoming", "words"),
    [
        (PICTURE, "upcoming: expected a picture and its time"),
        ((None, 2), "read_image says why"),
        ((PICTURE, 1), "came after 1.0 s"),
    ],
)
def test_the_upcoming_frame_is_looked_at(aligner: fa.Aligner, upcoming: Any, words: str) -> None:
    with pytest.raises(fa.InputError) as caught:
        fa.Tracker(aligner).update(PICTURE, 1.0, upcoming=upcoming)
    assert words in str(caught.value)


HUGE = 10**400
"""A whole number that no float can hold."""
_THINGS = ["x", b"x", [[1], [2, 3]], {}, object(), np.array(1.0), PICTURE, fa.BBox, [None]]
ODD: list[Any] = [None, -1, NAN, HUGE, 1j, *_THINGS]
"""Nearly all of these are wrong for nearly every argument."""

PNG = cv2.imencode(".png", PICTURE)[1].tobytes()
_FACE = {"face_id": 0, "bbox": BOX, "landmarks": MEAN_SHAPE, "confidence": 0.5}
_QUALITY = {"sharpness": 1.0, "brightness": 1.0, "contrast": 1.0, "cut_off": 0.0}
_RECORD = {"source": "a", "status": "no_face", "width": 0, "height": 0, "frame": None, "timestamp_s": None}
TAKERS: dict[str, Callable[[Any], object]] = {
    "x1": lambda v: fa.BBox(v, 0, 5, 5),
    "width": lambda v: fa.BBox.from_xywh(0, 0, v, 5),
    "around": fa.BBox.around,
    "iou": BOX.iou,
    "score": lambda v: fa.Detection(BOX, v),
    "rolls": lambda v: fa.Detection(BOX, 1.0, v),
    "left": fa.BoxCalibration,
    "faces": lambda v: fa.FrameResult.of_faces("a", v),
    "format": lambda v: fa.write_results("/nowhere/a", [], format=v),
    "results": lambda v: fa.write_results("/nowhere/a.json", v),
    "detector": fa.create_detector,
    "normaliser": lambda v: fa.nme(MEAN_SHAPE[None], MEAN_SHAPE[None], v),
    "points": lambda v: fa.nme(MEAN_SHAPE[None], MEAN_SHAPE[None], "inter-pupil", v),
    "nme": lambda v: fa.auc(v, 0.1),
    "threshold": lambda v: fa.ced([0.1], v),
    "max_pixels": lambda v: fa.decode_image(PNG, max_pixels=v),
    "name": lambda v: fa.decode_image(b"x", v),
    "start_s": lambda v: fa.open_source("/nowhere/a.mp4", start_s=v),
    "rate": lambda v: fa.open_source("/nowhere", rate=v),
    "smoothing": fa.Smoothing.parse,
    "beta": lambda v: fa.Smoothing(beta=v),
    "engine": lambda v: fa.BatchOptions("/nowhere", engine=v),
    "fmt": lambda v: fa.BatchOptions("/nowhere", fmt=v),
    "workers": lambda v: fa.BatchOptions("/nowhere", workers=v),
    "options": lambda v: fa.run_batch([], v),
    "places": fa.Sources,
    "contours": lambda v: fa.draw_overlay(PICTURE, [FACE], contours=v),
    **{f"face {k}": lambda v, k=k: fa.Face(**{**_FACE, k: v}) for k in ("detector_score", "visible", "confidence")},
    **{f"quality {k}": lambda v, k=k: fa.Quality(**{**_QUALITY, k: v}) for k in _QUALITY},
    **{f"record {k}": lambda v, k=k: fa.FrameResult(**{**_RECORD, k: v}) for k in _RECORD},
}  # type: ignore[misc]


@pytest.mark.parametrize("name", TAKERS)
def test_what_is_wrong_is_an_error_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an argument gets, it is taken or there is an error of facealign's: no error of Python's or numpy's."""
    monkeypatch.chdir(tmp_path)
    refused = 0
    for value in ODD:
        try:
            TAKERS[name](value)
        except fa.FacealignError:
            refused += 1
    assert refused >= len(ODD) / 2


def test_masked_values_are_no_picture() -> None:
    masked = np.ma.masked_array(PICTURE, mask=PICTURE == 0)
    with pytest.raises(fa.InputError, match=r"got masked values; image\.filled\(0\) makes them black"):
        fa.draw_overlay(masked, [FACE])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("overwrite", lambda wish, path: fa.write_image(path, PICTURE, overwrite=wish)),
        ("overwrite", lambda wish, path: fa.write_results(path, [], format="csv", overwrite=wish)),
        ("overwrite", lambda wish, path: fa.write_results(path.parent, [], format="pts", overwrite=wish)),
        ("restart", lambda wish, path: fa.BatchOptions("rows", restart=wish)),
        ("retry_errors", lambda wish, path: fa.BatchOptions("rows", retry_errors=wish)),
        ("must_resume", lambda wish, path: fa.BatchOptions("rows", must_resume=wish)),
        ("fail_fast", lambda wish, path: fa.BatchOptions("rows", fail_fast=wish)),
        ("quality", lambda wish, path: fa.WorkOptions(quality=wish)),
        ("sigma", lambda wish, path: fa.WorkOptions(sigma=wish)),
        ("recursive", lambda wish, path: fa.Sources("photos", recursive=wish)),
        ("blank", lambda wish, path: fa.VideoOptions(blank=wish)),
        ("beside", lambda wish, path: fa.VideoOptions(beside=wish)),
        ("any_roll", lambda wish, path: fa.DetectorOptions(any_roll=wish)),
        ("sound", lambda wish, path: fa.open_source("a.mp4", sound=wish)),
        ("axes", lambda wish, path: fa.draw_overlay(PICTURE, [FACE], axes=wish)),
    ],
)
@pytest.mark.parametrize("wish", ["no", None, 95])
def test_a_text_is_no_truth_value(tmp_path: Path, name: str, call: Callable[[Any, Path], object], wish: object) -> None:
    """The text "no" counts as True in Python, and would replace a file or begin a job anew."""
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(fa.InputError, match=f"{name}: expected True or False, got"):
        call(wish, path)
    assert path.read_bytes() == b"precious"


def test_every_second_byte_of_a_buffer_is_a_picture(tmp_path: Path) -> None:
    """A view need not lie in one piece."""
    fa.write_image(tmp_path / "a.png", PICTURE)
    content = (tmp_path / "a.png").read_bytes()
    spread = bytes(byte for pair in zip(content, content, strict=True) for byte in pair)
    assert fa.decode_image(memoryview(spread)[::2]).shape == PICTURE.shape  # type: ignore[arg-type]
    with pytest.raises(fa.InputError, match="name: expected str, got 3"):
        fa.register_format(3, [".my"], write=print, read=print)  # type: ignore[arg-type]
