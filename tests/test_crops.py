"""Aligned crops."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.crops import PRESET_SIZES, CropOptions, crop_face, crop_transform, cut_face
from facealign_cli.errors import InputError
from facealign_cli.geometry import SimilarityTransform, bbox_of_shape
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face

FRONTAL = MEAN_SHAPE / np.ptp(MEAN_SHAPE, axis=0).max() * 90 + 100


def dotted(landmarks: np.ndarray) -> np.ndarray:
    """A picture with a white disc at each end of the mouth and between the brows."""
    image = np.zeros((300, 320, 3), np.uint8)
    for x, y in landmarks[[48, 54, 27]]:
        cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return image


def test_a_turned_face_is_upright_in_the_middle() -> None:
    turn = np.deg2rad(35)
    turned = SimilarityTransform(np.cos(turn), np.sin(turn), 120.0, -20.0).apply(FRONTAL)
    crop = crop_face(dotted(turned), Face(0, BBox.around(turned), turned, 1.0), 200)
    assert crop.shape == (200, 200, 3) and crop.dtype == np.uint8
    count, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 127).astype(np.uint8))
    assert count == 4
    shape = FRONTAL - (bbox_of_shape(FRONTAL)[:2] + bbox_of_shape(FRONTAL)[2:]) / 2
    expected = (shape * 0.6 * 200 / 90 + 99.5)[[27, 48, 54]]
    np.testing.assert_allclose(centres[1:][np.argsort(centres[1:, 1])][:1], expected[:1], atol=0.4)
    np.testing.assert_allclose(sorted(centres[2:, 0]), sorted(expected[1:, 0]), atol=0.4)


def test_grey_and_plain_landmarks() -> None:
    image = dotted(FRONTAL)
    grey = crop_face(image[..., 0], FRONTAL.tolist(), 64, share=0.9)
    assert grey.shape == (64, 64)
    np.testing.assert_array_equal(grey, crop_face(image, FRONTAL, 64, share=0.9)[..., 0])


def test_what_cannot_be_cropped_is_said() -> None:
    image = dotted(FRONTAL)
    for arguments, words in (
        ((None, FRONTAL), "cv2.imread"),
        ((image, FRONTAL[:5]), "68"),
        ((image, np.full((68, 2), np.nan)), "finite"),
        ((image, "face"), "str"),
        ((image, FRONTAL, 4), "size"),
    ):
        with pytest.raises(InputError, match=words):
            crop_face(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESET_SIZES)
def test_landmarks_that_coincide_are_refused(preset: str) -> None:
    with pytest.raises(InputError, match="coincide"):
        crop_face(dotted(FRONTAL), np.zeros((68, 2)), preset=preset)


def test_options_that_are_wrong() -> None:
    known = "upright, arcface, ffhq"
    for arguments, words in ((("round",), known), (([],), known), (("ffhq", 4097), "8 to 4096")):
        with pytest.raises(InputError, match=words):
            CropOptions(*arguments)


def turned(degrees: float, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """(68, 2) the frontal face turned and scaled about its middle, with a mouth of its own: no exact mean shape."""
    own = FRONTAL.copy()
    own[48:68] += (1.5, 2.0)
    return SimilarityTransform.from_parts(scale, degrees, shift, (100.0, 100.0)).apply(own)


@pytest.mark.parametrize(("degrees", "size"), [(0.0, 112), (33.0, 112), (-75.0, 224), (170.0, 96)])
def test_arcface_is_the_least_squares_similarity_onto_its_five_places(degrees: float, size: int) -> None:
    """Beside scikit-image's own Umeyama, which InsightFace uses; the places are written out once more here."""
    transform = pytest.importorskip("skimage.transform")
    shape = turned(degrees, 0.7, (15.0, -8.0))
    eyes = [shape[36:42].mean(axis=0), shape[42:48].mean(axis=0)]
    five = np.array([*eyes, shape[30], shape[48], shape[54]])
    places = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    wanted = (np.array(places) + 0.5) * size / 112 - 0.5  # pixels' edges are scaled: at 112 these are the places
    fitted = transform.estimate_transform("similarity", five, wanted)
    options = CropOptions("arcface", size)
    np.testing.assert_allclose(crop_transform(shape, options).matrix, fitted.params[:2], atol=1e-9)


def ffhq_quad(lm: np.ndarray) -> np.ndarray:
    """(4, 2) upper left, lower left, lower right, upper right of FFHQ's square, as NVlabs' script computes it."""
    eye_left, eye_right = np.mean(lm[36:42], axis=0), np.mean(lm[42:48], axis=0)
    eye_avg, eye_to_eye = (eye_left + eye_right) * 0.5, eye_right - eye_left
    eye_to_mouth = (lm[48] + lm[54]) * 0.5 - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


@pytest.mark.parametrize("degrees", [0.0, 25.0, -60.0, 160.0])
def test_ffhq_is_the_square_of_its_script(degrees: float) -> None:
    shape = turned(degrees, 0.8)
    corners = crop_transform(shape, CropOptions("ffhq", 200)).apply(ffhq_quad(shape))
    edges = [(-0.5, -0.5), (-0.5, 199.5), (199.5, 199.5), (199.5, -0.5)]  # of the pixels, whose centres are integers
    np.testing.assert_allclose(corners, edges, atol=1e-9)


def test_ffhq_shows_the_pixels_that_the_script_shows(astronaut: np.ndarray) -> None:
    """Pillow's QUAD, as the script calls it (quad + 0.5: Pillow counts from a pixel's edge)."""
    pil = pytest.importorskip("PIL.Image")
    shape = SimilarityTransform.from_parts(0.9, 12.0, (122.0, 25.0), (100.0, 100.0)).apply(FRONTAL)
    quad = tuple((ffhq_quad(shape) + 0.5).ravel())
    expected = np.asarray(pil.fromarray(astronaut).transform((180, 180), pil.Transform.QUAD, quad, pil.BILINEAR))
    crop = crop_face(astronaut, shape, 180, preset="ffhq")
    away = [np.abs(np.roll(crop, move, axis=1).astype(int) - expected).mean() for move in (-1, 0, 1)]
    assert away[1] < 0.6 and min(away[0], away[2]) > 3


@pytest.mark.parametrize("preset", PRESET_SIZES)
def test_points_go_there_and_back(preset: str, astronaut: np.ndarray) -> None:
    shape = turned(20.0, 1.3, (120.0, 60.0))
    crop = cut_face(astronaut, shape, CropOptions(preset))
    assert crop.image.shape == (PRESET_SIZES[preset],) * 2 + (3,)
    there = shape @ crop.transform.matrix[:, :2].T + crop.transform.matrix[:, 2]
    np.testing.assert_allclose(crop.landmarks, there, atol=1e-9)
    np.testing.assert_allclose(crop.transform.inverse().apply(crop.landmarks), shape, atol=1e-9)


@pytest.mark.parametrize("preset", PRESET_SIZES)
def test_twice_the_size_shows_the_same_part(preset: str) -> None:
    """A pixel p of the small crop covers 2 p and 2 p + 1 of the large one: half pixels count."""
    shape = turned(-15.0, 2.0, (60.0, 60.0))
    small, large = (crop_transform(shape, CropOptions(preset, size)).apply(shape) for size in (100, 200))
    np.testing.assert_allclose(large, 2 * small + 0.5, atol=1e-9)


@pytest.mark.parametrize("preset", PRESET_SIZES)
def test_a_discs_middle_lies_where_the_matrix_says(preset: str) -> None:
    shape = turned(8.0, 0.9)
    crop = cut_face(dotted(shape), shape, CropOptions(preset, 224))
    count, _, _, centres = cv2.connectedComponentsWithStats((crop.image[..., 0] > 127).astype(np.uint8))
    assert count == 4
    order = lambda points: points[np.lexsort((points[:, 0], points[:, 1].round(-1)))]  # noqa: E731
    np.testing.assert_allclose(order(centres[1:]), order(crop.landmarks[[48, 54, 27]]), atol=0.25)


@pytest.mark.parametrize("preset", PRESET_SIZES)
def test_beyond_the_pictures_edge_it_is_black(preset: str) -> None:
    """A white picture whose left edge goes through the face: the edge lies where the matrix has x = -0.5."""
    shape = FRONTAL - (100.0, 0.0)
    crop = cut_face(np.full((260, 200, 3), 255, np.uint8), shape, CropOptions(preset, 128))
    edge = crop.transform.apply(np.array([[-0.5, 100.0]]))[0, 0]
    row = crop.image[64, :, 0]
    assert (row[: int(edge) - 1] == 0).all() and (row[int(edge) + 2 :] == 255).all()
    assert abs(row.astype(float).sum() / 255 - (127.5 - edge)) < 0.55
    away = cut_face(np.full((20, 20), 255, np.uint8), FRONTAL + 1000, CropOptions(preset, 64))
    assert away.image.shape == (64, 64) and not away.image.any()


def test_the_files_of_a_crop(astronaut: np.ndarray) -> None:
    crop = cut_face(astronaut, turned(10.0), CropOptions("arcface"))
    files = crop.files(source="a\udcff.jpg", face_id=3)
    assert set(files) == {".jpg", ".json"}
    document = json.loads(files[".json"])
    assert list(document) == ["source", "face_id", "preset", "size", "matrix", "landmarks"]
    assert (document["source"], document["preset"], document["size"]) == (r"a\udcff.jpg", "arcface", 112)
    np.testing.assert_allclose(document["matrix"], crop.transform.matrix, atol=1e-8)
    np.testing.assert_allclose(document["landmarks"], crop.landmarks, atol=1e-3)
    assert cv2.imdecode(np.frombuffer(files[".jpg"], np.uint8), cv2.IMREAD_COLOR).shape == (112, 112, 3)
