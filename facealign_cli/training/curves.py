"""A run's curves as a PNG, from its log."""

from __future__ import annotations

from pathlib import Path

from facealign_cli.errors import MissingDependency
from facealign_cli.files.output import atomic_path
from facealign_cli.training.log import read_log


def draw_curves(log: Path, path: Path) -> None:
    """Draw the errors in `log` (a run's log.csv) over the faces seen. Raises MissingDependency, FormatError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("drawing curves", "matplotlib", "report") from error
    rows = read_log(log)
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
