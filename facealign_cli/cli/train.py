"""`facealign train`: from annotated faces to an ONNX graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options, process
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output

if TYPE_CHECKING:
    from facealign_cli.training.schedule import TrainConfig


@click.group()
def train() -> None:
    """Train and export landmark networks (needs the extra `train`)."""


_TRAINING = (
    click.option(
        "--data",
        required=True,
        multiple=True,
        type=kinds.EXISTING_FILE,
        help="A pack that `train pack` wrote; may be given repeatedly.",
    ),
    click.option(
        "--run", "folder", required=True, type=kinds.FILE, help="Folder for checkpoints, log.csv and curves.png."
    ),
    click.option(
        "--network", default="dan-light", show_default=True, help="dan (the paper's), dan-light or dan-large."
    ),
    click.option("--steps", default=16000, show_default=True, type=kinds.Count(1), help="Batches in all."),
    click.option("--batch-size", "batch", default=64, show_default=True, type=kinds.Count(2), help="Faces a batch."),
    click.option(
        "--lr", default=2e-3, show_default=True, type=kinds.FiniteFloat(0, min_open=True), help="Learning rate."
    ),
    click.option(
        "--warmup-steps", default=200, show_default=True, type=kinds.Count(0), help="Batches in which it rises."
    ),
    click.option(
        "--decay-steps",
        default=5000,
        show_default=True,
        type=kinds.Count(0),
        help="Last batches, in which it falls.",
    ),
    click.option(
        "--minutes",
        default=0.0,
        show_default=True,
        type=kinds.FiniteFloat(0),
        help="End after so long, the rate falling over the second half; 0: after --steps.",
    ),
    click.option(
        "--turned",
        default=(1, 1),
        show_default=True,
        type=(kinds.Count(1), kinds.Count(1)),
        help="How often a pass draws faces turned by 30-60 degrees, and by more.",
    ),
    click.option("--weight-decay", default=0.02, show_default=True, type=kinds.FiniteFloat(0), help="AdamW's."),
    click.option(
        "--average", default=0.9995, show_default=True, type=kinds.FiniteFloat(0, 1), help="Of the averaged weights."
    ),
    click.option(
        "--augmentation",
        default="strong",
        show_default=True,
        type=click.Choice(["strong", "paper"]),
        help="strong: geometry, light, blur, noise, covering; paper: geometry alone.",
    ),
    click.option(
        "--eval-every", default=500, show_default=True, type=kinds.Count(1), help="Batches between evaluations."
    ),
    click.option(
        "--checkpoint-every",
        default=250,
        show_default=True,
        type=kinds.Count(1),
        help="Batches between checkpoints.",
    ),
    click.option(
        "--patience",
        default=0,
        show_default=True,
        type=kinds.Count(0),
        help="Stop after N evaluations without gain; 0: never.",
    ),
    click.option("--seed", default=0, show_default=True, type=kinds.Count(0), help="Of weights, order, augmentation."),
    click.option("--bf16", is_flag=True, help="Convolutions in bfloat16."),
    click.option(
        "--teacher",
        type=kinds.EXISTING_FILE,
        help="Checkpoint of a better network: learn also from what it says of each crop; again with --resume.",
    ),
    click.option(
        "--teacher-share",
        default=0.5,
        show_default=True,
        type=kinds.FiniteFloat(0, 1, min_open=True),
        help="Its share of the loss.",
    ),
    options.device,
    click.option("--threads", default=1, show_default=True, type=kinds.Count(1), help="torch's threads."),
    click.option(
        "--loaders",
        default=0,
        show_default=True,
        type=kinds.Count(0),
        help="Processes that make batches, for a GPU; the result is the same.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on from the folder's last checkpoint; only --data, --steps, --minutes and --device may differ.",
    ),
)


@train.command()
@options.stacked(*_TRAINING)
@click.option(
    "--stage", "stage", required=True, type=click.IntRange(1, 9), help="Which stage; the ones before stay as they are."
)
@click.option(
    "--from", "previous", type=kinds.EXISTING_FILE, help="Checkpoint with the stages before, for stage 2 and later."
)
def stage(stage: int, previous: Path | None, **values: Any) -> None:
    """Train one stage, as the paper does: stage 1 first, then stage 2 on top of it."""
    if (stage > 1) != (previous is not None) and not values["resume"]:
        raise click.UsageError("stage 1 starts afresh; a later stage needs --from CHECKPOINT of the one before")
    _train(stage, previous, **values)


@train.command()
@options.stacked(*_TRAINING)
@click.option(
    "--init",
    type=kinds.EXISTING_FILE,
    help="Checkpoint, also of another network: take its weights where name and shape agree.",
)
@click.option("--imagenet", is_flag=True, help="Begin with ImageNet weights where the network's backbone has them.")
def run(**values: Any) -> None:
    """Train all stages jointly."""
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


@train.command()
@click.argument("checkpoint", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", required=True, type=kinds.FILE, help="The .onnx file to write.")
@click.option("--name", required=True, help="The model's name.")
@click.option("--model-version", required=True, help="The model's version, such as 1.")
@click.option(
    "--data",
    type=kinds.EXISTING_FILE,
    multiple=True,
    help="A pack: compare on its held-out faces, calibrate sigma on them, state their errors in the metadata.",
)
@click.option("--training-data", default="", help="What it was trained on, for the metadata.")
@click.option("--licence", default="", help="Licence of the weights, for the metadata.")
@click.option("--summary", default="", help="What it is, for `model list`.")
@click.option("--index", type=kinds.FILE, help="Enter it also in this models.json.")
@click.option("--weights", type=kinds.FILE, help="Keep the weights also here, as float16, for `train run --init`.")
@options.overwrite
def export(
    *,
    checkpoint: Path,
    output: Path,
    name: str,
    model_version: str,
    data: tuple[Path, ...],
    training_data: str,
    licence: str,
    summary: str,
    index: Path | None,
    weights: Path | None,
    overwrite: bool,
) -> None:
    """Write a checkpoint as one ONNX graph, if ONNX Runtime gives the same landmarks as torch."""
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.models.registry import enter_model
    from facealign_cli.training.checkpoint import load_checkpoint, model_of, save_weights
    from facealign_cli.training.export import export_model
    from facealign_cli.training.figures import held_out_figures
    from facealign_cli.training.network import multiply_adds
    from facealign_cli.training.origin import inherited
    from facealign_cli.training.pack import read_packs

    if weights is not None:
        if weights.resolve() == output.resolve():
            raise InputError(f"{weights} cannot hold both the graph and the weights")
        check_output(weights, overwrite)
    values = load_checkpoint(checkpoint)
    model = model_of(values, trained_only=True)
    crops, figures = held_out_figures(model, read_packs(data)) if data else (None, {})
    licence, training_data = inherited(values.get("origin"), licence, training_data)
    report = export_model(
        model,
        output,
        name=name,
        version=model_version,
        training_data=training_data,
        licence=licence,
        figures=figures,
        crops=crops,
        overwrite=overwrite,
    )
    if index is not None:
        facts = {"licence": licence, "summary": summary, "multiply_adds": multiply_adds(model)}
        enter_model(index, output, name=name, figures=figures, **facts)
    if weights is not None:
        about = {"name": f"{name} {model_version}", "licence": licence, "training_data": training_data}
        save_weights(weights, values, overwrite, about)
    differences = (report.landmarks_px, report.stage1_landmarks_px, report.confidence)
    console.print_table(
        ("", "torch and ONNX Runtime differ at most by"),
        [
            ("landmarks", f"{differences[0]:.1e} px"),
            ("stage 1", f"{differences[1]:.1e} px"),
            ("confidence", f"{differences[2]:.1e}"),
            ("sigma", f"{report.sigma_px:.1e} px"),
        ],
    )
