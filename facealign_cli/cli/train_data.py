"""`facealign train pack`, `relabel`, `label` and `turn`: from annotated faces to what a network is trained on."""

from __future__ import annotations

import math
from pathlib import Path

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Command, completing, models

_BY_MODELS = options.stacked(
    click.argument("data", metavar="PACK", type=kinds.EXISTING_FILE),
    click.option("-o", "--output", metavar="NEW", required=True, type=kinds.FILE, help="The HDF5 file to write."),
    click.option(
        "--model",
        "models",
        metavar="NAME|FILE",
        multiple=True,
        shell_complete=completing(models, files=True),
        show_default="dan-light",
        help="Landmark model to ask. May be repeated.",
    ),
)
"""What makes a new pack out of one by what models say takes these."""


@click.command(
    cls=Command,
    examples="""
    facealign train pack corrected -o faces.h5
    facealign train pack 300w -o faces.h5 --size 320
    """,
)
@click.argument("roots", metavar="ROOT...", nargs=-1, required=True, type=kinds.EXISTING_PATH)
@click.option("-o", "--output", metavar="PACK", required=True, type=kinds.FILE, help="The HDF5 file to write.")
@click.option(
    "--size",
    metavar="PIXELS",
    default=256,
    show_default=True,
    type=kinds.Count(64, 1024),
    help="Side of a packed picture.",
)
@click.option(
    "--context",
    default=3.0,
    show_default=True,
    type=kinds.FiniteFloat(1.5, 6),
    help="How many sizes of the face a packed picture spans.",
)
@click.option(
    "--jpeg-quality",
    "quality",
    default=90,
    show_default=True,
    type=kinds.Count(30, 100),
    help="Quality of the JPEG pictures.",
)
@click.option("--unlabelled", is_flag=True, help="Also pack pictures without landmarks, for `train label`.")
@options.overwrite
def pack(
    *,
    roots: tuple[Path, ...],
    output: Path,
    size: int,
    context: float,
    quality: int,
    unlabelled: bool,
    overwrite: bool,
) -> None:
    """Pack the annotated faces below each ROOT into one HDF5 file.

    ROOT holds 300-W folders, or it is what `convert` reads. The files weights.json, info.json, boxes.json and
    points.json may lie beside a folder's faces. Every face is checked. What is left out, and why, goes to standard
    error.
    """
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.training.packing import SPLITS, write_pack

    report = write_pack(
        roots, output, size=size, context=context, quality=quality, unlabelled=unlabelled, overwrite=overwrite
    )
    for item in report.left_out:
        console.message(f"left out: {item}")
    for warning in report.warnings:
        console.message(f"Warning: {warning}")
    if report.held_out_photo is not None:
        console.message(
            f"No photo is held out by its name, so {report.held_out_photo} is held out: a training is measured on it."
        )
    totals = {split: sum(counts[split] for counts in report.counts.values()) for split in SPLITS}
    table = {**dict(sorted(report.counts.items())), "all": totals}
    rows = [(name, *(counts[split] for split in SPLITS)) for name, counts in table.items()]
    console.print_table(("data set", *SPLITS), rows, numbers=SPLITS)
    console.message(f"{console.counted(sum(totals.values()), 'face')}: {output}")


@click.command(
    cls=Command,
    examples="""
    facealign train relabel faces.h5 -o better.h5 --hand 0.5
    """,
)
@_BY_MODELS
@click.option(
    "--hand",
    default=0.0,
    show_default=True,
    type=kinds.FiniteFloat(0, 1),
    help="Share of the models in the new labels of training faces that were labelled by hand.",
)
@click.option(
    "--per-photo",
    default=4,
    show_default=True,
    type=kinds.Count(1),
    help="How many roughly labelled faces of one photo, or of one person of ytf, are kept.",
)
@click.option(
    "--worst",
    default=0.12,
    show_default=True,
    type=kinds.FiniteFloat(0, min_open=True),
    help="Leave out a face if label and model differ by more, in distances between the pupils.",
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
    """Average the rough labels of PACK with the landmarks of trained models, and write a pack to train the next one."""
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.models.registry import load_model
    from facealign_cli.training.relabel import relabel_pack

    asked = [load_model(model, device="cpu", batch_size=64) for model in models or (None,)]
    report = relabel_pack(data, output, asked, hand=hand, per_photo=per_photo, worst=worst, overwrite=overwrite)
    columns = ("data set", "relabelled", "left out", "label and models differed by, %")
    rows = [(name, kept, left, f"{100 * difference:.1f}") for name, (kept, left, difference) in report.sets.items()]
    console.print_table(columns, rows, numbers=columns[1:])


@click.command(
    cls=Command,
    examples="""
    facealign train label unlabelled.h5 -o labelled.h5 --model dan-large
    """,
)
@_BY_MODELS
@click.option(
    "--refine",
    metavar="NAME",
    multiple=True,
    default=("aflw2000",),
    show_default=True,
    help="Data sets whose labels are shapes that were laid onto the picture; they are fitted anew.",
)
@click.option(
    "--rounds",
    default=2,
    show_default=True,
    type=kinds.Count(1),
    help="How often each model starts, and its mirror image.",
)
@click.option(
    "--spread",
    default=0.03,
    show_default=True,
    type=kinds.FiniteFloat(0, min_open=True),
    help="Leave out a face on which the models differ by more, in sizes of the face.",
)
@click.option(
    "--miss",
    default=0.05,
    show_default=True,
    type=kinds.FiniteFloat(0, min_open=True),
    help="Leave out a face if the models miss its hand-placed points by more, in sizes of the face.",
)
@options.overwrite
def label(
    *,
    data: Path,
    output: Path,
    models: tuple[str, ...],
    refine: tuple[str, ...],
    rounds: int,
    spread: float,
    miss: float,
    overwrite: bool,
) -> None:
    """Let trained models label the faces of PACK that have no labels, and write a pack to train another model on.

    A point's weight says how closely the models, started from several places and on mirror images, agree on it.
    """
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.models.registry import load_model
    from facealign_cli.training.pseudo import Limits, pseudo_label

    asked = [load_model(model, device="cpu", batch_size=64) for model in models or (None,)]
    limits = Limits(spread=spread, miss=miss)
    table = pseudo_label(data, output, asked, refine=refine, rounds=rounds, limits=limits, overwrite=overwrite)
    columns = ("data set", "yaw", "kept", "left out", "models differ by, %", "miss hand points by, %", "moved by, %")
    shares = [["" if math.isnan(v) else f"{100 * v:.1f}" for v in (row.spread, row.miss, row.moved)] for row in table]
    rows = [(r.dataset, r.pose, r.kept, r.left_out, *s) for r, s in zip(table, shares, strict=True)]
    console.print_table(columns, rows, numbers=columns[2:])


@click.command(
    cls=Command,
    examples="""
    facealign train turn faces.h5 -o turned.h5
    facealign train turn faces.h5 -o turned.h5 --yaw 45 80 --copies 2
    """,
)
@click.argument("data", metavar="PACK", type=kinds.EXISTING_FILE)
@click.option("-o", "--output", metavar="NEW", required=True, type=kinds.FILE, help="The HDF5 file to write.")
@click.option(
    "--yaw",
    "yaw_range",
    metavar="LOW HIGH",
    nargs=2,
    default=(30.0, 80.0),
    show_default=True,
    type=kinds.FiniteFloat(0, 90),
    help="Degrees to either side by which the new faces are turned.",
)
@click.option(
    "--most",
    metavar="DEGREES",
    default=40.0,
    show_default=True,
    type=kinds.FiniteFloat(0, 90),
    help="Leave out faces that are turned by more already.",
)
@click.option("--copies", default=1, show_default=True, type=kinds.Count(1), help="How often each face is turned.")
@click.option("--seed", default=0, show_default=True, type=kinds.Count(0), help="Seed of the angles.")
@options.overwrite
def turn(
    *,
    data: Path,
    output: Path,
    yaw_range: tuple[float, float],
    most: float,
    copies: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Turn the training faces of PACK further in depth, and write them to a pack that trains on turned heads.

    Each picture is laid over a 3D face and turned. Landmarks that the turn hides are not learnt from, and those of the
    jaw follow the new outline. Held-out faces stay out. Train on both packs: give `train run` a --data for each.
    """
    from facealign_cli.training import require_packages

    require_packages()
    from facealign_cli.training.turn import Turns, turn_pack

    turns = Turns(yaw_range=yaw_range, most=most, copies=copies, seed=seed)
    report = turn_pack(data, output, turns, overwrite=overwrite)
    for reason, count in report.left_out.items():
        console.message(f"not turned: {count} face{'s' * (count != 1)}: {reason}")
    edges = (0, 30, 45, 60, 75, 90)
    rows = [(f"{low}-{high}", n) for low, high, n in zip(edges, edges[1:], report.counts(edges), strict=False)]
    console.print_table(("yaw", "faces"), [*rows, ("all", len(report.yaw))], numbers=("faces",))
