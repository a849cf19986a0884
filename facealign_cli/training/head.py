"""A photographed head turned further in depth: its picture over a mesh, and what its landmarks become.

Source of the idea: "face profiling", Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. The
mean face of `pose` lends each landmark its depth; between the landmarks the depth is a thin-plate spline, so that the
mesh goes through the landmarks themselves and only the depth is the mean face's. Around the face's outline lies a band
for ears and hair that falls off behind the face, around that the surroundings, which give way and stand still where
they are far away. Projection is weak perspective: a packed face says nothing about the camera.

The landmarks of eyes, nose and mouth stay on the mesh. Those of the jaw follow the outline of the turned cheek, as hand
labels do: each goes to the outermost place of the line that runs from it across the cheek (the same authors' "landmark
marching", CVPR 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facealign_cli.arrays import Bools, Floats, Image, Ints, pixels
from facealign_cli.landmarks import GROUPS
from facealign_cli.pose import camera_matrix, estimate_pose, mean_face, rotation_angles, rotation_matrix

_FOCAL = 10.0
"""Focal length of the camera that the pose is fitted with, in sides of the picture: nearly parallel rays."""
_FOREHEAD = np.array(
    [(-78, -45, 5), (-68, -75, -10), (-45, -98, -20), (0, -108, -25), (45, -98, -20), (68, -75, -10), (78, -45, 5)],
    dtype=float,
)
"""(7, 3) mm in the mean face's axes: where the face ends above the brows, from the left temple to the right one."""
_BAND, _BAND_ABOVE, _BAND_DEPTH = 0.13, 0.4, 50.0
"""Width of the band of ears and hair, at the sides and above, in radii of the face, and how far behind the face it
ends, mm."""
_STILL, _BACKGROUND = 1.9, 200.0
"""Radii of the face beyond which nothing moves, and how far behind the face that is, mm."""
_CELL, _FINE, _FLAT = 4, 2, 0.01
"""Side of the mesh's cells, pixels; how much finer than the picture the mesh is drawn; twice the area, in square
pixels, below which a triangle is seen from its edge."""
_CHEEK = 45.0
"""How far from its landmark the line across the cheek runs, mm."""
_HIDDEN = 6.0
"""Something in front of a landmark by more hides it, mm."""
_JAW = np.array(GROUPS["jaw"])
_CHIN = 8


@dataclass(frozen=True, eq=False)
class Turned:
    """A turned head. image: (H, W) uint8 grey. landmarks: (68, 2) pixels. visible: (68,) whether nothing hides them.

    rotation: (3, 3) the head's new pose, camera = rotation · head.
    """

    image: Image
    landmarks: Floats
    visible: Bools
    rotation: Floats

    @property
    def yaw_deg(self) -> float:
        """Positive where the nose is turned to the left in the picture."""
        return float(np.degrees(rotation_angles(self.rotation)[1]))


class Head:
    """The head of a (H, W) grey picture with (68, 2) landmarks. Raises ValueError where no pose fits the landmarks."""

    def __init__(self, image: Image, landmarks: Floats) -> None:
        height, width = image.shape
        focal = _FOCAL * max(height, width)
        pose = estimate_pose(landmarks, camera_matrix(width, height, focal))
        if pose is None:
            raise ValueError("no pose of the mean face fits the landmarks")
        self.image, self.landmarks = image, np.asarray(landmarks, float)
        self.rotation = rotation_matrix(pose.rotation_rad)
        self.scale = focal / pose.translation_mm[2]  # pixels a mm
        middle = np.array([width - 1, height - 1]) / 2
        self.origin = middle + self.scale * np.array(pose.translation_mm[:2])  # about which the head turns

    @property
    def yaw_deg(self) -> float:
        """Positive where the nose is turned to the left in the picture."""
        return float(np.degrees(rotation_angles(self.rotation)[1]))

    @property
    def pitch_deg(self) -> float:
        """Positive where the face looks down."""
        return float(np.degrees(rotation_angles(self.rotation)[0]))

    def turned(self, angle_deg: float) -> Turned:
        """The head turned about its own upright axis; a positive angle turns the nose to the left in the picture."""
        rotation = self.rotation @ rotation_matrix((0.0, float(np.radians(angle_deg)), 0.0))
        mesh = _Mesh(self, rotation @ self.rotation.T)
        landmarks, depths = mesh.moved(self.landmarks)
        for i in _JAW[_JAW != _CHIN]:
            landmarks[i], depths[i] = self._outermost(mesh, int(i), rotation)
        drawn = mesh.drawn(self.image.shape, _FINE)
        visible = mesh.in_front(drawn, landmarks, depths, _FINE)
        return Turned(mesh.picture(self.image, drawn, _FINE), landmarks, visible, rotation)

    def _outermost(self, mesh: _Mesh, landmark: int, rotation: Floats) -> tuple[Floats, float]:
        """Where the outline of the turned cheek is, at the height of a landmark of the jaw, and its depth."""
        side = -1.0 if landmark < _CHIN else 1.0
        reach = min(_CHEEK, abs(float(mean_face()[landmark, 0])))
        steps = np.linspace(0.0, -side * reach * self.scale, 40)[:, None]
        places, depths = mesh.moved(self.landmarks[landmark] + steps * self.rotation[:2, 0])
        across = rotation[:2, 0] if np.hypot(*rotation[:2, 0]) > 0.2 else self.rotation[:2, 0]
        best = int((side * places @ across).argmax())
        return places[best], float(depths[best])

    @cached_property
    def outline(self) -> tuple[Floats, Floats]:
        """The face's outline about `center`: (K,) angles that rise, and (K,) radii in pixels."""
        import cv2

        above, _ = self._seen(_FOREHEAD)
        above = above + (self.landmarks[[0, 16]] - self._seen(mean_face()[[0, 16]])[0]).mean(axis=0)
        places = np.concatenate([self.landmarks[_JAW], above])
        offsets = places[cv2.convexHull(places.astype(np.float32), returnPoints=False).ravel()] - self.center
        angles = np.arctan2(offsets[:, 1], offsets[:, 0])
        order = angles.argsort()
        return angles[order], np.hypot(*offsets.T)[order]

    @cached_property
    def center(self) -> Floats:
        """(2,) a place inside the outline: the middle between eyes and mouth."""
        return np.asarray((self.landmarks[36:48].mean(axis=0) + self.landmarks[48:60].mean(axis=0)) / 2)

    @cached_property
    def depth(self) -> _Spline:
        """The depth of the face, mm behind the head's origin, at places in the picture."""
        above, depth = self._seen(_FOREHEAD)
        places = np.concatenate([self.landmarks, above])
        return _Spline(places / self.scale, np.concatenate([self._seen(mean_face())[1], depth]))

    def _seen(self, points: Floats) -> tuple[Floats, Floats]:
        """(K, 2) pixels and (K,) depths of points of the mean face, (K, 3) mm."""
        seen = points @ self.rotation.T
        return self.origin + self.scale * seen[:, :2], seen[:, 2]


class _Spline:
    """A thin-plate spline through (K,) values at (K, 2) places, stiffened so that places may coincide."""

    def __init__(self, places: Floats, values: Floats, stiffness: float = 10.0) -> None:
        n = len(places)
        system = np.zeros((n + 3, n + 3))
        system[:n, :n] = self._kernel(places, places) + stiffness * np.eye(n)
        system[:n, n:] = np.column_stack([np.ones(n), places])
        system[n:, :n] = system[:n, n:].T
        self.places = places
        self.weights = np.linalg.solve(system, np.concatenate([values, np.zeros(3)]))

    def __call__(self, places: Floats) -> Floats:
        """(N,) values at (N, 2) places."""
        n = len(self.places)
        flat = self.weights[n] + places @ self.weights[n + 1 :]
        return np.asarray(self._kernel(places, self.places) @ self.weights[:n] + flat)

    @staticmethod
    def _kernel(a: Floats, b: Floats) -> Floats:
        squared = ((a[:, None] - b) ** 2).sum(axis=2)
        return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-12)))


class _Mesh:
    """The picture as a grid of triangles, and where a turn takes it. turn: (3, 3) rotation of the camera's axes."""

    def __init__(self, head: Head, turn: Floats) -> None:
        height, width = head.image.shape
        columns, rows = -(-(width - 1) // _CELL) + 1, -(-(height - 1) // _CELL) + 1
        y, x = np.mgrid[:rows, :columns] * float(_CELL)
        self.shape = rows, columns
        self.source = np.stack([x, y], axis=-1).reshape(-1, 2)
        self.target, self.depth, moving = _placed(head, turn, self.source)
        corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        right, below, across = corner + 1, corner + columns, corner + columns + 1
        both = np.stack([corner, right, across, corner, across, below], axis=1).reshape(-1, 3)
        self.triangles: Ints = both[moving[both].any(axis=1)]

    def moved(self, places: Floats) -> tuple[Floats, Floats]:
        """(N, 2) places of the source picture on the turned mesh, and their depths (N,)."""
        rows, columns = self.shape
        cell = np.floor(places / _CELL).astype(int).clip(0, [columns - 2, rows - 2])
        u, v = (places / _CELL - cell).T
        corner = cell[:, 1] * columns + cell[:, 0]
        middle = corner + np.where(u >= v, 1, columns)  # of the two triangles the one that holds the place
        ends = np.stack([corner, middle, corner + columns + 1], axis=1)
        shares = np.stack([1 - np.maximum(u, v), np.abs(u - v), np.minimum(u, v)], axis=1)
        return (self.target[ends] * shares[:, :, None]).sum(axis=1), (self.depth[ends] * shares).sum(axis=1)

    def drawn(self, size: tuple[int, int], fine: int) -> Ints:
        """(fine · H, fine · W) which triangle each pixel shows, drawn from the furthest to the nearest; -1: none."""
        import cv2

        drawn = np.full((fine * size[0], fine * size[1]), -1, np.int32)
        corners = self.target[self.triangles]
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        flat = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) < _FLAT
        fixed = np.round(((corners + 0.5) * fine - 0.5) * 256).astype(np.int32)
        order = np.argsort(-self.depth[self.triangles].mean(axis=1), kind="stable")
        for i in order[~flat[order]].tolist():
            cv2.fillConvexPoly(drawn, fixed[i], i, lineType=cv2.LINE_8, shift=8)
        return drawn

    def picture(self, image: Image, drawn: Ints, fine: int) -> Image:
        """The turned (H, W) picture."""
        import cv2

        seen = np.unique(drawn[drawn >= 0])
        ends = self.triangles[seen]
        target = np.concatenate([self.target[ends], np.ones((len(ends), 3, 1))], axis=2)
        maps = np.zeros((3, 2, len(self.triangles) + 1), np.float32)
        maps[:2, :, -1] = np.eye(2)  # where nothing is drawn nothing has moved
        maps[:, :, seen] = np.linalg.solve(target, self.source[ends]).transpose(1, 2, 0)  # target → source
        y, x = ((np.arange(side, dtype=np.float32) + 0.5) / fine - 0.5 for side in drawn.shape)
        grid = [x * maps[0, i][drawn] + y[:, None] * maps[1, i][drawn] + maps[2, i][drawn] for i in range(2)]
        large = cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return pixels(cv2.resize(large, image.shape[::-1], interpolation=cv2.INTER_AREA))

    def in_front(self, drawn: Ints, places: Floats, depths: Floats, fine: int) -> Bools:
        """(N,) whether places of the turned picture with these depths are seen, there or a pixel beside it."""
        import cv2

        behind = np.append(self.depth[self.triangles].mean(axis=1), np.inf)[drawn]
        furthest = cv2.dilate(behind, np.ones((2 * fine + 1, 2 * fine + 1)))
        x, y = np.round((places + 0.5) * fine - 0.5).astype(int).T
        height, width = drawn.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return np.asarray(inside & (furthest[y.clip(0, height - 1), x.clip(0, width - 1)] > depths - _HIDDEN))


def _placed(head: Head, turn: Floats, source: Floats) -> tuple[Floats, Floats, Bools]:
    """Where (N, 2) places go, their new depths (N,), and whether they move."""
    offset = source - head.center
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    share = np.hypot(*offset.T) / np.interp(angle, *head.outline, period=2 * np.pi)  # 1 on the outline
    up = np.maximum(0.0, -offset @ head.rotation[:2, 1] / np.maximum(np.hypot(*offset.T), 1e-9))
    band = _BAND + (_BAND_ABOVE - _BAND) * up**2
    away = np.clip((share - 1 - band) / (_STILL - 1 - band), 0, 1)
    moving = away < 1
    target, depth = source.copy(), np.full(len(source), _BACKGROUND)
    offset, share, band, away = offset[moving], np.maximum(share[moving], 1.0), band[moving], away[moving]
    head_place = head.center + offset * np.minimum(1.0, (1 + band) / share)[:, None]
    rim = head.center + offset / share[:, None]
    below = head.depth(rim / head.scale) + np.minimum(1.0, (share - 1) / band) * _BAND_DEPTH
    camera = np.column_stack([(head_place - head.origin) / head.scale, below]) @ turn.T
    shift = head.origin + head.scale * camera[:, :2] - head_place
    target[moving] += shift * (1 - away)[:, None]
    depth[moving] = camera[:, 2] * (1 - away) + away * _BACKGROUND
    return target, depth, moving
