"""The strengths of the augmentation that `augment` does. This file loads nothing, so that the command can read it."""

from __future__ import annotations

from dataclasses import dataclass

from facealign_cli.training.bounds import check_bounds

SYMMETRIC_SETS = ("aflw2000", "webmorph", "facesynth")
"""Data sets whose labels stand where mirror symmetry has them, unlike those of 300-W and fgnet.

aflw2000's do so when they have been fitted anew (`train label`); as they come, they stand 0.4 % of the face's size to
the left of that."""


@dataclass(frozen=True)
class Augmentation:
    """Strengths. shift_sigma, scale_sigma: of the init shape's size; angle_sigma in degrees; the rest: probabilities.

    stretch_sigma, shear_sigma: of an affine change of the face itself. elastic_sigma: of a smooth random displacement
    of it, in shares of its extent, which `elastic` of the faces get. displaced: share of crops whose init is so
    far off that only the confidence learns from them; faceless: share of crops without a face.

    label_shift: how far the hand-made labels stand to the right of where mirror symmetry would have them, and as far
    down, in shares of the face's extent. Mirrored faces keep the labels' convention; without that, the two would teach
    two places. The 300-W faces in use here have 0.9 pixels to the right (`python benchmarks/label_offset.py` measures
    it), their rough labels and the sets in `SYMMETRIC_SETS` none; of down no symmetry tells, but a model that learnt
    from 300-W alone stands below webmorph's precise labels by as much as to their right.
    """

    shift_sigma: float = 0.08
    angle_sigma: float = 15.0
    scale_sigma: float = 0.12
    stretch_sigma: float = 0.06
    shear_sigma: float = 0.04
    elastic_sigma: float = 0.03
    elastic: float = 0.6
    label_shift: float = 0.0045
    light: float = 0.8
    blur: float = 0.15
    low_resolution: float = 0.15
    noise: float = 0.2
    jpeg: float = 0.1
    cover: float = 0.5
    displaced: float = 0.05
    faceless: float = 0.07

    def __post_init__(self) -> None:
        check_bounds(self, {name: (0, 180 if name == "angle_sigma" else 1) for name in self.__dataclass_fields__})


PAPER = Augmentation(
    shift_sigma=0.2,
    angle_sigma=20.0,
    scale_sigma=0.25,
    **dict.fromkeys(
        (
            "stretch_sigma",
            "shear_sigma",
            "elastic",
            "label_shift",
            "light",
            "blur",
            "low_resolution",
            "noise",
            "jpeg",
            "cover",
        ),
        0.0,
    ),
    displaced=0.0,
    faceless=0.0,
)
"""The paper's perturbations: geometry and mirror alone."""


MILD = Augmentation(
    shift_sigma=0.05,
    angle_sigma=8.0,
    scale_sigma=0.08,
    stretch_sigma=0.0,
    shear_sigma=0.0,
    elastic=0.0,
    light=0.4,
    blur=0.05,
    low_resolution=0.05,
    noise=0.08,
    jpeg=0.05,
    cover=0.5,
)
"""For the end of a training: faces in their own proportions, most of them plain to see, as those to come will be."""

AUGMENTATIONS = {"strong": Augmentation(), "mild": MILD, "paper": PAPER}
