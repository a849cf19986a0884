"""Points that follow another convention than ours: mirrored ones, and pixels that are counted from 1.

Such predictions are measured like any others. Their errors look like those of a bad model, so they are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from facealign_cli.datasets.base import Sample
from facealign_cli.evaluation.base import Irregularity, Prediction
from facealign_cli.geometry import MIRRORED, is_mirrored

_FEWEST_FACES = 20
"""Of fewer, the mean place says too little."""
_AROUND_ONE_PX, _SURE_WITHIN_PX = 0.25, 0.2
"""How far the shift of all faces may be from a pixel, and its standard error at most."""


def odd_annotations(samples: Sequence[Sample]) -> Iterator[Irregularity]:
    """Annotated faces whose points are those of a mirror image."""
    if samples:
        mirrored = is_mirrored(np.array([sample.landmarks for sample in samples]))
        for row in np.flatnonzero(mirrored).tolist():
            yield Irregularity("mirrored annotation", samples[row].name, MIRRORED)


def odd_predictions(samples: Sequence[Sample], predictions: Mapping[str, Prediction]) -> Iterator[Irregularity]:
    """Predictions of a mirror image, and whether all of them lie a pixel to the right and below, or left and above."""
    found = [sample for sample in samples if predictions[sample.name].status == "ok"]
    if not found:
        return
    points = np.array([predictions[sample.name].stages[-1] for sample in found])
    mirrored = is_mirrored(points)
    for row in np.flatnonzero(mirrored).tolist():
        yield Irregularity("mirrored prediction", found[row].name, MIRRORED)
    shifts = (points - np.array([sample.landmarks for sample in found])).mean(axis=1)[~mirrored]
    if len(shifts) < _FEWEST_FACES:
        return
    shift, error = np.median(shifts, axis=0), 1.25 * shifts.std(axis=0) / np.sqrt(len(shifts))
    sign = float(np.sign(shift[0]))
    if (np.abs(shift - sign) <= _AROUND_ONE_PX).all() and (error <= _SURE_WITHIN_PX).all():
        where, first = (
            ("right of and below", "1") if sign > 0 else ("left of and above", "0, where this format counts 1")
        )
        detail = f"the predictions lie a pixel {where} the annotation: their tool may count pixels from {first}"
        yield Irregularity("shifted by a pixel", f"{len(shifts)} faces", detail)
