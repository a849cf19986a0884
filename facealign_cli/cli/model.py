"""`facealign model`: the shipped models."""

from __future__ import annotations

import json

import click

from facealign_cli.cli import console


@click.group()
def model() -> None:
    """Look at the landmark models that come with facealign."""


@model.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the shipped models; * marks the default."""
    from facealign_cli.models import read_registry

    registry = read_registry()
    if as_json:
        click.echo(json.dumps([_entry_values(entry, registry.default) for entry in registry.models.values()], indent=1))
        return
    rows = [
        (f"{entry.name}{'*' if entry.name == registry.default else ''}", _size(entry), entry.summary, entry.licence)
        for entry in registry.models.values()
    ]
    console.print_table(("model", "MB", "what it is", "licence"), rows, numbers=("MB",))


@model.command()
@click.argument("name", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(name: str, as_json: bool) -> None:
    """Show a model's metadata, figures and card. NAME is a shipped model or an .onnx file of facealign's."""
    from facealign_cli.models import load_model, read_registry

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
    if as_json:
        click.echo(json.dumps(values, indent=1))
        return
    console.print_table(("", ""), values.items())


def _size(entry: object) -> str:
    path = entry.path  # type: ignore[attr-defined]
    return f"{path.stat().st_size / 1e6:.1f}" if path.is_file() else "missing"


def _entry_values(entry: object, default: str) -> dict[str, object]:
    from dataclasses import asdict

    values = asdict(entry)  # type: ignore[call-overload]
    return {**values, "path": str(values["path"]), "default": values["name"] == default}
