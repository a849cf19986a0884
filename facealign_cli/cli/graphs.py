"""`facealign model quantize` and `model convert`: ONNX graphs made of other files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Command

if TYPE_CHECKING:
    from facealign_cli.training.quantize import VariantReport


@click.command(
    cls=Command,
    examples="""
    facealign model quantize mine.onnx --data faces.h5 -o mine-int8.onnx
    facealign model quantize mine.onnx --data faces.h5 -o mine-f16.onnx --float16
    """,
)
@click.argument("file", metavar="MODEL.onnx", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.onnx", required=True, type=kinds.MODEL_FILE, help="The file to write.")
@click.option(
    "--data",
    metavar="PACK",
    required=True,
    type=kinds.EXISTING_FILE,
    help="Faces to work with: the training faces calibrate, the held-out ones compare.",
)
@click.option(
    "--float16", is_flag=True, help="Store large weights as float16 instead. The arithmetic stays in float32."
)
@click.option(
    "--keep-float", metavar="PATTERN", multiple=True, help="Layers that also stay in float, by name (* and ?)."
)
@click.option(
    "--crops", default=64, show_default=True, type=kinds.Count(1, 10000), help="How many training crops calibrate."
)
@click.option(
    "--tolerance",
    type=kinds.FiniteFloat(0),
    metavar="POINTS",
    show_default="0.1, or 0.01 for float16",
    help="Percentage points of NME that it may lose.",
)
@click.option(
    "--index", metavar="FILE", type=kinds.EXISTING_FILE, help="Also enter it in this models.json, beside MODEL."
)
@options.overwrite
def quantize(
    *,
    file: Path,
    output: Path,
    data: Path,
    float16: bool,
    keep_float: tuple[str, ...],
    crops: int,
    tolerance: float | None,
    index: Path | None,
    overwrite: bool,
) -> None:
    """Write an int8 variant of a model (static, QDQ), or one with its weights stored as float16.

    Convolutions and large dense layers become int8; coordinates, connection layers and heads stay in float. Both
    models go over the held-out faces of the pack, from the organisers' boxes; if the variant is worse than the
    tolerance allows, nothing is written.
    """
    from facealign_cli.training import require_packages

    if float16 and keep_float:
        raise click.UsageError("--keep-float is about int8: it does not go with --float16")
    require_packages()
    from facealign_cli.models.registry import check_entry, enter_variant, load_model
    from facealign_cli.training.pack import read_pack
    from facealign_cli.training.quantize import quantize_int8, store_float16

    if index is not None:
        origin = load_model(file, device="cpu").metadata.name
        check_entry(index, f"{origin}-{'float16' if float16 else 'int8'}", overwrite, origin=origin)
    pack = read_pack(data)
    if float16:
        report = store_float16(file, output, pack, tolerance=tolerance, overwrite=overwrite)
    else:
        report = quantize_int8(
            file, output, pack, crops=crops, keep_float=keep_float, tolerance=tolerance, overwrite=overwrite
        )
    if index is not None:
        difference = "weights stored as float16" if float16 else "int8"
        names = {"origin": report.origin, "name": report.name}
        enter_variant(index, report.path, difference=difference, figures=report.figures, **names)
    _print_variant(report)


@click.command(
    cls=Command,
    examples="""
    facealign model convert DAN.npz -o dan-original.onnx --licence "research only"
    """,
)
@click.argument("file", metavar="DAN.npz", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.onnx", required=True, type=kinds.MODEL_FILE, help="The file to write.")
@click.option("--name", metavar="NAME", show_default="the file's", help="The model's name.")
@click.option("--model-version", metavar="VERSION", default="1", show_default=True, help="The model's version.")
@click.option("--training-data", metavar="TEXT", default="", help="What it was trained on, for the metadata.")
@click.option("--licence", metavar="TEXT", default="", help="Licence of the weights, for the metadata.")
@options.overwrite
def convert(
    *,
    file: Path,
    output: Path,
    name: str | None,
    model_version: str,
    training_data: str,
    licence: str,
    overwrite: bool,
) -> None:
    """Turn the original DAN authors' weights (.npz, from Lasagne) into a model of facealign's.

    All stages, and the confidence head if the file has one, become one ONNX graph. Without a head the confidence is
    always 1. Nothing is ever unpickled.
    """
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.training.lasagne import convert_lasagne

    converted, report = convert_lasagne(
        file,
        output,
        name=name or file.stem.lower(),
        version=model_version,
        training_data=training_data,
        licence=licence,
        overwrite=overwrite,
    )
    confidence = "from its head" if converted.head is not None else "always 1: the file has no head for it"
    rows = [
        ("stages", str(len(converted.stages))),
        ("crop", f"{converted.crop_size} px, face over {converted.crop_share:.3f} of the side"),
        ("face stands off the original's place by", f"{converted.shift_px:.2f} px"),
        ("confidence", confidence),
        ("torch and ONNX Runtime differ at most by", f"{max(report.landmarks_px, report.stage1_landmarks_px):.1e} px"),
    ]
    console.print_table(("", ""), rows)


def _print_variant(report: VariantReport) -> None:
    rows = [
        (f"NME %, {what}", f"{100 * before:.3f}", f"{100 * after:.3f}", f"{100 * (after - before):+.3f}")
        for what, before, after in zip(("stage 1", "last stage"), report.before, report.after, strict=True)
    ]
    size = [value / 1e6 for value in (report.bytes_before, report.bytes_after)]
    rows.append(("size, MB", f"{size[0]:.2f}", f"{size[1]:.2f}", f"{size[1] - size[0]:+.2f}"))
    console.print_table(("", report.origin, report.name, "difference"), rows, numbers=(report.origin, report.name))
    console.message(
        f"{report.layers} layers; {report.faces} held-out faces, organisers' boxes, inter-pupil; landmarks moved by "
        f"{report.moved_px:.3f} px (at most {report.moved_most_px:.2f}), confidence by up to {report.confidence:.3f}"
    )
