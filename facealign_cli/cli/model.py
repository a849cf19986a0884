"""`facealign model`: look at models, check and time them, make smaller ones, convert others."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Group, completing, models

if TYPE_CHECKING:
    from facealign_cli.training.quantize import VariantReport


@click.group(cls=Group, takes={"file": "facealign model info {}"})
def model() -> None:
    """Look at landmark models, check and time them, make smaller ones, and convert others."""


@model.command(
    "list",
    examples="""
    facealign model list
    """,
)
@options.print_format
def list_models(format_name: str) -> None:
    """List the shipped models and mark the default with *."""
    from facealign_cli.models.registry import read_registry

    registry = read_registry()
    if format_name == "json":
        console.print_json([_entry_values(entry, registry.default) for entry in registry.models.values()])
        return
    rows = [
        (f"{entry.name}{'*' if entry.name == registry.default else ''}", _size(entry), entry.summary, entry.licence)
        for entry in registry.models.values()
    ]
    console.print_table(("model", "MB", "what it is", "licence"), rows, numbers=("MB",))


@model.command(
    examples="""
    facealign model info dan-light
    """
)
@click.argument("name", metavar="NAME|FILE", shell_complete=completing(models, files=True))
@options.print_format
def info(name: str, format_name: str) -> None:
    """Show a model's metadata, figures and card. NAME is a shipped model or an .onnx file of facealign's."""
    from facealign_cli.models.registry import load_model, read_registry

    loaded = load_model(name, device="cpu")
    metadata = loaded.metadata
    values: dict[str, object] = {
        "name": metadata.name,
        "version": metadata.version,
        "file": str(loaded.path),
        "scheme": metadata.scheme,
        "stages": metadata.stages,
        "crop": f"{metadata.crop_size} px, face over {metadata.crop_share:g} of the side",
        "licence": metadata.licence,
        "training data": metadata.training_data,
        **metadata.figures,
    }
    entries = read_registry().models
    if name in entries:
        values |= {"sha256": entries[name].sha256, "card": str(entries[name].card)}
    if format_name == "json":
        console.print_json(values)
        return
    console.print_table(("", ""), values.items())


@model.command(
    examples="""
    facealign model verify
    facealign model verify dan-light
    """
)
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1, shell_complete=completing(models, files=True))
@options.print_format
def verify(names: tuple[str, ...], format_name: str) -> None:
    """Check models: their hash, their contract, and the landmarks of a stored set of crops.

    NAME is a shipped model (all of them by default), FILE is an .onnx file. The crops are those of the .check.npz file
    beside it, which also states how many pixels another machine may be off. Exit code 1: something differs or is
    missing.
    """
    from facealign_cli.models.check import verify as verify_model
    from facealign_cli.models.registry import read_registry

    findings = [finding for name in names or tuple(read_registry().models) for finding in verify_model(name)]
    if format_name == "json":
        console.print_json([asdict(finding) for finding in findings])
    else:
        console.print_table(
            ("model", "check", "state", "detail"), [(f.model, f.what, f.state, f.detail) for f in findings]
        )
    sys.exit(1 if any(f.state in ("differs", "missing") for f in findings) else 0)


@model.command(
    "check-file",
    examples="""
    facealign model check-file mine.onnx
    """,
)
@click.argument("file", metavar="MODEL.onnx", type=kinds.EXISTING_FILE)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=kinds.FILE,
    show_default="MODEL.check.npz beside the model",
    help="The file to write.",
)
@click.option(
    "--picture",
    metavar="FILE",
    type=kinds.EXISTING_FILE,
    show_default="scikit-image's astronaut",
    help="The picture whose largest face is used.",
)
@click.option("--crops", default=6, show_default=True, type=kinds.Count(1, 100), help="How many crops.")
@click.option(
    "--tolerance",
    type=kinds.FiniteFloat(0, min_open=True),
    metavar="PIXELS",
    show_default="0.05, or 1 for -int8",
    help="How far a landmark may be off on another machine.",
)
@options.overwrite
def check_file(
    *, file: Path, output: Path | None, picture: Path | None, crops: int, tolerance: float | None, overwrite: bool
) -> None:
    """Write the crops and landmarks that `model verify` compares with, as MODEL.onnx gives them here and now.

    The crops show one face whose box is moved, scaled and turned. The astronaut is NASA's picture, in the public
    domain.
    """
    from facealign_cli.models.check import check_path, face_of, make_check, perturbed_crops, write_check
    from facealign_cli.models.registry import load_model

    picture_bgr, bbox = face_of(picture)
    check = make_check(file, perturbed_crops(load_model(file, device="cpu").frame, picture_bgr, bbox, crops), tolerance)
    write_check(check, output or check_path(file), overwrite)
    console.message(f"{len(check.crops)} crops, tolerance {check.tolerance_px:g} px: {output or check_path(file)}")


@model.command(
    examples="""
    facealign model bench dan-light dan-light-int8
    """
)
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1, shell_complete=completing(models, files=True))
@click.option(
    "--against", metavar="FILE", multiple=True, type=kinds.EXISTING_FILE, help="Also time this model. May be repeated."
)
@click.option(
    "--rounds",
    default=15,
    show_default=True,
    type=kinds.Count(1, 10000),
    help="How often each is timed; the models take turns.",
)
@click.option(
    "--batch-size",
    "batches",
    multiple=True,
    default=(1, 16),
    show_default=True,
    type=kinds.Count(1, 256),
    help="Faces at a time. May be repeated.",
)
@click.option(
    "--threads",
    multiple=True,
    default=(1, 2),
    show_default=True,
    type=kinds.Count(1, 256),
    help="Threads that a network may use. May be repeated.",
)
@options.print_format
def bench(
    *,
    names: tuple[str, ...],
    against: tuple[Path, ...],
    rounds: int,
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    format_name: str,
) -> None:
    """Time models from crop to landmarks, and the cropping beside it, on the CPU.

    NAME is a shipped model (the default one if none is given), FILE is an .onnx file. Every round times all of them in
    turn. The figures are medians. The ratio is to the first model with the same number of threads and faces.
    """
    from facealign_cli.models.registry import read_registry
    from facealign_cli.models.timing import bench as bench_models

    models = [*(names or (read_registry().default,)), *map(str, against)]
    timings = bench_models(
        models,
        batches=tuple(dict.fromkeys(batches)),
        threads=tuple(dict.fromkeys(threads)),
        rounds=rounds,
        watch=lambda turns: console.progress(turns, rounds + 1, "Rounds"),
    )
    if format_name == "json":
        console.print_json([asdict(timing) for timing in timings])
        return
    rows = [(t.model, t.what, t.threads, t.batch, f"{t.ms_per_face:.3f}", f"{t.ratio:.3f}") for t in timings]
    columns = ("model", "step", "threads", "faces", "ms per face", "ratio")
    console.print_table(columns, rows, numbers=columns[2:])


@model.command(
    examples="""
    facealign model quantize mine.onnx --data faces.h5 -o mine-int8.onnx
    facealign model quantize mine.onnx --data faces.h5 -o mine-f16.onnx --float16
    """
)
@click.argument("file", metavar="MODEL.onnx", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.onnx", required=True, type=kinds.FILE, help="The file to write.")
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
    from facealign_cli.models.registry import enter_variant
    from facealign_cli.training.pack import read_pack
    from facealign_cli.training.quantize import quantize_int8, store_float16

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


@model.command(
    examples="""
    facealign model convert DAN.npz -o dan-original.onnx --licence "research only"
    """
)
@click.argument("file", metavar="DAN.npz", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.onnx", required=True, type=kinds.FILE, help="The file to write.")
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


def _size(entry: object) -> str:
    path = entry.path  # type: ignore[attr-defined]
    return f"{path.stat().st_size / 1e6:.1f}" if path.is_file() else "missing"


def _entry_values(entry: object, default: str) -> dict[str, object]:
    from dataclasses import asdict

    values = asdict(entry)  # type: ignore[call-overload]
    return {**values, "path": str(values["path"]), "default": values["name"] == default}
