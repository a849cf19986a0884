"""What each idea brings: short trainings that differ from the shipped recipe in one thing, measured held out.

    python benchmarks/ablation.py PACK --init CHECKPOINT -o FOLDER [--hard PACK] [--rough PACK] [--more PACK]
        [--labelled PACK] [--profiled PACK] [--taught PACK] [--teacher CHECKPOINT] [--steps N] [--only NAME...]

PACK: as the shipped model's, by `train pack` and `train relabel --hand`. --init: the weights that all variants but one
begin with, wherever name and shape agree; what a variant changes begins with random weights, so it looks a little worse
than it is. The other packs are for the rows that train on these, and a row whose pack is not given is left out:
--hard: the same faces with the hand-made labels as they are. --rough: the 300-W folders alone, nothing relabelled.
--more: turned heads and other sets, by `train pack` of aflw2000, fgnet, webmorph and facesynth; its held-out faces are
measured in every row, by yaw. --labelled: faces without hand-made labels, by `train label`. --profiled: turned
copies of the faces of PACK and of --more, by `train turn`. --taught: PACK once more, relabelled by dan-large
(`train relabel --model dan-large --hand 0.5`). --teacher: a network that sees the same crops, for live teaching.

Every variant trains with the same seed and so the same faces in the same order, for `--steps` batches of 64 of which
the last 60 % bring the learning rate down, in a folder of its own; one that is finished already is not trained again,
so the table grows run by run. Short runs tell what learns fast; what pays only after many passes (regularisation above
all) looks worse here than it is.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from facealign_cli.training import layers
from facealign_cli.training.augmentation import Augmentation
from facealign_cli.training.checkpoint import load_checkpoint, model_of, transfer_weights
from facealign_cli.training.config import NetworkConfig, network_config
from facealign_cli.training.loop import Run, new_model
from facealign_cli.training.measure import YAW_BANDS
from facealign_cli.training.network import Dan, multiply_adds
from facealign_cli.training.pack import Pack, joined, read_pack
from facealign_cli.training.schedule import TrainConfig

SHIPPED = network_config("dan-light")


@dataclass(frozen=True)
class Variant:
    """One row. network: the whole architecture; training, augmentation: fields to change.

    packs: of `PACKS`, the ones that it is trained on. init: begin with the weights of `--init`. whole_points: each
    point that has a weight counts whole. least_normaliser: instead of `layers.LEAST_NORMALISER`. teacher: learn
    from `--teacher`, too.
    """

    what: str
    network: NetworkConfig = SHIPPED
    training: dict[str, Any] | None = None
    augmentation: dict[str, Any] | None = None
    packs: tuple[str, ...] = ("labels",)
    init: bool = True
    whole_points: bool = False
    least_normaliser: float = layers.LEAST_NORMALISER
    teacher: bool = False


def stages(**changes: Any) -> NetworkConfig:
    """The shipped network with changes to every stage."""
    return replace(SHIPPED, stages=tuple(replace(stage, **changes) for stage in SHIPPED.stages))


def last_stage(**changes: Any) -> NetworkConfig:
    """The shipped network with changes to its last stage."""
    return replace(SHIPPED, stages=(*SHIPPED.stages[:-1], replace(SHIPPED.stages[-1], **changes)))


def first_stage(**changes: Any) -> NetworkConfig:
    """The shipped network with changes to its first stage."""
    return replace(SHIPPED, stages=(replace(SHIPPED.stages[0], **changes), *SHIPPED.stages[1:]))


_SECOND = SHIPPED.stages[1]
_MORE = ("labels", "more")
_DRAWN: dict[str, Any] = {"training": {"turned": (2, 4)}}
VARIANTS: dict[str, Variant] = {
    "shipped": Variant("the shipped recipe"),
    "random": Variant("random weights to begin with", init=False),
    "no-local-head": Variant("stage 2 without the local head", last_stage(local=0, local_steps=0)),
    "one-look": Variant("the local head looks once", last_stage(local_steps=1)),
    "three-looks": Variant("the local head looks three times", last_stage(local_steps=3)),
    "third-stage": Variant("a third stage like the second", replace(SHIPPED, stages=(*SHIPPED.stages, _SECOND))),
    "one-stage": Variant(
        "one stage: the second's net on the crop at 80 px",
        replace(SHIPPED, stages=(replace(_SECOND, frame_size=80, frame_share=0.5, feature_side=0),)),
    ),
    "stage1-wide": Variant("stage 1 with 32, 64, 64 channels", first_stage(channels=(32, 64, 64))),
    "two-blocks": Variant("two blocks at 12x12 in stage 2", last_stage(blocks=(1, 2, 2))),
    "one-block": Variant("one block at 6x6 in stage 2", last_stage(blocks=(1, 1, 1))),
    "wide": Variant("half as many channels again in stage 2", last_stage(stem=48, channels=(48, 96, 144))),
    "narrow": Variant("half the channels in stage 2", last_stage(stem=16, channels=(16, 32, 48))),
    "large-frame": Variant("stage 2 at 128 px", last_stage(frame_size=128, feature_side=16)),
    "small-frame": Variant("stage 2 at 80 px", last_stage(frame_size=80, feature_side=10)),
    "small-crop": Variant("crop of 128 px, stage 1 at 64 px", replace(first_stage(frame_size=64), crop_size=128)),
    "no-elastic": Variant("no elastic deformation", augmentation={"elastic": 0.0}),
    "no-stretch": Variant(
        "neither stretch nor elastic deformation",
        augmentation={"elastic": 0.0, "stretch_sigma": 0.0, "shear_sigma": 0.0},
    ),
    "no-cover": Variant("no covering patches", augmentation={"cover": 0.0}),
    "plain-mirror": Variant("mirrored faces without the labels' offset", augmentation={"label_shift": 0.0}),
    "no-dropout": Variant("no dropout", stages(dropout=0.0)),
    "little-decay": Variant("weight decay 0.0001", training={"weight_decay": 1e-4}),
    "joint-gradient": Variant(
        "gradients pass through the landmarks between stages", replace(SHIPPED, detach_landmarks=False)
    ),
    "paper-fit": Variant(
        "the similarity fitted as in the paper, landmarks onto mean shape", replace(SHIPPED, fit_landmarks=False)
    ),
    "hard-labels": Variant("hand-made labels as they are", packs=("hard",)),
    "rough-labels": Variant("300-W faces alone, rough labels as they came", packs=("rough",)),
    "more": Variant("turned heads and other sets besides", packs=_MORE),
    "more-turned": Variant(
        "the same, heads turned by 30 and 60 degrees drawn twice and four times", packs=_MORE, **_DRAWN
    ),
    "labelled": Variant("the same, and faces labelled by models", packs=(*_MORE, "labelled"), **_DRAWN),
    "profiled": Variant("turned heads and other sets, and turned copies", packs=(*_MORE, "profiled")),
    "profiled-alone": Variant("turned copies, no turned heads", packs=("labels", "profiled")),
    "whole-points": Variant("turned heads and other sets, every point counts whole", packs=_MORE, whole_points=True),
    "inter-pupil": Variant(
        "turned heads and other sets, errors over the inter-pupil distance alone", packs=_MORE, least_normaliser=1e-3
    ),
    "no-sigma": Variant("turned heads and other sets, no sigma", last_stage(sigma=False), packs=_MORE),
    "taught": Variant("labels averaged with those of dan-large, and other sets", packs=("taught", "more")),
    "live-teacher": Variant(
        "turned heads and other sets, a teacher beside", packs=_MORE, training={"teacher_share": 0.5}, teacher=True
    ),
}

PACKS = ("labels", "hard", "rough", "more", "labelled", "profiled", "taught")


def pack_of(variant: Variant, packs: dict[str, Pack]) -> Pack:
    """The faces of a variant: those that it trains on, and in any case the held-out ones of "more"."""
    used = [packs[name] for name in variant.packs]
    if "more" in packs and "more" not in variant.packs:
        used.append(packs["more"].select(packs["more"].held_out))
    pack = joined(used)
    return replace(pack, weights=(pack.weights > 0).astype(np.float32)) if variant.whole_points else pack


def train(variant: Variant, folder: Path, pack: Pack, config: TrainConfig, weights: tuple[Path, Path | None]) -> None:
    """Train a variant, going on where an earlier call stopped. weights: those to begin with, and the teacher's."""
    init, teaching = weights
    config = replace(config, **(variant.training or {}))
    teacher = model_of(load_checkpoint(teaching)) if variant.teacher and teaching is not None else None
    config = replace(config, augmentation=replace(Augmentation(), **(variant.augmentation or {})))
    if (folder / "last.ckpt").exists():
        run = Run.resume(folder, pack, teacher)
    else:
        model = new_model(variant.network, pack)
        if variant.init:
            transfer_weights(model, load_checkpoint(init))
        run = Run(folder, model, config, pack, teacher=teacher)
    if run.step < run.config.steps:
        with patch.object(layers, "LEAST_NORMALISER", variant.least_normaliser):
            run.train(lambda row: print(folder.name, row, flush=True))


def last_row(folder: Path) -> dict[str, str]:
    """The last line of a run's log."""
    with open(folder / "log.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))[-1]


def table(rows: list[tuple[str, dict[str, str], int]]) -> str:
    """Markdown. rows: what, the log's last line, multiply-adds."""
    number: Callable[[str], str] = lambda value: f"{100 * float(value):.2f}"  # noqa: E731
    base = next((row for what, row, _ in rows if what == VARIANTS["shipped"].what), None)
    turned = [f"yaw_{name}" for name in YAW_BANDS if any(row.get(f"yaw_{name}") for _, row, _ in rows)]
    heads = ["held out, inter-pupil NME %", "to shipped", "stage 1", "training faces"]
    heads += [f"{key[4:].replace('_', '-')} degrees, % of the face's size" for key in turned]
    lines = [f"| variant | {' | '.join(heads)} | M multiply-adds |", "| --- " * (len(heads) + 2) + "|"]
    for what, row, cost in rows:
        final = [key for key in row if key.startswith("held_out_stage")][-1]
        change = "" if base is None else f"{100 * (float(row[final]) - float(base['held_out_stage2'])):+.2f}"
        cells = [what, number(row[final]), change, number(row["held_out_stage1"]), number(row["train_last"])]
        cells += [number(row[key]) if row.get(key) else "" for key in turned]
        lines.append(f"| {' | '.join(cells)} | {cost / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is asked for and print the table of all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    for name in PACKS[1:]:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args(arguments)
    files = {"labels": options.pack} | {name: getattr(options, name) for name in PACKS[1:]}
    packs = {name: read_pack(file) for name, file in files.items() if file is not None}
    config = TrainConfig(
        steps=options.steps,
        lr=1e-3,
        warmup_steps=50,
        decay_steps=options.steps * 3 // 5,
        weight_decay=0.05,
        average=0.99,
        bf16=True,
        eval_every=options.steps,
    )
    rows = []
    for name, variant in VARIANTS.items():
        folder = options.output / name
        given = packs.keys() >= {*variant.packs} and not (variant.teacher and options.teacher is None)
        if name in options.only and given:
            train(variant, folder, pack_of(variant, packs), config, (options.init, options.teacher))
        if (folder / "log.csv").exists():
            rows.append((variant.what, last_row(folder), multiply_adds(Dan(variant.network))))
    text = table(rows)
    (options.output / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
