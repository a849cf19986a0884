"""`facealign train`: the group, and the commands that train; `train_data` and `train_export` have the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from facealign_cli.cli import console, kinds, options, process
from facealign_cli.cli.help import Group
from facealign_cli.training.augmentation import AUGMENTATIONS
from facealign_cli.training.schedule import TEACHER_SHARE, TrainConfig


@click.group(cls=Group, takes={"folder": "facealign train pack {} -o faces.h5"})
def train() -> None:
    """Train and export landmark networks; this needs the extra `train`."""


def _setting(name: str, kind: Any, text: str) -> Callable[[Any], Any]:
    """The option for a field of `TrainConfig`, whose default it has."""
    default = getattr(TrainConfig, name)
    return click.option(f"--{name.replace('_', '-')}", default=default, show_default=True, type=kind, help=text)


_TRAINING = (
    click.option(
        "--data",
        metavar="PACK",
        required=True,
        multiple=True,
        type=kinds.EXISTING_FILE,
        help="A pack that `train pack` wrote; may be given repeatedly.",
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
        help="dan (the paper's), dan-light, dan-lighter (its local head looks twice, not three times) or dan-large.",
    ),
    _setting("steps", kinds.Count(1), "How many batches the run has."),
    _setting("batch_size", kinds.Count(2), "Faces in a batch."),
    _setting("lr", kinds.FiniteFloat(0, min_open=True), "Learning rate at its highest."),
    _setting("warmup_steps", kinds.Count(0), "Batches at the beginning in which the rate rises."),
    _setting("decay_steps", kinds.Count(0), "Batches at the end in which the rate falls."),
    _setting(
        "minutes",
        kinds.FiniteFloat(0),
        "End after this time; the rate falls over its second half. 0: end after --steps.",
    ),
    _setting(
        "turned",
        (kinds.Count(1), kinds.Count(1)),
        "How often a pass draws faces that are turned by 30 to 60 degrees, and by more.",
    ),
    _setting("weight_decay", kinds.FiniteFloat(0), "Weight decay of AdamW."),
    _setting("average", kinds.FiniteFloat(0, 1), "Share of the old average that each step keeps."),
    click.option(
        "--augmentation",
        default="strong",
        show_default=True,
        type=click.Choice(list(AUGMENTATIONS)),
        help="strong changes geometry, light, blur, noise and covers parts; mild does little of that, for the end of a "
        "training; paper changes geometry alone.",
    ),
    _setting("eval_every", kinds.Count(1), "Batches from one evaluation to the next."),
    _setting("checkpoint_every", kinds.Count(1), "Batches from one checkpoint to the next."),
    _setting("patience", kinds.Count(0), "Stop after N evaluations without a gain. 0: never."),
    _setting("seed", kinds.Count(0), "Decides the first weights, the order and the augmentation."),
    click.option(
        "--bf16",
        is_flag=True,
        default=TrainConfig.bf16,
        help="Compute the convolutions in bfloat16. Slow where the processor has no instructions for it.",
    ),
    click.option(
        "--teacher",
        metavar="CHECKPOINT",
        type=kinds.EXISTING_FILE,
        help="A better network that takes crops of the same size: also learn from what it says of each crop. Give it "
        "again with --resume.",
    ),
    click.option(
        "--teacher-share",
        default=TEACHER_SHARE,
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
        help="Go on from the folder's last checkpoint; only --data, --steps, --minutes and --device may differ.",
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
@click.option(
    "--warm-start",
    is_flag=True,
    help="Begin with the weights of the stage before, which takes fewer passes. In the paper a stage begins afresh.",
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
    help="Checkpoint, also of another network: take its weights where name and shape agree.",
)
@click.option("--imagenet", is_flag=True, help="Begin with ImageNet weights where the network's backbone has them.")
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
    from facealign_cli.batch.lock import lock_folder
    from facealign_cli.files.output import make_folder
    from facealign_cli.files.storage import LocalStorage
    from facealign_cli.training.checkpoint import load_checkpoint, model_of
    from facealign_cli.training.curves import draw_curves
    from facealign_cli.training.device import computes_in_bf16
    from facealign_cli.training.loop import Run
    from facealign_cli.training.pack import read_packs
    from facealign_cli.training.start import Beginning, start_run

    use_threads(threads)
    pack, teacher_file = read_packs(data), values.pop("teacher")
    teacher = None if teacher_file is None else model_of(load_checkpoint(teacher_file))
    values["teacher_share"] = values["teacher_share"] if teacher is not None else 0.0
    if resume:
        run = Run.resume(folder, pack, teacher, **_resumed(stage, values))
    else:
        given = {key: values.pop(key) for key in ("init", "imagenet", "warm_start") if key in values}
        begin, network = Beginning(previous, **given), values.pop("network")
        config = _config(stage, values)
        run = start_run(folder, pack, config, network=network, begin=begin, tell=console.message, teacher=teacher)
    if run.config.bf16 and not computes_in_bf16(run.device):
        console.message(
            "This processor has no instructions for bfloat16: with --bf16 the training takes several times as long "
            "here. A run that is begun without --bf16 is faster."
        )
    with lock_folder(LocalStorage(), str(make_folder(folder))):
        try:
            with process.stop_on_signals(run.stop, lambda: run.stopped):
                run.train(_report, loaders)
        finally:
            if (folder / "log.csv").exists():
                draw_curves(folder / "log.csv", folder / "curves.png")
    if run.stopped:
        console.message(f"Interrupted at step {run.step}: --resume goes on from here.")
        sys.exit(console.INTERRUPTED)
    console.message(f"Done at step {run.step}: the weights with the least error are in {folder / 'best.ckpt'}.")


def _resumed(stage: int, values: dict[str, Any]) -> dict[str, Any]:
    """What `Run.resume` takes: the options that were given. The others stay as the run has them."""
    context = click.get_current_context()
    given = {k: v for k, v in values.items() if context.get_parameter_source(k) is not ParameterSource.DEFAULT}
    changes: dict[str, Any] = {key: given.pop(key) for key in ("steps", "minutes", "device") if key in given}
    same = {"stage": stage} | {key: value for key, value in given.items() if key not in _OF_THE_BEGINNING}
    if "augmentation" in same:
        same["augmentation"] = AUGMENTATIONS[same["augmentation"]]
    return {"same": same, **changes}


_OF_THE_BEGINNING = ("init", "imagenet", "warm_start")
"""Options that a resumed run has behind it."""


def _config(stage: int, values: dict[str, Any]) -> TrainConfig:
    augmentation = AUGMENTATIONS[values.pop("augmentation")]
    return TrainConfig(stage=stage, augmentation=augmentation, **values)


def _report(row: dict[str, Any]) -> None:
    errors = ", ".join(f"{key[9:]} {100 * value:.2f} %" for key, value in row.items() if key.startswith("held_out"))
    turned = ", ".join(f"{key[4:]} {100 * value:.2f} %" for key, value in row.items() if key.startswith("yaw_"))
    turned = f"; by yaw {turned} of the face's size" if turned else ""
    console.message(
        f"step {row['step']}: held-out inter-pupil NME {errors}{turned}; training {100 * row['train_last']:.2f} %"
    )
