"""`facealign train`: from annotated faces to an ONNX graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options, process
from facealign_cli.cli.help import Group

if TYPE_CHECKING:
    from facealign_cli.training.schedule import TrainConfig


@click.group(cls=Group, takes={"folder": "facealign train pack {} -o faces.h5"})
def train() -> None:
    """Train and export landmark networks; this needs the extra `train`."""


_TRAINING = (
    click.option(
        "--data",
        metavar="PACK",
        required=True,
        multiple=True,
        type=kinds.EXISTING_FILE,
        help="A pack that `train pack` wrote. May be repeated.",
    ),
    click.option(
        "--run",
        "folder",
        metavar="DIR",
        required=True,
        type=kinds.FILE,
        help="Folder for checkpoints, log.csv and curves.png.",
    ),
    click.option(
        "--network",
        metavar="NAME",
        default="dan-light",
        show_default=True,
        help="dan (the paper's), dan-light or dan-large.",
    ),
    click.option(
        "--steps", default=16000, show_default=True, type=kinds.Count(1), help="How many batches the run has."
    ),
    click.option("--batch-size", "batch", default=64, show_default=True, type=kinds.Count(2), help="Faces in a batch."),
    click.option(
        "--lr",
        default=2e-3,
        show_default=True,
        type=kinds.FiniteFloat(0, min_open=True),
        help="Learning rate at its highest.",
    ),
    click.option(
        "--warmup-steps",
        default=200,
        show_default=True,
        type=kinds.Count(0),
        help="Batches at the beginning in which the rate rises.",
    ),
    click.option(
        "--decay-steps",
        default=5000,
        show_default=True,
        type=kinds.Count(0),
        help="Batches at the end in which the rate falls.",
    ),
    click.option(
        "--minutes",
        default=0,
        show_default=True,
        type=kinds.FiniteFloat(0),
        help="End after this time; the rate falls over its second half. 0: end after --steps.",
    ),
    click.option(
        "--turned",
        metavar="N M",
        default=(1, 1),
        show_default=True,
        type=(kinds.Count(1), kinds.Count(1)),
        help="How often a pass draws faces that are turned by 30 to 60 degrees, and by more.",
    ),
    click.option(
        "--weight-decay", default=0.02, show_default=True, type=kinds.FiniteFloat(0), help="Weight decay of AdamW."
    ),
    click.option(
        "--average",
        default=0.9995,
        show_default=True,
        type=kinds.FiniteFloat(0, 1),
        help="Share of the old average that each step keeps.",
    ),
    click.option(
        "--augmentation",
        default="strong",
        show_default=True,
        type=click.Choice(["strong", "paper"]),
        help="strong changes geometry, light, blur, noise and covers parts; paper changes geometry alone.",
    ),
    click.option(
        "--eval-every",
        default=500,
        show_default=True,
        type=kinds.Count(1),
        help="Batches from one evaluation to the next.",
    ),
    click.option(
        "--checkpoint-every",
        default=250,
        show_default=True,
        type=kinds.Count(1),
        help="Batches from one checkpoint to the next.",
    ),
    click.option(
        "--patience",
        default=0,
        show_default=True,
        type=kinds.Count(0),
        help="Stop after N evaluations without a gain. 0: never.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        type=kinds.Count(0),
        help="Decides the first weights, the order and the augmentation.",
    ),
    click.option("--bf16", is_flag=True, help="Compute the convolutions in bfloat16."),
    click.option(
        "--teacher",
        metavar="CHECKPOINT",
        type=kinds.EXISTING_FILE,
        help="A better network: also learn from what it says of each crop. Give it again with --resume.",
    ),
    click.option(
        "--teacher-share",
        default=0.5,
        show_default=True,
        type=kinds.FiniteFloat(0, 1, min_open=True),
        help="The teacher's share of the loss.",
    ),
    options.device,
    click.option("--threads", default=1, show_default=True, type=kinds.Count(1), help="Threads that torch may use."),
    click.option(
        "--loaders",
        default=0,
        show_default=True,
        type=kinds.Count(0),
        help="Processes that make batches, for a GPU. The result is the same.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on from the folder's last checkpoint. Only --data, --steps, --minutes and --device may differ.",
    ),
)


@train.command(
    examples="""
    facealign train stage --data faces.h5 --run one --stage 1
    facealign train stage --data faces.h5 --run two --stage 2 --from one/best.ckpt
    """
)
@options.stacked(*_TRAINING)
@click.option(
    "--stage", "stage", required=True, type=kinds.Count(1, 9), help="Which stage; the ones before stay as they are."
)
@click.option(
    "--from",
    "previous",
    metavar="CHECKPOINT",
    type=kinds.EXISTING_FILE,
    help="Where the stages before come from, for stage 2 and later.",
)
def stage(stage: int, previous: Path | None, **values: Any) -> None:
    """Train one stage, as the paper does: stage 1 first, then stage 2 on top of it."""
    if (stage > 1) != (previous is not None) and not values["resume"]:
        raise click.UsageError("stage 1 starts afresh; a later stage needs --from CHECKPOINT of the one before")
    _train(stage, previous, **values)


@train.command(
    examples="""
    facealign train run --data faces.h5 --run light
    facealign train run --data faces.h5 --run light --resume
    """
)
@options.stacked(*_TRAINING)
@click.option(
    "--init",
    metavar="CHECKPOINT",
    type=kinds.EXISTING_FILE,
    help="Begin with these weights where name and shape agree; it may be another network's.",
)
@click.option("--imagenet", is_flag=True, help="Begin with ImageNet's weights in the backbone, if the network has one.")
def run(**values: Any) -> None:
    """Train all stages jointly.

    The folder of --run gets checkpoints, log.csv and curves.png. After Ctrl-C, --resume goes on where the run ended.
    """
    _train(0, None, **values)


def _train(
    stage: int,
    previous: Path | None,
    *,
    data: tuple[Path, ...],
    folder: Path,
    threads: int,
    loaders: int,
    resume: bool,
    **values: Any,
) -> None:
    from facealign_cli.training import require_packages, use_threads

    require_packages()
    from facealign_cli.training.checkpoint import load_checkpoint, model_of
    from facealign_cli.training.curves import draw_curves
    from facealign_cli.training.loop import Run
    from facealign_cli.training.pack import read_packs
    from facealign_cli.training.start import start_run

    use_threads(threads)
    pack, teacher_file = read_packs(data), values.pop("teacher")
    teacher = None if teacher_file is None else model_of(load_checkpoint(teacher_file))
    values["teacher_share"] = values["teacher_share"] if teacher is not None else 0.0
    if resume:
        run = Run.resume(folder, pack, teacher, **{key: values[key] for key in ("steps", "minutes", "device")})
    else:
        weights = {"network": values.pop("network"), "init": values.pop("init", None), "previous": previous}
        weights["imagenet"] = values.pop("imagenet", False)
        run = start_run(folder, pack, _config(stage, values), tell=console.message, teacher=teacher, **weights)
    try:
        with process.stop_on_signals(run.stop, lambda: run.stopped):
            run.train(_report, loaders)
    finally:
        if (folder / "log.csv").exists():
            draw_curves(folder / "log.csv", folder / "curves.png")
    if run.stopped:
        console.message(f"Interrupted at step {run.step}: --resume goes on from here.")
        sys.exit(console.INTERRUPTED)


def _config(stage: int, values: dict[str, Any]) -> TrainConfig:
    from facealign_cli.training.augment import PAPER, Augmentation
    from facealign_cli.training.schedule import TrainConfig

    augmentation = PAPER if values.pop("augmentation") == "paper" else Augmentation()
    return TrainConfig(stage=stage, augmentation=augmentation, **values)


def _report(row: dict[str, Any]) -> None:
    errors = ", ".join(f"{key[9:]} {100 * value:.2f} %" for key, value in row.items() if key.startswith("held_out"))
    turned = ", ".join(f"{key[4:]} {100 * value:.2f} %" for key, value in row.items() if key.startswith("yaw_"))
    turned = f"; by yaw {turned} of the face's size" if turned else ""
    console.message(
        f"step {row['step']}: held-out inter-pupil NME {errors}{turned}; training {100 * row['train_last']:.2f} %"
    )
