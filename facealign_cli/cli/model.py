"""`facealign model`: look at models, check and time them, make smaller ones, convert others."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Group, completing, models


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


def _size(entry: object) -> str:
    path = entry.path  # type: ignore[attr-defined]
    return f"{path.stat().st_size / 1e6:.1f}" if path.is_file() else "missing"


def _entry_values(entry: object, default: str) -> dict[str, object]:
    from dataclasses import asdict

    values = asdict(entry)  # type: ignore[call-overload]
    return {**values, "path": str(values["path"]), "default": values["name"] == default}
