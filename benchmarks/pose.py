"""How far the head pose is off on real faces whose yaw is known, by how far they are turned, and what it costs.

    python benchmarks/pose.py ROOT [--model NAME|FILE] [--focal-sides F]

ROOT: a folder of faces NAME.jpg with NAME.pts and `info.json` (NAME → yaw in degrees, box), such as faces cut out of
AFLW2000-3D. Only faces of the held-out split count. The landmarks are first those of the file, then the model's, placed
in the file's box. The faces are crops of pictures by unknown cameras, and their yaws were fitted without perspective;
so the focal length is F times the crop's side (4 unless told). The column `default focal` shows what becomes of them
with the command's own default, which suits whole pictures. The second table says why brows count as they do. The last
line is the time that a face takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from facealign_cli import pose
from facealign_cli.aligner import Aligner
from facealign_cli.datasets.splits import is_held_out, photo_key
from facealign_cli.files.pictures import read_image
from facealign_cli.formats import pts
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.pose import camera_matrix, estimate_pose

BANDS = ((0, 15), (15, 30), (30, 45), (45, 60), (60, 91))
"""Degrees of yaw, either way."""


@dataclasses.dataclass(frozen=True, eq=False)
class TurnedFace:
    """yaw: degrees, positive where the nose points to the left in the picture. labels, landmarks: (68, 2) pixels.

    sigma: (68,) pixels, of the model's landmarks; None where it does not say.
    """

    yaw: float
    width: int
    height: int
    labels: np.ndarray
    landmarks: np.ndarray
    sigma: np.ndarray | None


def read_faces(root: Path, aligner: Aligner) -> list[TurnedFace]:
    """The held-out faces of a folder that have landmarks and a yaw, with the model's landmarks besides."""
    faces = []
    for name, facts in sorted(json.loads((root / "info.json").read_text(encoding="utf-8")).items()):
        labels = root / f"{name}.pts"
        if "yaw" not in facts or not labels.exists() or not is_held_out(photo_key(root.name, name)):
            continue
        image = read_image(root / f"{name}.jpg")
        aligned = aligner.align_shapes(image, [init_shape_from_bbox(facts["box"])])
        truth = pts.read(labels)[0].faces[0].landmarks
        sigma = None if np.isnan(aligned.sigma[0]).any() else aligned.sigma[0]
        faces.append(TurnedFace(facts["yaw"], image.shape[1], image.shape[0], truth, aligned.landmarks[0], sigma))
    return faces


def yaw_errors(faces: Iterable[TurnedFace], points: str, sides: float | None, weighed: bool = False) -> np.ndarray:
    """(N,) degrees by which the yaw is off; 180 where there is no pose. points: "labels" or "landmarks".

    weighed: by sigma.
    """
    errors = []
    for face in faces:
        focal = None if sides is None else sides * max(face.width, face.height)
        sigma = face.sigma if weighed else None
        found = estimate_pose(getattr(face, points), camera_matrix(face.width, face.height, focal), sigma)
        errors.append(180.0 if found is None else abs(np.degrees(found.rotation_rad[1]) - face.yaw))
    return np.array(errors)


def by_yaw(faces: list[TurnedFace], sides: float) -> str:
    """Markdown table of the mean error in yaw."""
    turned = np.abs([face.yaw for face in faces])
    groups = [("all", turned >= 0), ("under 60", turned < 60)]
    groups += [(f"{low} to {high}", (turned >= low) & (turned < high)) for low, high in BANDS]
    columns = {
        "hand labels": yaw_errors(faces, "labels", sides),
        "model": yaw_errors(faces, "landmarks", sides),
        "model, by sigma": yaw_errors(faces, "landmarks", sides, weighed=True),
        "model, default focal": yaw_errors(faces, "landmarks", None),
        "the same, by sigma": yaw_errors(faces, "landmarks", None, weighed=True),
    }
    lines = ["| yaw, degrees | faces | " + " | ".join(columns) + " |", "| --- | ---: |" + " ---: |" * len(columns)]
    for name, chosen in groups:
        cells = [f"{errors[chosen].mean():.1f}" if chosen.any() else "" for errors in columns.values()]
        lines.append(f"| {name} | {chosen.sum()} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def by_brow_weight(faces: list[TurnedFace], sides: float) -> str:
    """Markdown table of the yaw's error and of what raised brows do to the pitch, a row a weight of the brows."""
    raised, ahead = pose.mean_face().copy(), pose.HeadPose((0, 0, 700), (0, 0, 0))
    raised[17:27, 1] -= 6.0
    camera = camera_matrix(640, 480)
    shown, kept = pose.project(raised, ahead, camera), pose._WEIGHTS
    lines = ["| brow weight | yaw error, model | pitch by brows raised 6 mm |", "| ---: | ---: | ---: |"]
    for weight in (1.0, 0.3, 0.1, 0.03):
        pose._WEIGHTS = np.where(kept < 1, weight, 1.0)
        error, found = yaw_errors(faces, "landmarks", sides).mean(), estimate_pose(shown, camera)
        tilt = float("nan") if found is None else np.degrees(found.rotation_rad[0])
        lines.append(f"| {weight:g} | {error:.1f} | {tilt:.1f} |")
    pose._WEIGHTS = kept
    return "\n".join(lines) + "\n"


def cost_ms(faces: list[TurnedFace], repeats: int = 5) -> float:
    """Milliseconds that the pose of a face takes: the least of some rounds."""
    rounds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        yaw_errors(faces, "landmarks", 4.0)
        rounds.append((time.perf_counter() - begin) / len(faces) * 1e3)
    return min(rounds)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--focal-sides", type=float, default=4.0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    faces = read_faces(args.root, Aligner(args.model))
    if not faces:
        sys.exit(f"{args.root}: no held-out face with landmarks and a yaw")
    sys.stdout.write(by_yaw(faces, args.focal_sides) + "\n" + by_brow_weight(faces, args.focal_sides) + "\n")
    sys.stdout.write(f"{cost_ms(faces):.3f} ms a face\n")


if __name__ == "__main__":
    main()
