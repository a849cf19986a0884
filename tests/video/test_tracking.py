"""Tracking: calm, close behind motion, ids that hold. A photo stands for a person, moved along known paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path as PathOf

import cv2
import numpy as np
import pytest

from facealign_cli.aligner import Aligner
from facealign_cli.errors import InputError
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import MEAN_SHAPE, OUTER_EYE_CORNERS
from facealign_cli.records import Face
from facealign_cli.video.smoothing import FaceSmoother, Smoothing
from facealign_cli.video.tracking import CutDetector, Tracker, TrackingOptions
from facealign_cli.video.tracks import Track, detector_box, normalised

RATE = 30
Path = Callable[[float], tuple[float, float]]


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


@pytest.fixture(scope="module")
def photo(astronaut: np.ndarray) -> np.ndarray:
    """(320, 320, 3): the astronaut's face and its surroundings."""
    return np.ascontiguousarray(astronaut[:320, 60:380])


@pytest.fixture(scope="module")
def truth(aligner: Aligner, photo: np.ndarray) -> np.ndarray:
    return aligner.align(photo)[0].landmarks


def outer_eyes(landmarks: np.ndarray) -> float:
    left, right = OUTER_EYE_CORNERS
    return float(np.linalg.norm(landmarks[left] - landmarks[right]))


def film(photo: np.ndarray, path: Path, count: int, sigma: float = 4.0) -> Iterator[np.ndarray]:
    """The photo moved along a path, with the noise of a camera: sigma grey levels."""
    rng, size = np.random.default_rng(0), photo.shape[1::-1]
    for i in range(count):
        x, y = path(i / RATE)
        moved = cv2.warpAffine(photo, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REFLECT)
        yield np.clip(moved + rng.normal(0, sigma, moved.shape), 0, 255).astype(np.uint8)


def followed(
    aligner: Aligner, frames: Iterator[np.ndarray], smoothing: Smoothing | None = None, **options: int
) -> list[list[Face]]:
    tracker = Tracker(aligner, TrackingOptions(**options))  # type: ignore[arg-type]
    smoother = FaceSmoother(smoothing) if smoothing else lambda faces, _: faces
    return [smoother(tracker.update(frame, i / RATE), i / RATE) for i, frame in enumerate(frames)]


def movement(faces: list[list[Face]]) -> float:
    """Mean way of a point from frame to frame, percent of the outer-eye distance."""
    shapes = np.array([frame[0].landmarks for frame in faces])[5:]
    return 100 * float(np.linalg.norm(np.diff(shapes, axis=0), axis=2).mean()) / outer_eyes(shapes[0])


def still(_: float) -> tuple[float, float]:
    return 0.0, 0.0


@pytest.mark.long
@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_a_still_face_stands_still(aligner: Aligner, photo: np.ndarray, sigma: float) -> None:
    calm = movement(followed(aligner, film(photo, still, 60, sigma), Smoothing()))
    raw = movement(followed(aligner, film(photo, still, 60, sigma), detect_every=1))
    assert calm < 0.1
    assert raw > 7 * calm


PATHS: dict[str, Path] = {
    "pan": lambda t: (-50 + 100 * abs(2 * t % 2 - 1), 0.0),
    "nod": lambda t: (0.0, 25 * math.sin(2 * math.pi * 1.5 * t)),
}
"""Pixels, at an outer-eye distance of 60: three of them a second in the pan, up to four in the nod."""


@pytest.mark.long
@pytest.mark.parametrize("name", PATHS)
def test_smoothing_does_not_lag(aligner: Aligner, photo: np.ndarray, truth: np.ndarray, name: str) -> None:
    errors = []
    for smoothing in (None, Smoothing()):
        faces = followed(aligner, film(photo, PATHS[name], 60), smoothing)
        expected = [truth + PATHS[name](i / RATE) for i in range(60)]
        distances = [np.linalg.norm(f[0].landmarks - e, axis=1).mean() for f, e in zip(faces, expected, strict=True)]
        errors.append(100 * float(np.mean(distances)) / outer_eyes(truth))
        assert {face.track_id for frame in faces for face in frame} == {0}
    assert errors[1] - errors[0] < 0.1


def person(photo: np.ndarray, landmarks: np.ndarray, size: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """A face cut out along an ellipse: picture and opacity."""
    center = landmarks.mean(axis=0) - [0, 0.12 * np.ptp(landmarks[:, 1])]
    scale = size / (2.1 * np.ptp(landmarks[:, 1]))
    matrix = np.array([[scale, 0, size / 2 - scale * center[0]], [0, scale, size / 2 - scale * center[1]]])
    opacity = np.zeros((size, size), np.float32)
    cv2.ellipse(opacity, (size // 2, size // 2), (int(0.36 * size), int(0.46 * size)), 0, 0, 360, (1.0,), -1)
    return cv2.warpAffine(photo, matrix, (size, size)).astype(np.float32), cv2.GaussianBlur(opacity, (0, 0), 3)


@pytest.fixture(scope="module")
def people(photo: np.ndarray, truth: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The astronaut, and somebody made of her: mirrored, with a longer face and another complexion."""
    other = cv2.convertScaleAbs(photo[:, ::-1], alpha=0.8, beta=-5)
    other = cv2.resize(other, None, fx=1.0, fy=1.12)
    shape = truth[:, :] * [-1, 1.12] + [photo.shape[1] - 1, 0]
    return [person(photo, truth), person(other, shape)]


def scene(people: list[tuple[np.ndarray, np.ndarray]], places: list[tuple[float, float]], seed: int) -> np.ndarray:
    """(220, 440, 3): people at places, the later ones in front."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.uniform(60, 190, (220, 440, 3)).astype(np.float32), (0, 0), 6)
    for (face, opacity), (x, y) in zip(people, places, strict=True):
        half = face.shape[0] / 2
        matrix = np.array([[1, 0, x - half], [0, 1, y - half]], np.float32)
        moved, share = (cv2.warpAffine(part, matrix, (440, 220)) for part in (face, opacity))
        image = image * (1 - share[..., None]) + moved * share[..., None]
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


CROSSINGS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "both walk": (lambda t: 90 + 130 * t, lambda t: 350 - 130 * t),
    "one stands": (lambda t: 120.0, lambda t: 360 - 150 * t),
    "they turn back": (lambda t: 220 - max(30.0, 130 - 120 * t), lambda t: 220 + max(30.0, 130 - 120 * t)),
}


@pytest.mark.long
@pytest.mark.parametrize("front", [0, 1])
@pytest.mark.parametrize("name", CROSSINGS)
def test_ids_hold_when_faces_cross(
    aligner: Aligner, people: list[tuple[np.ndarray, np.ndarray]], name: str, front: int
) -> None:
    tracker, seen = Tracker(aligner), [set(), set()]  # type: ignore[var-annotated]
    order = [1 - front, front]
    for i in range(60):
        places = [(path(i / RATE), 110.0) for path in CROSSINGS[name]]
        faces = tracker.update(scene([people[k] for k in order], [places[k] for k in order], i), i / RATE)
        if abs(places[0][0] - places[1][0]) < 90:
            continue  # one hides the other
        assert len(faces) == 2 or i < 55
        for face in faces:
            x = face.landmarks[:, 0].mean()
            seen[int(abs(x - places[1][0]) < abs(x - places[0][0]))].add(face.track_id)
    assert sorted(len(ids) for ids in seen) == [1, 1]
    assert seen[0] != seen[1]


def test_an_id_holds_through_a_short_loss(aligner: Aligner, photo: np.ndarray) -> None:
    covered = np.full_like(photo, 90)
    covered[:] = cv2.GaussianBlur(photo, (0, 0), 40)  # the light stays, the face does not
    tracker, ids = Tracker(aligner), []
    for i in range(60):
        faces = tracker.update(covered if 20 <= i < 35 else photo, i / RATE)
        ids.append([face.track_id for face in faces])
    assert ids[:20] == [[0]] * 20
    assert ids[25:35] == [[]] * 10
    assert ids[38:] == [[0]] * 22


def test_a_cut_ends_all_tracks(aligner: Aligner, photo: np.ndarray) -> None:
    tracker = Tracker(aligner)
    bright = np.full_like(photo, 235)
    bright[200:, :160] = 150
    ids = [[f.track_id for f in tracker.update(p, i / RATE)] for i, p in enumerate([photo, bright, photo])]
    assert ids == [[0], [], [1]]


def test_cuts_are_told_from_light_and_motion(photo: np.ndarray) -> None:
    cuts = CutDetector()
    assert not cuts.is_cut(photo)
    assert not cuts.is_cut(cv2.convertScaleAbs(photo, alpha=1.2, beta=40))
    assert not cuts.is_cut(np.roll(photo, 30, axis=1))
    assert cuts.is_cut(np.full_like(photo, 250) - np.arange(320, dtype=np.uint8)[:, None, None] // 4)


def test_the_detector_runs_when_it_has_to(aligner: Aligner, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, found = [], aligner.detector.detect(photo)
    for every, expected in ((None, [0, 30]), (7, [0, 7, 14, 21, 28, 35]), (1, list(range(36)))):
        frames.clear()
        tracker = Tracker(aligner, TrackingOptions(detect_every=every))
        for i in range(36):
            monkeypatch.setattr(aligner.detector, "detect_with_unsure", lambda *_, i=i: frames.append(i) or found)
            tracker.update(photo, i / RATE)
        assert frames == expected


def test_only_so_many_faces_are_followed(aligner: Aligner, people: list[tuple[np.ndarray, np.ndarray]]) -> None:
    image = scene(people, [(100, 110), (340, 110)], 0)
    assert len(Tracker(aligner).update(image, 0.0)) == 2
    tracker = Tracker(aligner, TrackingOptions(max_faces=1))
    assert [len(tracker.update(image, i / 10)) for i in range(15)] == [1] * 15


def test_of_too_many_faces_the_largest_are_followed(
    aligner: Aligner, people: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    small = [cv2.resize(part, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA) for part in people[1]]
    image = scene([people[0], (small[0], small[1])], [(100, 110), (340, 110)], 0)
    (face,) = Tracker(aligner, TrackingOptions(max_faces=1)).update(image, 0.0)
    assert face.landmarks[:, 0].mean() < 200


def test_a_face_is_expected_where_its_motion_leads() -> None:
    shape = MEAN_SHAPE + 100
    track = Track(0, shape, 0.9, 0.0, normalised(shape))
    for i in range(1, 20):
        track.move(shape + np.array([30, -12]) * i / RATE, 0.9, i / RATE)
    ahead = track.expected(19 / RATE + 0.5) - track.landmarks
    assert np.allclose(ahead, [15, -6], atol=0.5)


def test_boxes_are_those_of_the_detector(aligner: Aligner, photo: np.ndarray) -> None:
    calibration = aligner.detector.calibration
    (face,) = Tracker(aligner).update(photo, 0.0)
    assert face.bbox.iou(aligner.align(photo)[0].bbox) > 0.7
    tight = calibration.landmarks_bbox(face.bbox)
    assert detector_box(tight, calibration).xyxy == pytest.approx(face.bbox.xyxy)
    assert tight.xyxy == pytest.approx((*face.landmarks.min(axis=0), *face.landmarks.max(axis=0)))


def test_a_shape_is_without_place_turn_and_size(truth: np.ndarray) -> None:
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])
    assert np.allclose(normalised(truth), normalised(truth @ turn.T + [30, -7]))


@pytest.mark.parametrize("wrong", [{"detect_every": 0}, {"max_faces": 0}, {"new_confidence": 1.5}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="tracking option"):
        TrackingOptions(**wrong)  # type: ignore[arg-type]


def swap_at(photo: np.ndarray, other: np.ndarray, cut: int, count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for i in range(count):
        image = photo if i < cut else other
        yield np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def test_another_person_in_the_same_place_gets_an_id_of_its_own(
    aligner: Aligner, photo: np.ndarray, truth: np.ndarray
) -> None:
    """A cut that keeps the background: only the face is another one, and it stands where the first one stood."""
    from facealign_cli.files.pictures import read_image

    shared = PathOf(__file__).resolve().parents[2].parent / "shared" / "data" / "photos" / "pipnet_1.jpg"
    if not shared.is_file():
        pytest.skip(f"needs another person's photo, {shared}")
    image = read_image(shared)
    (face, *_) = aligner.align(image)
    transform = SimilarityTransform.estimate(face.landmarks, truth)
    moved = cv2.warpAffine(image, transform.matrix, photo.shape[1::-1])
    hull = cv2.convexHull(np.rint(truth).astype(np.int32))
    mask = cv2.dilate(cv2.fillConvexPoly(np.zeros(photo.shape[:2], np.uint8), hull, 1), np.ones((41, 41)))[..., None]
    other = np.where(mask > 0, moved, photo)
    faces = followed(aligner, swap_at(photo, other, 20, 40))
    ids = [[face.track_id for face in frame] for frame in faces]
    assert ids == [[0]] * 20 + [[1]] * 20


def test_a_flash_and_a_hand_leave_the_id(aligner: Aligner, photo: np.ndarray, truth: np.ndarray) -> None:
    """Light that doubles in one frame, and a bar as broad as half of the face that crosses it within 0.4 s."""
    left, top = truth.min(axis=0)
    size = float(np.ptp(truth, axis=0).max())
    frames = []
    for i in range(60):
        image = np.clip(photo * (1.6 if i in (10, 11) else 1.0), 0, 255).astype(np.uint8)
        if 25 <= i < 37:
            x = int(left - size / 2 + (i - 25) / 12 * 2 * size)
            image[int(top) : int(top + size), max(0, x) : max(0, x + int(size / 2))] = (140, 160, 200)
        frames.append(image)
    faces = followed(aligner, iter(frames))
    assert {face.track_id for frame in faces for face in frame} == {0}


def test_frames_far_apart_are_looked_at_one_by_one(aligner: Aligner, photo: np.ndarray) -> None:
    """Half a second between frames, and a face that goes on by half of its size each time: found in all, one id."""
    tracker = Tracker(aligner, TrackingOptions())
    ids = []
    for i in range(6):
        image = cv2.warpAffine(photo, np.array([[1, 0, 45.0 * (i % 3)], [0, 1, 0]]), photo.shape[1::-1])
        ids.append([face.track_id for face in tracker.update(image, i * 0.5)])
    assert ids == [[0]] * 6
