"""Drawings: at the right place, in the right size, inside the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.overlay import draw_overlay
from facealign_cli.records import Face, HeadPose


def face_in(box: list[float], face_id: int = 0, **fields: object) -> Face:
    return Face(face_id, BBox(*box), init_shape_from_bbox(np.array(box)), 0.5, **fields)  # type: ignore[arg-type]


def grey(height: int = 300, width: int = 300, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_draws_on_a_copy() -> None:
    image = grey()
    out = draw_overlay(image, [face_in([100, 100, 200, 200])])
    assert (image == 128).all()
    assert out.shape == image.shape
    assert (out != 128).any()
    np.testing.assert_array_equal(draw_overlay(image, []), image)


def test_each_part_can_be_left_out() -> None:
    face = face_in([100, 100, 200, 200])
    none = {"points": False, "contours": False, "box": False, "labels": False, "axes": False}
    np.testing.assert_array_equal(draw_overlay(grey(), [face], **none), grey())
    posed = replace(face, pose=HeadPose((0, 0, 600), (0, 0, 0)))
    parts = [draw_overlay(grey(), [posed], **(none | {name: True})) for name in none]
    assert all((part != 128).any() for part in parts)
    labels = np.argwhere((parts[3] != 128).any(axis=2))
    assert labels[:, 0].max() < 100  # above the box


def test_circles_show_how_far_a_point_may_be_off() -> None:
    """Each with its own radius around its own point, and only where they are asked for and known."""
    plain = {"points": False, "contours": False, "box": False, "labels": False}
    sigma = np.zeros(68)
    sigma[[8, 45]] = 12.0, 20.0
    face = face_in([100, 100, 200, 200], sigma=sigma)
    out = draw_overlay(grey(value=0), [face], sigma=True, **plain).max(axis=2)
    y, x = np.mgrid[:300, :300]
    for point, radius in ((8, 12.0), (45, 20.0)):
        away = np.hypot(x - face.landmarks[point, 0], y - face.landmarks[point, 1])
        others = [np.hypot(x - a, y - b) for a, b in np.delete(face.landmarks, point, axis=0)]
        alone = np.min(others, axis=0) > 3  # a circle of radius 0 is a dot
        assert (out[(abs(away - radius) < 0.4) & alone] > 30).all()
        assert (out[(abs(away - radius) > 2) & (away < radius + 6) & (away > 3) & alone] == 0).all()
    np.testing.assert_array_equal(draw_overlay(grey(), [face], **plain), grey())
    unknown = draw_overlay(grey(), [replace(face, sigma=None)], sigma=True, **plain)
    np.testing.assert_array_equal(unknown, grey())


def test_a_circle_wider_than_the_face_is_whole() -> None:
    plain = {"points": False, "contours": False, "box": False, "labels": False}
    face = face_in([100, 100, 200, 200], sigma=np.full(68, 80.0))
    out = draw_overlay(grey(value=0), [face], sigma=True, **plain).max(axis=2)
    left = face.landmarks[:, 0].min() - 80
    assert (out[:, round(left)] > 0).any()


def test_the_axes_show_how_the_head_is_turned() -> None:
    """From the tip of the nose: red to the right, green down, blue the way that the face looks."""
    without = {"points": False, "contours": False, "box": False, "labels": False}
    turned = {"yaw": (0.0, 0.6, 0.0), "pitch": (0.6, 0.0, 0.0), "roll": (0.0, 0.0, 0.6)}
    ends = {}
    for name, angles in turned.items():
        face = face_in([100, 100, 200, 200], pose=HeadPose((0, 0, 600), angles))
        out = draw_overlay(grey(value=0), [face], **without).astype(int)
        tip = face.landmarks[30]
        for channel, axis in ((2, "red"), (1, "green"), (0, "blue")):
            own = (out[..., channel] > 150) & (out[..., channel] == out.max(axis=2))
            y, x = np.argwhere(own).mean(axis=0)
            ends[name, axis] = np.array([x, y]) - tip
    assert ends["yaw", "blue"][0] < -8 and abs(ends["yaw", "blue"][1]) < 4  # positive yaw: to the left
    assert ends["pitch", "blue"][1] > 8  # positive pitch: down
    assert ends["roll", "red"][0] > 8 and ends["roll", "red"][1] > 8  # positive roll: clockwise as seen
    assert ends["roll", "green"][0] < -8 and ends["roll", "green"][1] > 8
    assert np.array_equal(draw_overlay(grey(), [replace(face, pose=None)], **without), grey())


@pytest.mark.parametrize("size", [60, 300, 1500])
def test_points_lie_where_they_should(size: int) -> None:
    """Centroid of what a single visible dot changes, against its landmark, within 0.1 pixel."""
    landmarks = np.full((68, 2), size * 4.0)  # all but the first one lie outside
    landmarks[0] = size / 2 + 0.3, size / 2 - 0.4
    face = Face(0, BBox(0, 0, size, size), landmarks, 1.0)
    image = grey(size, size, 0)
    weight = draw_overlay(image, [face], contours=False, box=False, labels=False).max(axis=2).astype(float)
    y, x = np.mgrid[:size, :size]
    center = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(center, landmarks[0], atol=0.1)


def test_size_follows_the_face() -> None:
    """The share of a face that is covered is much the same from 60 to 2000 pixels, and legible at both ends."""
    shares = []
    for size in (60, 200, 800, 2000):
        out = draw_overlay(
            grey(size * 2, size * 2), [face_in([size / 2, size / 2, size * 1.5, size * 1.5])], labels=False
        )
        shares.append((out != 128).any(axis=2).sum() / size**2)
    assert max(shares) / min(shares) < 6
    assert min(shares) > 0.02


@pytest.mark.parametrize("value", [0, 255])
def test_readable_on_dark_and_light(value: int) -> None:
    out = draw_overlay(grey(value=value), [face_in([50, 60, 250, 260])]).astype(int)
    assert np.abs(out - value).max(axis=2).max() > 150


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 50, 50],
        [250, 250, 350, 350],
        [-50, 100, 20, 170],
        [250, -20, 330, 60],
        [0, 0, 300, 300],
        [100, -90, 200, 9],
    ],
)
def test_the_label_stays_inside(box: list[float]) -> None:
    only = {"points": False, "contours": False, "box": False}
    inside = draw_overlay(grey(), [face_in([100, 100, 100 + box[2] - box[0], 100 + box[3] - box[1]])], **only)
    out = draw_overlay(grey(), [face_in(box)], **only)
    changed, reference = ((picture != 128).any(axis=2).sum() for picture in (out, inside))
    assert changed > 0.85 * reference


def test_faces_far_outside_and_tiny_pictures() -> None:
    away = face_in([1e7, 1e7, 1e7 + 50, 1e7 + 50])
    np.testing.assert_array_equal(draw_overlay(grey(), [away], labels=False), grey())
    for height, width in ((1, 1), (1, 50), (50, 1), (5, 5), (12, 40)):
        assert draw_overlay(grey(height, width), [face_in([0, 0, 30, 30])]).shape == (height, width, 3)


def test_ids_have_their_own_colours() -> None:
    one = draw_overlay(grey(), [face_in([50, 60, 250, 260], 0)])
    two = draw_overlay(grey(), [face_in([50, 60, 250, 260], 1)])
    tracked = draw_overlay(grey(), [face_in([50, 60, 250, 260], 0, track_id=1)])
    assert (one != two).any()
    np.testing.assert_array_equal(two, tracked)


@pytest.mark.parametrize("image", [np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), None])
def test_refuses_other_arrays(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        draw_overlay(image, [])


def test_refuses_what_are_no_faces() -> None:
    face = face_in([50, 60, 250, 260], 0)
    for faces in (face, None, [face.landmarks]):
        with pytest.raises(InputError, match="faces: expected a list of Face, got "):
            draw_overlay(grey(), faces)  # type: ignore[arg-type]


def test_a_grey_picture_is_drawn_on_in_colour() -> None:
    face = face_in([50, 60, 250, 260], 0)
    np.testing.assert_array_equal(draw_overlay(grey()[..., 0], [face]), draw_overlay(grey(), [face]))


def test_a_doubtful_face_has_a_dashed_box() -> None:
    only_box = {"points": False, "contours": False, "labels": False}
    sure = Face(0, BBox(50, 50, 250, 250), np.zeros((68, 2)), 0.9)
    unsure = Face(0, BBox(50, 50, 250, 250), np.zeros((68, 2)), 0.7)
    assert (unsure.doubtful, sure.doubtful) == (True, False)
    full, dashed = (draw_overlay(grey(), [face], **only_box) != 128 for face in (sure, unsure))
    top = slice(45, 56), slice(60, 240)
    assert full[top].any(axis=(0, 2)).all()
    assert 0.4 < dashed[top].any(axis=(0, 2)).mean() < 0.7


@pytest.mark.parametrize("size", [1e8, 1e9])
def test_a_face_larger_than_any_picture(size: float) -> None:
    """OpenCV takes no line as wide as such a face would have."""
    face = Face(0, BBox(0, 0, size, size), init_shape_from_bbox(np.array([0, 0, 1e3 * size, 1e3 * size])), 0.5)
    assert draw_overlay(grey(20, 20), [face], sigma=True).shape == (20, 20, 3)
