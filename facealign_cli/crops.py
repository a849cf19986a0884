"""Aligned crops of faces, by three presets; each crop knows where it was cut and where its landmarks lie.

A preset says how a face stands in its square. All of them are similarities (shift, turn, scale), and the square is
black where it leaves the picture. Pixel centres lie at integers, in the picture and in the crop, so a crop of twice the
size shows the same part of the picture: a pixel p of the small one covers 2 p and 2 p + 1 of the large one.

    upright   all 68 landmarks laid onto the mean shape by least squares, their larger extent over 0.6 of the side
    arcface   the eyes' middles, the nose's tip and the mouth's corners laid onto ArcFace's five places by least squares
    ffhq      the square of the FFHQ data set, from the eyes' middles and the mouth's corners

Sources: ArcFace's places in a square of 112 pixels are those of InsightFace (Deng et al., "ArcFace", CVPR 2019;
`python-package/insightface/utils/face_align.py`), the least-squares similarity is Umeyama's (PAMI 1991). InsightFace
scales the places by size / 112 without regard to half pixels: at 112 pixels both agree, at 224 its crop lies half a
pixel off ours, and at sizes that are no multiple of 112 it shows a wider square. FFHQ: Karras et al., CVPR 2019; the
function `recreate_aligned_images` of `download_ffhq.py` in NVlabs/ffhq-dataset. That script fills what lies outside the
picture with a blurred mirror image; here it is black.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from facealign_cli.arguments import check_kind, check_number
from facealign_cli.arrays import Floats, Image
from facealign_cli.errors import InputError
from facealign_cli.files.names import names_to_texts
from facealign_cli.files.picture_arrays import check_image
from facealign_cli.files.pictures import encode_image
from facealign_cli.geometry import CropFrame, SimilarityTransform, warp
from facealign_cli.landmarks import GROUPS, checked_landmarks
from facealign_cli.records import Face
from facealign_cli.schemes import subset

CROP_SHARE = 0.6
"""The landmarks' larger extent over the side, of the preset `upright`."""

PRESET_SIZES: dict[str, int] = {"upright": 256, "arcface": 112, "ffhq": 1024}
"""The presets, each with the side in pixels that a crop has where none is named."""

LEAST_SIZE, MOST_SIZE = 8, 4096

ARCFACE_112: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) where ArcFace wants eyes, nose and mouth in a square of 112 pixels."""
ARCFACE_112.setflags(write=False)


@dataclass(frozen=True)
class CropOptions:
    """How a face is cut out.

    preset: a key of `PRESET_SIZES`. size: the square's side in pixels; None means the preset's own. Raises InputError
    for an unknown preset, and for a size that is not 8 to 4096.
    """

    preset: str = "upright"
    size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.preset, str) or self.preset not in PRESET_SIZES:
            raise InputError(f"unknown crop preset {self.preset!r}: known are {', '.join(PRESET_SIZES)}")
        if self.size is not None and not (isinstance(self.size, Integral) and LEAST_SIZE <= self.size <= MOST_SIZE):
            raise InputError(f"crop size: expected {LEAST_SIZE} to {MOST_SIZE} pixels, got {self.size}")

    @property
    def side(self) -> int:
        """The square's side in pixels."""
        return PRESET_SIZES[self.preset] if self.size is None else self.size


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face that was cut out of a picture.

    image: (S, S) or (S, S, 3) uint8. transform: leads from pixels of the picture to pixels of the crop. landmarks:
    (68, 2) pixels of the crop.
    """

    image: Image
    transform: SimilarityTransform
    landmarks: Floats
    preset: str

    def files(self, **facts: Any) -> dict[str, bytes]:
        """The contents of the two files that a crop makes, by suffix: .jpg is the picture, .json what is known of it.

        The document has the given facts (such as source and face_id), then preset, size, matrix (2 x 3, from the
        picture to the crop) and landmarks (68 x 2, pixels of the crop).
        Raises InputError for a crop that no JPEG can hold.
        """
        own = {
            "preset": self.preset,
            "size": int(self.image.shape[0]),
            "matrix": np.round(self.transform.matrix, 8).tolist(),
            "landmarks": np.round(self.landmarks, 3).tolist(),
        }
        document = json.dumps({**names_to_texts(facts), **own}) + "\n"
        return {".jpg": encode_image(self.image, ".jpg"), ".json": document.encode()}


def crop_face(
    image_bgr: Image,
    face: Face | ArrayLike,
    size: int | None = None,
    *,
    preset: str = "upright",
    share: float = CROP_SHARE,
) -> Image:
    """Cut a face out of a picture as a square, which is black where it reaches beyond the picture.

    `cut_face` does the same and also gives the matrix and the landmarks in the crop.

    image_bgr: (H, W, 3) uint8 BGR or (H, W) uint8 grey. face: a `Face`, or (68, 2) landmarks in pixels of the picture.
    size: the square's side in pixels; None means 256, for arcface 112, for ffhq 1024. preset: "upright", "arcface" or
    "ffhq". share: for upright only, the larger extent of the landmarks over the side.
    Returns (size, size, 3) or (size, size) uint8.
    Raises InputError for another kind of array, an unknown preset, a size that is not 8 to 4096, a share that does not
    lie above 0 and up to 1, and for landmarks that coincide.
    """
    return cut_face(image_bgr, face, CropOptions(preset, size), share=share).image


def cut_face(
    image_bgr: Image,
    face: Face | ArrayLike,
    options: CropOptions | None = None,
    *,
    share: float = CROP_SHARE,
) -> FaceCrop:
    """Cut a face out of a picture, with the transform and the landmarks in the crop. Otherwise as `crop_face`."""
    check_kind("options", options, CropOptions, None)
    options, landmarks = options or CropOptions(), _landmarks_of(face)
    return cut_square(check_image(image_bgr), landmarks, crop_transform(landmarks, options, share=share), options)


def cut_square(image: Image, landmarks: Floats, transform: SimilarityTransform, options: CropOptions) -> FaceCrop:
    """A square cut out by a transform that is known already. landmarks: (68, 2), the picture's pixels."""
    return FaceCrop(warp(image, transform, options.side), transform, transform.apply(landmarks), options.preset)


def crop_transform(
    face: Face | ArrayLike, options: CropOptions | None = None, *, share: float = CROP_SHARE
) -> SimilarityTransform:
    """The similarity that takes the picture's pixels to those of the crop. Raises InputError as `crop_face` does."""
    check_number("share", share, 1e-6, 1)
    options, landmarks = options or CropOptions(), _landmarks_of(face)
    try:
        if options.preset == "upright":
            return _frame(options.side, share).transform_from(landmarks)
        if options.preset == "arcface":
            return SimilarityTransform.estimate(subset(landmarks, "5-points"), _arcface_places(options.side))
        return _ffhq(landmarks, options.side)
    except ValueError as error:
        raise InputError(str(error)) from error


_frame = lru_cache(16)(CropFrame)


def _arcface_places(size: int) -> Floats:
    """(5, 2) ArcFace's places in a square of that side: the square's edges are scaled, not the pixels' centres."""
    return (ARCFACE_112 + 0.5) * (size / 112) - 0.5


def _ffhq(landmarks: Floats, size: int) -> SimilarityTransform:
    """FFHQ's square: its middle lies a tenth of the way from the eyes to the mouth, x points along its upper edge.

    Half of its side is twice the distance of the eyes, or 1.8 times that of eyes and mouth if that is more.
    """
    left, right = (landmarks[list(GROUPS[name])].mean(axis=0) for name in ("left_eye", "right_eye"))
    eyes, mouth = (left + right) / 2, (landmarks[48] + landmarks[54]) / 2
    across, down = right - left, mouth - eyes
    x = across - np.array([-down[1], down[0]])
    length = float(np.hypot(*x))
    if not length > 1e-9:
        raise ValueError("the landmarks of eyes and mouth coincide: no square can be laid around them")
    half = max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    middle = eyes + 0.1 * down
    a, b = (size / (2 * half) * x / length).tolist()
    # the turn back: x becomes the crop's horizontal; the square's middle lies between its pixels, at (size - 1) / 2
    tx = (size - 1) / 2 - (a * middle[0] + b * middle[1])
    ty = (size - 1) / 2 - (-b * middle[0] + a * middle[1])
    return SimilarityTransform(a, -b, float(tx), float(ty))


def _landmarks_of(face: Any) -> Floats:
    if isinstance(face, Face):
        return face.landmarks
    return checked_landmarks("face: a Face, or its landmarks", face)
