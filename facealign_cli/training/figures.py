"""A network's errors on a pack's held-out faces, and the names under which a graph's metadata states them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from facealign_cli.arrays import Floats, Image
from facealign_cli.errors import InputError
from facealign_cli.metrics import nme
from facealign_cli.training.calibrate import FEWEST_FACES, calibrate_sigma
from facealign_cli.training.centre import centre_landmarks
from facealign_cli.training.measure import measured_faces, predict_crops, turned_errors
from facealign_cli.training.network import Dan
from facealign_cli.training.pack import Pack, crops_in_frame

MEAN_ERROR = "mean error taken off the landmarks, % of the face"
"""The figure that says how far the landmarks were moved; there is none where they were not."""


def stage_errors(stages: Iterable[Floats], truth: Floats) -> tuple[float, ...]:
    """The mean inter-pupil NME of each stage, as fractions. stages: each (N, 68, 2), in the pixels of truth."""
    return tuple(float(nme(stage, truth, "inter-pupil").mean()) for stage in stages)


def named_figures(errors: Mapping[int, float]) -> dict[str, float]:
    """A metadata's figures, in percent, of a stage's number → its error on the held-out faces."""
    return {f"held-out inter-pupil NME %, stage {stage}": round(100 * error, 2) for stage, error in errors.items()}


def held_out_figures(
    model: Dan, pack: Pack, beside: Mapping[str, float] | None = None
) -> tuple[Image, dict[str, float]]:
    """A pack's held-out crops in the model's frame, (N, 1, S, S) uint8, and the model's figures on them.

    Those of 300-W, if there are any; turned heads of other sets have figures of their own. The model is changed: its
    landmarks lose their constant error (see `centre`, also for `beside`), its sigma is calibrated (see `calibrate`).
    Raises InputError where no face is held out.
    """
    faces = measured_faces(pack)
    if not len(faces):
        raise InputError("no face of the packs is held out and labelled, so that the model cannot be measured on them")
    moved = centre_landmarks(model, pack, beside)
    crops, truth = crops_in_frame(faces, model.config.crop_frame)
    errors = stage_errors(predict_crops(model, crops), truth)
    figures = named_figures(dict(enumerate(errors, start=1)))
    if moved:
        figures[MEAN_ERROR] = round(100 * moved, 2)
    turned = turned_errors(model, pack.select(pack.held_out & np.isfinite(pack.yaw)))
    figures |= {f"held-out error by yaw {k.replace('_', '-')}, % of size": round(100 * v, 2) for k, v in turned.items()}
    if model.config.stages[-1].sigma and len(faces) >= FEWEST_FACES:
        figures |= calibrate_sigma(model, pack).figures()
    return crops, figures
