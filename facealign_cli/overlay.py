"""Drawing faces onto a picture, so that a face of 60 pixels and one of 2000 both look right.

Widths, radii and letters follow the face's size. Each face is drawn on a transparent layer of its own, finer than the
picture where the face is small, so that lines thinner than a pixel stay crisp and points keep their sub-pixel place.
Light lines lie on dark, wider ones: they can be read on any ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facealign_cli.arguments import check_flags, checked_items
from facealign_cli.arrays import Floats, Image, pixels
from facealign_cli.files.picture_arrays import to_bgr
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import CONTOURS
from facealign_cli.pose import rotation_matrix
from facealign_cli.records import Face

COLORS: tuple[tuple[int, int, int], ...] = (
    (255, 225, 90),
    (95, 205, 255),
    (190, 235, 120),
    (220, 170, 255),
    (120, 170, 255),
    (140, 250, 245),
)
"""BGR, light and unlike one another also to colour-blind eyes; taken in turn by track or face id."""

AXIS_COLORS: tuple[tuple[int, int, int], ...] = ((70, 70, 255), (80, 220, 80), (255, 150, 60))
"""BGR of the head's axes x, y and z: red, green, blue."""

_Value = tuple[int, ...]
_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)
_SHIFT = 5  # OpenCV takes coordinates in 1/32 pixel
_THICKEST = 32767  # line that OpenCV draws
_SHADE, _SOLID = 130, 255  # opacity of the dark line below, and of what lies on it


def draw_overlay(
    image_bgr: Image,
    faces: Iterable[Face],
    *,
    points: bool = True,
    contours: bool = True,
    box: bool = True,
    labels: bool = True,
    axes: bool = True,
    sigma: bool = False,
) -> Image:
    """Draw points, contours, the detector's box and a label (id and confidence) of every face onto a copy of a picture.

    A doubtful face has a dashed box and a question mark. What lies outside the picture is cut off; only labels are
    moved inside.

    image_bgr: (H, W, 3) uint8 BGR or (H, W) grey. points, contours, box, labels: whether these are drawn. axes: whether
    the axes of the head are drawn from the tip of the nose, if a face has a pose: to the right in the picture (red),
    down (green), and where the face looks (blue). sigma: whether each point gets the circle within which it lies in 68
    of 100 cases, if the model says so.
    Returns (H, W, 3) uint8 BGR.
    Raises InputError for another kind of array, or of faces.
    """
    check_flags(points=points, contours=contours, box=box, labels=labels, axes=axes, sigma=sigma)
    image = np.array(to_bgr(image_bgr))
    # small faces on top of large ones
    faces = sorted(checked_items("faces", faces, Face), key=lambda face: face.bbox.size, reverse=True)
    for face in faces:
        style = _Style.of(face)
        layer = _Layer.around(face, style, image.shape[:2], sigma)
        if layer is None:
            continue
        if box:
            corners = _corners(face.bbox.xyxy)
            paths = _dashes(corners) if face.doubtful else [corners]
            layer.lines(paths, [not face.doubtful] * len(paths), style.line, style.color)
        if contours:
            paths = [face.landmarks[list(indices)] for indices, _ in CONTOURS]
            layer.lines(paths, [closed for _, closed in CONTOURS], style.line, style.color)
        if sigma and face.sigma is not None:
            layer.rings(face.landmarks, face.sigma, 0.5 * style.line, style.color)
        if points:
            layer.dots(face.landmarks, style.radius)
        if axes:
            for path, color in zip(_axes(face), AXIS_COLORS, strict=False):
                layer.lines([path], [False], 2 * style.line, color)
        layer.blend_onto(image)
    if labels:
        for face in faces:
            _draw_label(image, face, _Style.of(face))
    return image


@dataclass(frozen=True)
class _Style:
    """Sizes in picture pixels. scale: how many layer pixels a picture pixel has along each side."""

    line: float
    radius: float
    letter: float
    scale: int
    color: tuple[int, int, int]

    @classmethod
    def of(cls, face: Face) -> _Style:
        box = bbox_of_shape(face.landmarks)
        size = max(float((box[2:] - box[:2]).mean()), face.bbox.size / 2, 1.0)
        number = face.face_id if face.track_id is None else face.track_id
        return cls(
            line=max(0.6, size * 0.006),
            radius=max(0.72, size * 0.0085),
            letter=max(9.0, size * 0.075),
            scale=4 if size < 250 else 2 if size < 600 else 1,
            color=COLORS[number % len(COLORS)],
        )


@dataclass(frozen=True)
class _Layer:
    """A transparent picture over a part of the real one.

    left, top, width, height: the part, in picture pixels. color: premultiplied BGR, opacity: 0–255, finer by `scale`.
    """

    left: int
    top: int
    width: int
    height: int
    scale: int
    color: Image
    opacity: Image

    @classmethod
    def over(cls, xyxy: Iterable[float], scale: int, size: tuple[int, int]) -> _Layer | None:
        """The layer over a box, cut off at a picture of (height, width); None if nothing of it is left."""
        x1, y1, x2, y2 = xyxy
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(size[1], int(np.ceil(x2)) + 1), min(size[0], int(np.ceil(y2)) + 1)
        if right <= left or bottom <= top:
            return None
        height, width = (bottom - top) * scale, (right - left) * scale
        color, opacity = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        return cls(left, top, right - left, bottom - top, scale, color, opacity)

    @classmethod
    def around(cls, face: Face, style: _Style, size: tuple[int, int], sigma: bool = False) -> _Layer | None:
        """The layer that holds a face's box and points, and with sigma the circles around them."""
        box = bbox_of_shape(np.concatenate([face.landmarks, _corners(face.bbox.xyxy), *_axes(face)]))
        widest = float(face.sigma.max()) if sigma and face.sigma is not None else 0.0
        margin = 3 * style.line + max(2 * style.radius, widest) + 1
        return cls.over((box + np.array([-margin, -margin, margin, margin])).tolist(), style.scale, size)

    def lines(self, paths: list[Floats], closed: list[bool], width: float, color: tuple[int, int, int]) -> None:
        """Light lines of `width` on dark ones, through (K, 2) points."""
        import cv2

        fixed = [self._fixed(path) for path in paths]
        for canvas, value, thickness in self._strokes(width, color):
            for path, is_closed in zip(fixed, closed, strict=True):
                cv2.polylines(canvas, [path], is_closed, value, thickness, cv2.LINE_AA, _SHIFT)

    def dots(self, points: Floats, radius: float) -> None:
        """White dots with a dark rim at (K, 2) points."""
        import cv2

        centers = self._fixed(points).tolist()
        for size, bgr, opacity in ((radius * 1.45, _BLACK, 200), (radius, _WHITE, _SOLID)):
            (fixed_radius,) = self._fixed_lengths(np.array([size]))
            for canvas, value in self._canvases(bgr, opacity):
                for center in centers:
                    cv2.circle(canvas, center, fixed_radius, value, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def rings(self, points: Floats, radii: Floats, width: float, color: tuple[int, int, int]) -> None:
        """Light circles of `width` on dark ones: (K, 2) points, (K,) radii in picture pixels."""
        import cv2

        circles = list(zip(self._fixed(points).tolist(), self._fixed_lengths(radii), strict=True))
        for canvas, value, thickness in self._strokes(width, color):
            for center, radius in circles:
                cv2.circle(canvas, center, radius, value, thickness, cv2.LINE_AA, _SHIFT)

    def _strokes(self, width: float, color: _Value) -> Iterator[tuple[Image, _Value, int]]:
        """Canvas, value and thickness: of a dark line, 2.2 times as wide, then of the light one that lies on it."""
        for wide, bgr, opacity in ((width * 2.2, _BLACK, _SHADE), (width, color, _SOLID)):
            for canvas, value in self._canvases(bgr, opacity):
                yield canvas, value, min(_THICKEST, max(1, round(wide * self.scale)))

    def _canvases(self, bgr: _Value, opacity: int) -> tuple[tuple[Image, _Value], tuple[Image, _Value]]:
        """Both pictures of the layer, with what is drawn into each."""
        return (self.color, bgr), (self.opacity, (opacity,))

    def text(self, text: str, font_scale: float, thickness: int, color: tuple[int, int, int]) -> None:
        """Fill the layer with a dark plate and write on it."""
        import cv2

        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font_scale, thickness)
        origin = (self.color.shape[1] - width) // 2, (self.color.shape[0] + height) // 2
        self.opacity[:] = 190
        for canvas, value in ((self.color, color), (self.opacity, (_SOLID,))):
            cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, font_scale, value, thickness, cv2.LINE_AA)

    def _fixed(self, points: Floats) -> NDArray[np.int32]:
        """Picture coordinates as OpenCV's fixed-point ones of the layer; pixel centres lie at integers in both."""
        inside = (np.asarray(points, float) - [self.left, self.top] + 0.5) * self.scale - 0.5
        fixed: Floats = np.rint(np.clip(inside, -1e6, 1e6) * 2**_SHIFT)
        return fixed.astype(np.int32)

    def _fixed_lengths(self, lengths: Floats) -> list[int]:
        """Picture pixels as OpenCV's fixed-point ones of the layer, no longer than the layer needs."""
        longest = 2.0 * (self.width + self.height)
        fixed: list[int] = np.rint(np.clip(lengths, 0, longest) * self.scale * 2**_SHIFT).astype(int).tolist()
        return fixed

    def blend_onto(self, image: Image) -> None:
        """Lay the layer over its part of the picture, in place."""
        for row in range(0, self.height, 256):  # in strips, for the memory's sake
            rows = min(256, self.height - row)
            fine, size = slice(row * self.scale, (row + rows) * self.scale), (self.width, rows)
            color, opacity = self.color[fine], self.opacity[fine]
            if self.scale > 1:
                color, opacity = (_averaged(part, size) for part in (color, opacity))
            part = image[self.top + row : self.top + row + rows, self.left : self.left + self.width]
            through = (part * (255 - opacity[..., None].astype(np.uint16)) + 127) // 255
            part[:] = np.minimum(through + color, 255)


def _averaged(image: Image, size: tuple[int, int]) -> Image:
    import cv2

    return pixels(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _axes(face: Face) -> list[Floats]:
    """The lines of the head's axes, (2, 2) picture pixels each, half a face long where they are seen from the side."""
    if face.pose is None:
        return []
    (x, y, z), tilt = face.pose.translation_mm, rotation_matrix(face.pose.rotation_rad) * [1, 1, -1]  # z: ahead
    aside = np.array([x, y]) / z if z > 0 else np.zeros(2)  # how far off its axis the camera sees the head
    seen = tilt[:2] - np.outer(aside, tilt[2])
    box, tip = bbox_of_shape(face.landmarks), face.landmarks[30]
    length = 0.5 * float((box[2:] - box[:2]).mean())
    return [np.array([tip, tip + length * seen[:, axis]]) for axis in range(3)]


def _corners(xyxy: tuple[float, float, float, float]) -> Floats:
    x1, y1, x2, y2 = xyxy
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _dashes(corners: Floats, per_side: int = 8) -> list[Floats]:
    """Every other piece of the sides of a closed path, (2, 2) each."""
    steps = np.arange(0, per_side, 2)[:, None] / per_side
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return [
        np.stack([begin + step * (end - begin), begin + (step + 1 / per_side) * (end - begin)])
        for begin, end in sides
        for step in steps
    ]


def _draw_label(image: Image, face: Face, style: _Style) -> None:
    """Above the box, or inside its top where there is no room above; always within the picture."""
    import cv2

    number = face.face_id if face.track_id is None else face.track_id
    text = f"#{number}  {face.confidence:.2f}{' ?' if face.doubtful else ''}"
    height, width = image.shape[:2]
    unit = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)[0]
    letter = min(style.letter, 0.5 * height, (width - 2) / (unit[0] / unit[1] + 1.2))
    if letter < 4:  # a picture of a few pixels has no room for text
        return
    plate_width, plate_height = letter * (unit[0] / unit[1] + 1.2), letter * 1.9
    x1, y1 = face.bbox.x1 - style.line, face.bbox.y1 - style.line * 1.5 - plate_height
    y1 = y1 if y1 >= 0 else max(face.bbox.y1 + style.line, 0.0)
    x1, y1 = max(0.0, min(x1, width - 1 - plate_width)), max(0.0, min(y1, height - 1 - plate_height))
    layer = _Layer.over((x1, y1, x1 + plate_width - 1, y1 + plate_height - 1), style.scale, (height, width))
    if layer is not None:
        font_scale = letter * style.scale / unit[1]
        layer.text(text, font_scale, max(1, round(letter * style.scale * 0.11)), style.color)
        layer.blend_onto(image)
