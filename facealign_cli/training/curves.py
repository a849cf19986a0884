"""A run's curves as a PNG, from its log."""

from __future__ import annotations

import csv
from pathlib import Path

from facealign_cli.errors import FormatError, MissingDependency
from facealign_cli.files.output import atomic_path


def draw_curves(log: Path, path: Path) -> None:
    """Draw the errors in `log` (a run's log.csv) over the faces seen. Raises MissingDependency, FormatError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("drawing curves", "matplotlib", "report") from error
    rows = _read(log)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    faces = [row["faces"] / 1000 for row in rows]
    for name in sorted(key for key in rows[0] if key.startswith(("train_stage", "train_last", "held_out"))):
        style = "-" if name.startswith("held_out") else ":"
        axes.plot(faces, [100 * row[name] for row in rows], style, label=name.replace("_", " "))
    axes.set(xlabel="faces seen, thousands", ylabel="NME, % of the inter-pupil distance", yscale="log")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    with atomic_path(path, overwrite=True) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _read(log: Path) -> list[dict[str, float]]:
    with log.open(newline="", encoding="utf-8") as file:
        try:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (ValueError, TypeError) as error:
            raise FormatError(f"{log}: not a training log: {error}") from error
    if not rows:
        raise FormatError(f"{log}: no rows in it yet")
    return rows
