"""`facealign train`: from annotated faces to an ONNX graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, options, process
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output

if TYPE_CHECKING:
    from facealign_cli.training.loop import TrainConfig

PACK = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def train() -> None:
    """Train and export landmark networks (needs the extra `train`)."""


@train.command()
@click.argument("roots", metavar="ROOT...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=options.FILE, help="The HDF5 file to write.")
@click.option(
    "--size", default=256, show_default=True, type=click.IntRange(64, 1024), help="Side of a packed picture, pixels."
)
@click.option(
    "--context",
    default=3.0,
    show_default=True,
    type=options.FiniteFloat(1.5, 6),
    help="Face sizes that a packed picture spans.",
)
@click.option("--quality", default=90, show_default=True, type=click.IntRange(30, 100), help="JPEG quality.")
@options.overwrite
def pack(*, roots: tuple[Path, ...], output: Path, size: int, context: float, quality: int, overwrite: bool) -> None:
    """Pack annotated faces below each ROOT (300-W folders, or what `convert` reads) into one HDF5 file.

    Every face is validated; what is left out, and why, goes to standard error.
    """
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.training.pack import write_pack

    report = write_pack(roots, output, size=size, context=context, quality=quality, overwrite=overwrite)
    for item in report.left_out:
        console.message(f"left out: {item.name}: {item.reason}")
    if report.held_out_photo is not None:
        console.message(f"No photo's name says that it is held out: {report.held_out_photo} is, to measure a run by.")
    splits = ("train", "train (rough)", "held out")
    totals = {split: sum(counts[split] for counts in report.counts.values()) for split in splits}
    table = {**dict(sorted(report.counts.items())), "all": totals}
    rows = [(name, *(counts[split] for split in splits)) for name, counts in table.items()]
    console.print_table(("data set", *splits), rows, numbers=splits)


@train.command()
@click.argument("data", metavar="PACK", type=PACK)
@click.option("-o", "--output", required=True, type=options.FILE, help="The HDF5 file to write.")
@click.option(
    "--model", "models", metavar="NAME|FILE", multiple=True, help="Landmark models to ask [default: dan-light]."
)
@click.option(
    "--hand",
    default=0.0,
    show_default=True,
    type=options.FiniteFloat(0, 1),
    help="The models' share in the labels of training faces labelled by hand.",
)
@click.option(
    "--per-photo",
    default=4,
    show_default=True,
    type=options.Count(1),
    help="Rough faces to keep of one photo, or of one person of ytf.",
)
@click.option(
    "--worst",
    default=0.12,
    show_default=True,
    type=options.FiniteFloat(0, min_open=True),
    help="Leave out a face where label and model differ by more, in inter-pupil distances.",
)
@options.overwrite
def relabel(
    *,
    data: Path,
    output: Path,
    models: tuple[str, ...],
    hand: float,
    per_photo: int,
    worst: float,
    overwrite: bool,
) -> None:
    """Average the rough labels of PACK with trained models' landmarks, and write a pack to train the next one on."""
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.models.registry import load_model
    from facealign_cli.training.relabel import relabel_pack

    asked = [load_model(model, device="cpu", batch_size=64) for model in models or (None,)]
    report = relabel_pack(data, output, asked, hand=hand, per_photo=per_photo, worst=worst, overwrite=overwrite)
    columns = ("data set", "relabelled", "left out", "label and models differed by, %")
    rows = [(name, kept, left, f"{100 * difference:.1f}") for name, (kept, left, difference) in report.sets.items()]
    console.print_table(columns, rows, numbers=columns[1:])


_TRAINING = (
    click.option("--data", required=True, type=PACK, help="A pack that `train pack` wrote."),
    click.option(
        "--run", "folder", required=True, type=options.FILE, help="Folder for checkpoints, log.csv and curves.png."
    ),
    click.option("--network", default="dan-light", show_default=True, help="dan (the paper's) or dan-light."),
    click.option("--steps", default=16000, show_default=True, type=options.Count(1), help="Batches in all."),
    click.option("--batch-size", "batch", default=64, show_default=True, type=options.Count(2), help="Faces a batch."),
    click.option(
        "--lr", default=2e-3, show_default=True, type=options.FiniteFloat(0, min_open=True), help="Learning rate."
    ),
    click.option(
        "--warmup-steps", default=200, show_default=True, type=options.Count(0), help="Batches in which it rises."
    ),
    click.option(
        "--decay-steps",
        default=5000,
        show_default=True,
        type=options.Count(0),
        help="Last batches, in which it falls.",
    ),
    click.option("--weight-decay", default=0.02, show_default=True, type=options.FiniteFloat(0), help="AdamW's."),
    click.option(
        "--average", default=0.9995, show_default=True, type=options.FiniteFloat(0, 1), help="Of the averaged weights."
    ),
    click.option(
        "--augmentation",
        default="strong",
        show_default=True,
        type=click.Choice(["strong", "paper"]),
        help="strong: geometry, light, blur, noise, covering; paper: geometry alone.",
    ),
    click.option(
        "--eval-every", default=500, show_default=True, type=options.Count(1), help="Batches between evaluations."
    ),
    click.option(
        "--checkpoint-every",
        default=250,
        show_default=True,
        type=options.Count(1),
        help="Batches between checkpoints.",
    ),
    click.option(
        "--patience",
        default=0,
        show_default=True,
        type=options.Count(0),
        help="Stop after N evaluations without gain; 0: never.",
    ),
    click.option(
        "--seed", default=0, show_default=True, type=options.Count(0), help="Of weights, order, augmentation."
    ),
    click.option("--bf16", is_flag=True, help="Convolutions in bfloat16."),
    options.device,
    click.option("--threads", default=1, show_default=True, type=options.Count(1), help="torch's threads."),
    click.option(
        "--resume", is_flag=True, help="Go on from the folder's last checkpoint; only --steps and --device may differ."
    ),
)


@train.command()
@options.stacked(*_TRAINING)
@click.option(
    "--stage", "stage", required=True, type=click.IntRange(1, 9), help="Which stage; the ones before stay as they are."
)
@click.option("--from", "previous", type=PACK, help="Checkpoint with the stages before, for stage 2 and later.")
def stage(stage: int, previous: Path | None, **values: Any) -> None:
    """Train one stage, as the paper does: stage 1 first, then stage 2 on top of it."""
    if (stage > 1) != (previous is not None) and not values["resume"]:
        raise click.UsageError("stage 1 starts afresh; a later stage needs --from CHECKPOINT of the one before")
    _train(stage, previous, **values)


@train.command()
@options.stacked(*_TRAINING)
@click.option(
    "--init", type=PACK, help="Checkpoint, also of another network: take its weights where name and shape agree."
)
def run(**values: Any) -> None:
    """Train all stages jointly."""
    _train(0, None, **values)


def _train(
    stage: int, previous: Path | None, *, data: Path, folder: Path, threads: int, resume: bool, **values: Any
) -> None:
    from facealign_cli.training import require_packages, use_threads

    require_packages()
    from facealign_cli.training.curves import draw_curves
    from facealign_cli.training.loop import Run
    from facealign_cli.training.pack import read_pack
    from facealign_cli.training.start import start_run

    use_threads(threads)
    pack = read_pack(data)
    if resume:
        run = Run.resume(folder, pack, steps=values["steps"], device=values["device"])
    else:
        weights = {"network": values.pop("network"), "init": values.pop("init", None), "previous": previous}
        run = start_run(folder, pack, _config(stage, values), tell=console.message, **weights)
    try:
        with process.stop_on_signals(run.stop, lambda: run.stopped):
            run.train(_report)
    finally:
        if (folder / "log.csv").exists():
            draw_curves(folder / "log.csv", folder / "curves.png")
    if run.stopped:
        console.message(f"Interrupted at step {run.step}: --resume goes on from here.")
        sys.exit(console.INTERRUPTED)


def _config(stage: int, values: dict[str, Any]) -> TrainConfig:
    from facealign_cli.training.augment import PAPER, Augmentation
    from facealign_cli.training.loop import TrainConfig

    augmentation = PAPER if values.pop("augmentation") == "paper" else Augmentation()
    return TrainConfig(stage=stage, augmentation=augmentation, **values)


def _report(row: dict[str, Any]) -> None:
    errors = ", ".join(f"{key[9:]} {100 * value:.2f} %" for key, value in row.items() if key.startswith("held_out"))
    console.message(f"step {row['step']}: held-out inter-pupil NME {errors}; training {100 * row['train_last']:.2f} %")


@train.command()
@click.argument("checkpoint", type=PACK)
@click.option("-o", "--output", required=True, type=options.FILE, help="The .onnx file to write.")
@click.option("--name", required=True, help="The model's name.")
@click.option("--model-version", required=True, help="The model's version, such as 1.")
@click.option(
    "--data", type=PACK, help="A pack: compare on its held-out faces, and state their errors in the metadata."
)
@click.option("--training-data", default="", help="What it was trained on, for the metadata.")
@click.option("--licence", default="", help="Licence of the weights, for the metadata.")
@click.option("--summary", default="", help="What it is, for `model list`.")
@click.option("--index", type=options.FILE, help="Enter it also in this models.json.")
@click.option("--weights", type=options.FILE, help="Keep the weights also here, as float16, for `train run --init`.")
@options.overwrite
def export(
    *,
    checkpoint: Path,
    output: Path,
    name: str,
    model_version: str,
    data: Path | None,
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
    from facealign_cli.training.pack import read_pack

    if weights is not None:
        if weights.resolve() == output.resolve():
            raise InputError(f"{weights} cannot hold both the graph and the weights")
        check_output(weights, overwrite)
    values = load_checkpoint(checkpoint)
    model = model_of(values, trained_only=True)
    crops, figures = (None, {}) if data is None else held_out_figures(model, read_pack(data))
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
        ],
    )
