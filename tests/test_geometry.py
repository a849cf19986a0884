"""Transforms, init shape and crop against independent references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape, init_shape_from_bbox, warp
from facealign_cli.landmarks import MEAN_SHAPE

transforms = st.builds(
    SimilarityTransform.from_parts,
    scale=st.floats(0.01, 100),
    angle_deg=st.floats(-180, 180),
    shift=st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)),
    center=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)


def by_lstsq(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """a, b, tx, ty as the plain linear least-squares problem in four unknowns."""
    x, y, one, zero = src[:, 0], src[:, 1], np.ones(len(src)), np.zeros(len(src))
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    return np.linalg.lstsq(rows, np.concatenate([dst[:, 0], dst[:, 1]]), rcond=None)[0]


@pytest.mark.parametrize("count", [2, 3, 68])
def test_estimate_is_the_least_squares_solution(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        src, dst = rng.normal(300, 80, (count, 2)), rng.normal(50, 30, (count, 2))
        t = SimilarityTransform.estimate(src, dst)
        np.testing.assert_allclose([t.a, t.b, t.tx, t.ty], by_lstsq(src, dst), rtol=1e-7, atol=1e-7)


def test_estimate_equals_skimage() -> None:
    """Another implementation of Umeyama, on points without noise."""
    skimage = pytest.importorskip("skimage.transform")
    src = MEAN_SHAPE * 1.7 + 90
    dst = SimilarityTransform.from_parts(0.6, 33, (5, -7)).apply(src)
    expected = skimage.SimilarityTransform()
    if hasattr(expected, "from_estimate"):
        expected = expected.from_estimate(src, dst)
    else:  # scikit-image before 0.26
        assert expected.estimate(src, dst)
    np.testing.assert_allclose(SimilarityTransform.estimate(src, dst).matrix, expected.params[:2], atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(transforms)
def test_estimate_recovers_a_transform(t: SimilarityTransform) -> None:
    got = SimilarityTransform.estimate(MEAN_SHAPE, t.apply(MEAN_SHAPE))
    np.testing.assert_allclose(got.matrix, t.matrix, rtol=1e-8, atol=1e-8 * (1 + np.abs(t.matrix).max()))


@settings(max_examples=100, deadline=None)
@given(transforms, transforms)
def test_inverse_and_then(t: SimilarityTransform, after: SimilarityTransform) -> None:
    scale = 1 + np.abs(t.matrix).max()
    np.testing.assert_allclose(t.inverse().apply(t.apply(MEAN_SHAPE)), MEAN_SHAPE, atol=1e-6 * scale)
    expected = after.apply(t.apply(MEAN_SHAPE))
    np.testing.assert_allclose(t.then(after).apply(MEAN_SHAPE), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_parts_and_matrix() -> None:
    t = SimilarityTransform.from_parts(2, 90, (10, 20), center=(5, 5))
    np.testing.assert_allclose(t.apply(np.array([5, 5])), [15, 25])
    np.testing.assert_allclose(t.apply(np.array([6, 5])), [15, 27], atol=1e-12)  # x turns towards y
    assert t.scale == pytest.approx(2)
    assert t.angle_deg == pytest.approx(90)
    homogeneous = np.concatenate([MEAN_SHAPE, np.ones((68, 1))], axis=1)
    np.testing.assert_allclose(t.apply(MEAN_SHAPE), homogeneous @ t.matrix.T)
    assert t.apply(np.zeros((4, 68, 2))).shape == (4, 68, 2)


def test_the_center_of_a_turn_stays_where_it_is() -> None:
    turn = SimilarityTransform.from_parts(2, 30, center=(5, 80))
    np.testing.assert_allclose(turn.apply(np.array([5, 80])), [5, 80])


def test_parts_that_are_not_given_change_nothing() -> None:
    assert SimilarityTransform.from_parts() == SimilarityTransform(1, 0, 0, 0)


def test_what_has_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="coincide"):
        SimilarityTransform.estimate(np.ones((5, 2)), MEAN_SHAPE[:5])
    with pytest.raises(ValueError, match=r"two \(K, 2\)"):
        SimilarityTransform.estimate(MEAN_SHAPE, MEAN_SHAPE[:5])
    with pytest.raises(ValueError, match="no inverse"):
        SimilarityTransform(0, 0, 1, 1).inverse()


def test_init_shape_in_its_own_box_is_the_shape() -> None:
    np.testing.assert_allclose(init_shape_from_bbox(bbox_of_shape(MEAN_SHAPE)), MEAN_SHAPE, atol=1e-12)


def test_init_shape_scales_by_the_mean_ratio_about_the_centre() -> None:
    width, height = np.ptp(MEAN_SHAPE, axis=0)
    shape = init_shape_from_bbox(np.array([100, 50, 100 + 2 * width, 50 + 4 * height]))
    np.testing.assert_allclose(np.ptp(shape, axis=0), [3 * width, 3 * height])
    box = bbox_of_shape(shape)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [100 + width, 50 + 2 * height])


def test_init_shape_of_another_mean_shape_lies_in_the_same_place() -> None:
    """A model's own mean shape is laid into a box as the default one is, wherever its coordinates begin."""
    own = SimilarityTransform.from_parts(0.3, 0, (40, -9)).apply(MEAN_SHAPE)
    box = np.array([100, 50, 300, 270])
    np.testing.assert_allclose(init_shape_from_bbox(box, own), init_shape_from_bbox(box), atol=1e-9)
    wide = MEAN_SHAPE * [2, 1]
    np.testing.assert_allclose(init_shape_from_bbox(bbox_of_shape(wide) + 7, wide), wide + 7, atol=1e-9)


@pytest.mark.parametrize("bbox", [[0, 0, 0, 5], [5, 0, 0, 5], [0, 0, np.nan, 5], [0, 0, np.inf, 5], [0, 0, 5]])
def test_init_shape_refuses_no_box(bbox: list[float]) -> None:
    with pytest.raises(ValueError, match="box"):
        init_shape_from_bbox(np.array(bbox))


@pytest.mark.parametrize(("size", "share"), [(112, 0.5), (64, 0.72), (9, 1.0)])
def test_the_frame_holds_the_mean_shape_in_its_middle(size: int, share: float) -> None:
    frame = CropFrame(size, share)
    box = bbox_of_shape(frame.shape)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, (size - 1) / 2)
    assert (box[2:] - box[:2]).max() == pytest.approx(share * size)


def test_the_face_fills_half_of_the_frame_where_no_share_is_given() -> None:
    assert CropFrame(112) == CropFrame(112, 0.5)


def test_the_frames_shape_cannot_be_written_to() -> None:
    """It is kept: who changed it would move every later crop."""
    with pytest.raises(ValueError, match="read-only"):
        CropFrame(112).shape[0] = 0


def test_the_crop_takes_landmarks_along() -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    shape = SimilarityTransform.from_parts(0.8, 20, (200, 150)).apply(MEAN_SHAPE)
    frame = CropFrame(112)
    crop, transform = frame.crop(image, shape)
    assert crop.shape == (112, 112, 3)
    np.testing.assert_allclose(transform.apply(shape), frame.shape, atol=1e-9)
    assert frame.crop(image[..., 0], shape)[0].shape == (112, 112)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.3])
def test_a_grey_crop_is_the_crop_in_grey(scale: float) -> None:
    """Colour is taken out before resampling or after: the same but for rounding; also where the face is cut off."""
    noise = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    image = cv2.resize(noise, (500, 400), interpolation=cv2.INTER_CUBIC)
    frame = CropFrame(96)
    for place in ((250, 200), (10, 390)):
        shape = SimilarityTransform.from_parts(scale, 20, place).apply(MEAN_SHAPE)
        crop, transform = frame.crop(image, shape, grey=True)
        coloured, expected = frame.crop(image, shape)
        assert transform == expected
        grey = cv2.cvtColor(coloured, cv2.COLOR_BGR2GRAY)
        np.testing.assert_allclose(crop.astype(int), grey.astype(int), atol=2)


@pytest.mark.parametrize("place", [(5000, 5000), (5000, 25), (-5000, 25), (30, 5000), (30, -5000)])
def test_a_grey_crop_beside_the_picture_is_black(place: tuple[float, float]) -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    shape = SimilarityTransform.from_parts(1.0, 0, place).apply(MEAN_SHAPE)
    assert not CropFrame(64).crop(image, shape, grey=True)[0].any()


@pytest.mark.parametrize("size", [(1, 40), (40, 1)])
def test_a_grey_crop_shows_a_picture_of_one_row_or_column(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    assert warp(image, SimilarityTransform.from_parts(shift=(10, 10)), 64, grey=True).max() == 200


@pytest.mark.parametrize("arguments", [(4, 0.5), (112, 0), (112, 1.1)])
def test_a_frame_checks_itself(arguments: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="crop frame"):
        CropFrame(*arguments)


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.5])
def test_warp_is_bilinear_with_zeros_outside(scale: float) -> None:
    """Against SciPy's map_coordinates; OpenCV rounds positions to 1/32 pixel, which a smooth picture forgives."""
    ndimage = pytest.importorskip("scipy.ndimage")
    image = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (80, 90), np.uint8), (0, 0), 3)
    transform = SimilarityTransform.from_parts(scale, 17, (4.3, -6.2), center=(40, 40))
    y, x = np.mgrid[:96, :96].astype(float)
    source = transform.inverse().apply(np.stack([x, y], -1))
    expected = ndimage.map_coordinates(image.astype(float), [source[..., 1], source[..., 0]], order=1, cval=0.0)
    inside = ((source > 1) & (source < np.array([88, 78]))).all(-1)
    outside = ((source < -1) | (source > np.array([90, 80]))).any(-1)
    got = warp(image, transform, 96).astype(float)
    assert inside.sum() > 1000
    assert np.abs(got - expected)[inside].max() <= 2
    assert (got[outside] == 0).all()


@pytest.mark.parametrize("reduction", [1.5, 2.0, 3.7, 8.0, 17.3])
@pytest.mark.parametrize("angle", [0, 30])
def test_a_blob_keeps_its_place_under_reduction(reduction: float, angle: float) -> None:
    """Sub-pixel: the centroid of a smooth blob lands where the transform says, however much the picture shrinks."""
    height, width = 1201, 1603  # no multiples of any factor
    at = np.array([811.3, 587.6])
    y, x = np.mgrid[:height, :width]
    image = np.rint(250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * (4.0 * reduction) ** 2))).astype(
        np.uint8
    )
    transform = SimilarityTransform.from_parts(1 / reduction, angle).then(SimilarityTransform(1, 0, 0, 0))
    target = transform.apply(at)
    transform = transform.then(SimilarityTransform(1, 0, 40.4 - target[0], 44.7 - target[1]))
    crop = warp(image, transform, 88).astype(float)
    y, x = np.mgrid[:88, :88]
    centroid = np.array([(x * crop).sum(), (y * crop).sum()]) / crop.sum()
    np.testing.assert_allclose(centroid, [40.4, 44.7], atol=0.06)


@pytest.mark.parametrize("reduction", [2, 10])
def test_reduction_averages_instead_of_picking(reduction: int) -> None:
    """A checkerboard of single pixels shrinks to grey, not to a pattern."""
    board = (np.indices((1000, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = warp(board, SimilarityTransform.from_parts(1 / reduction, 0), 90)
    assert crop[5:85, 5:85].std() < 3
    assert crop[5:85, 5:85].mean() == pytest.approx(127.5, abs=2)


@pytest.mark.parametrize("reduction", [3, 4, 8])
def test_every_pixel_counts_when_a_picture_shrinks(reduction: int) -> None:
    """Also those at the ends of a group, which a bilinear reduction passes over."""
    lines = np.zeros((400, 400), np.uint8)
    lines[:, ::reduction] = lines[:, reduction - 1 :: reduction] = 255
    crop = warp(lines, SimilarityTransform.from_parts(1 / reduction, 0), 40)
    assert crop[5:-5, 5:-5].mean() == pytest.approx(255 * 2 / reduction, abs=2)


@pytest.mark.parametrize("angle", [0, 20, 45, 100, 225])
@pytest.mark.parametrize("reduction", [1.0, 2.0, 2.9, 5.0])
def test_a_square_inside_the_picture_is_filled_to_its_corners(reduction: float, angle: float) -> None:
    """Whatever part of the picture is cut out for it before: where it is too small, black shows at the edges."""
    for shift in np.linspace(0, 0.9, 4):
        transform = SimilarityTransform.from_parts(1 / reduction, angle, (31.5 + shift, 31.5), (300.3, 301.6))
        middle = SimilarityTransform(1.0, 0.0, -300.3, -301.6)
        crop = warp(np.full((601, 603, 3), 255, np.uint8), transform.then(middle), 64, grey=True)
        assert crop.min() == 255


def test_a_picture_as_large_as_the_reduction_is_averaged_too() -> None:
    """Its one reduced pixel stands for all: half of it light, half of it dark."""
    board = np.zeros((8, 8), np.uint8)
    board[:, :4] = 200
    crop = warp(board, SimilarityTransform.from_parts(1 / 8, 0, (8, 8)), 16)
    assert crop[8, 8] == pytest.approx(100 * (1 - 7 / 16) ** 2, abs=3)
    assert crop.max() <= 100


@pytest.mark.parametrize("shift", [(-5000, 0), (5000, 5000), (0, -3000)])
def test_a_crop_off_the_picture_is_black(shift: tuple[float, float]) -> None:
    image = np.full((500, 500, 3), 200, np.uint8)
    crop = warp(image, SimilarityTransform.from_parts(0.2, 10, shift), 64)
    assert crop.shape == (64, 64, 3)
    assert (crop == 0).all()


def test_a_picture_smaller_than_the_reduction() -> None:
    assert warp(np.full((3, 3), 200, np.uint8), SimilarityTransform.from_parts(0.05), 16).shape == (16, 16)


def test_whole_numbers_of_eight_bits_do_not_run_over() -> None:
    small = np.array([[10, 200], [250, 20], [130, 240]], np.uint8)
    moved = SimilarityTransform.from_parts(2.0, 90, (3, 4))
    np.testing.assert_allclose(moved.apply(small), moved.apply(small.astype(float)))
    for src, dst in ((small, small[::-1]), (small.astype(float), small[::-1]), (small, small[::-1].astype(float))):
        got = SimilarityTransform.estimate(src, dst)
        np.testing.assert_allclose(got.matrix, SimilarityTransform.estimate(small * 1.0, small[::-1] * 1.0).matrix)
    assert bbox_of_shape(small).dtype == float
    box = np.array([200, 100, 250, 220], np.uint8)
    np.testing.assert_allclose(init_shape_from_bbox(box), init_shape_from_bbox(box.astype(float)))
    np.testing.assert_allclose(SimilarityTransform.estimate([[0, 0], [1, 0]], [[0, 0], [0, 2]]).angle_deg, 90)


def test_the_least_that_is_allowed() -> None:
    assert CropFrame(8).shape.shape == (68, 2)
    assert np.ptp(init_shape_from_bbox((5, 5, 5.5, 5.5)), axis=0).max() < 1
    assert SimilarityTransform.estimate([[0, 0], [0.5, 0]], [[0, 0], [1, 0]]).scale == pytest.approx(2)


@pytest.mark.parametrize("points", [np.zeros(68), np.zeros((68, 3)), np.zeros((2, 68, 2))])
def test_what_are_no_points_is_said(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected two \(K, 2\) arrays of one shape"):
        SimilarityTransform.estimate(points, points)


def test_a_transform_that_does_not_exist_is_said() -> None:
    with pytest.raises(ValueError, match=r"^the source points coincide"):
        SimilarityTransform.estimate(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^a similarity of scale 0 has no inverse$"):
        SimilarityTransform(0, 0, 1, 1).inverse()
