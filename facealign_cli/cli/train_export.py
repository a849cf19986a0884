"""`facealign train export`: from a checkpoint to an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Command
from facealign_cli.errors import InputError
from facealign_cli.files.output import check_output

if TYPE_CHECKING:
    from facealign_cli.training.export import ExportReport


@click.command(
    cls=Command,
    examples="""
    facealign train export last.ckpt -o mine.onnx --name mine --model-version 1
    """,
)
@click.argument("checkpoint", metavar="CHECKPOINT", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.onnx", required=True, type=kinds.MODEL_FILE, help="The file to write.")
@click.option("--name", metavar="NAME", required=True, help="The model's name.")
@click.option("--model-version", metavar="VERSION", required=True, help="The model's version, such as 1.")
@click.option(
    "--data",
    metavar="PACK",
    type=kinds.EXISTING_FILE,
    multiple=True,
    help="A pack. The constant error on its hand-labelled training faces is taken off the landmarks. Its held-out "
    "faces scale sigma and are compared, and their errors are stated in the metadata.",
)
@click.option(
    "--centre-with",
    "beside",
    metavar="SET SHARE",
    type=(str, kinds.FiniteFloat(0, min_open=True)),
    multiple=True,
    help="With --data: the constant error is found on the training faces of this data set, too; they count this many "
    "times what those of 300-W count. For the inner points. May be given repeatedly.",
)
@click.option(
    "--mean-with",
    "others",
    metavar="CHECKPOINT",
    type=kinds.EXISTING_FILE,
    multiple=True,
    help="Another checkpoint of the same network: the mean of their weights is written. May be given repeatedly.",
)
@click.option("--training-data", metavar="TEXT", default="", help="What it was trained on, for the metadata.")
@click.option("--licence", metavar="TEXT", default="", help="Licence of the weights, for the metadata.")
@click.option("--summary", metavar="TEXT", default="", help="What it is, for `model list`.")
@click.option("--index", metavar="FILE", type=kinds.FILE, help="Also enter it in this models.json.")
@click.option(
    "--weights", metavar="FILE", type=kinds.FILE, help="Also keep the weights, as float16, for `train run --init`."
)
@options.overwrite
def export(
    *,
    checkpoint: Path,
    output: Path,
    name: str,
    model_version: str,
    data: tuple[Path, ...],
    beside: tuple[tuple[str, float], ...],
    others: tuple[Path, ...],
    training_data: str,
    licence: str,
    summary: str,
    index: Path | None,
    weights: Path | None,
    overwrite: bool,
) -> None:
    """Write a checkpoint as one ONNX graph, if ONNX Runtime gives the same landmarks as torch."""
    from facealign_cli.training import require_packages

    if beside and not data:
        raise click.UsageError("--centre-with needs the faces of that data set: name their pack with --data")
    require_packages()
    from facealign_cli.models.registry import enter_model
    from facealign_cli.training.centre import FEWEST_FACES
    from facealign_cli.training.checkpoint import load_checkpoint, mean_of, model_of, save_weights
    from facealign_cli.training.export import export_model
    from facealign_cli.training.figures import MEAN_ERROR, held_out_figures
    from facealign_cli.training.network import multiply_adds
    from facealign_cli.training.origin import inherited
    from facealign_cli.training.pack import read_packs

    _check_outputs(output, weights, index, name, overwrite)
    values = mean_of([load_checkpoint(path) for path in (checkpoint, *others)])
    model = model_of(values, trained_only=True)
    crops, figures = held_out_figures(model, read_packs(data), dict(beside)) if data else (None, {})
    if data and MEAN_ERROR not in figures:
        console.message(
            f"The landmarks keep their mean error: the packs have fewer than {FEWEST_FACES} training faces that are "
            "labelled by hand."
        )
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
    _print_differences(report)


def _check_outputs(output: Path, weights: Path | None, index: Path | None, name: str, overwrite: bool) -> None:
    """Raise InputError, OutputError or ModelError if something that is to be written may not be, before the work."""
    from facealign_cli.models.registry import check_entry

    check_output(output, overwrite)
    if weights is not None:
        if weights.resolve() == output.resolve():
            raise InputError(f"{weights} cannot hold both the graph and the weights")
        check_output(weights, overwrite)
    if index is not None:
        check_entry(index, name, overwrite)


def _print_differences(report: ExportReport) -> None:
    rows = [
        ("landmarks", f"{report.landmarks_px:.1e} px"),
        ("stage 1", f"{report.stage1_landmarks_px:.1e} px"),
        ("confidence", f"{report.confidence:.1e}"),
        ("sigma", f"{report.sigma_px:.1e} px"),
    ]
    console.print_table(("", "torch and ONNX Runtime differ at most by"), rows)
