"""Options that several commands share, and the checks behind them. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from facealign_cli.cli import kinds
from facealign_cli.cli.help import completing, detectors, models
from facealign_cli.errors import InputError

if TYPE_CHECKING:
    from facealign_cli.aligner import Aligner
    from facealign_cli.detectors import DetectorOptions
    from facealign_cli.formats.base import Format
    from facealign_cli.pose import PoseEstimator

Command = TypeVar("Command", bound=Callable[..., Any])


def _known_device(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    from facealign_cli.runtime import check_device

    return _or_bad_parameter(check_device, value)


def _known_detector(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from facealign_cli.detectors import known_detectors

    if value is not None and value not in known_detectors():
        raise click.BadParameter(f"unknown detector {value!r}; known: {', '.join(known_detectors())}")
    return value


def _known_model(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from facealign_cli.models.registry import read_registry

    if value is not None and not value.lower().endswith(".onnx"):
        _or_bad_parameter(read_registry().get, value)
    return value


_Checked = TypeVar("_Checked")


def _or_bad_parameter(check: Callable[[str], _Checked], value: str) -> _Checked:
    try:
        return check(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


model = click.option(
    "--model",
    metavar="NAME|FILE",
    callback=_known_model,
    shell_complete=completing(models, files=True),
    show_default="dan-light",
    help="Landmark model: a name that `model list` shows, or an .onnx file.",
)
device = click.option(
    "--device",
    metavar="DEVICE",
    default="auto",
    show_default=True,
    callback=_known_device,
    shell_complete=completing(lambda: iter(("auto", "cpu", "cuda"))),
    help="Where the landmark network runs: auto, cpu, cuda or cuda:N.",
)
threads = click.option(
    "--threads", default=1, show_default=True, type=kinds.Count(1, 256), help="Threads that a network may use."
)
focal = click.option(
    "--focal",
    metavar="PIXELS",
    type=kinds.FiniteFloat(0, min_open=True),
    show_default="mean of 500·width/640 and 500·height/480",
    help="Focal length of the camera.",
)
POSE = (
    click.option("--pose", is_flag=True, help="Add the head pose: OpenFace's columns, millimetres and radians."),
    focal,
)
"""The options that `pose_estimator` takes."""
quality = click.option(
    "--quality",
    is_flag=True,
    help="Add sharpness, brightness and contrast of each face, and the share that is cut off.",
)


def workers(default: str, without: str) -> Callable[[Command], Command]:
    """The option --workers of a command that works in several processes; None where it is not given.

    default: in words. without: what 0 means.
    """
    how = f"Processes that work at the same time. 0: {without}."
    return click.option("--workers", type=kinds.Count(0, 1024), show_default=default, help=how)


left_out = click.option(
    "--left-out",
    metavar="FILE.csv",
    type=kinds.FILE,
    help="Also write a list of all that was left out, with the reasons.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace files that exist already.")
max_pixels = click.option(
    "--max-pixels",
    default="200M",
    show_default=True,
    type=kinds.PixelCount(),
    help="Refuse pictures of more pixels: a number such as 200000000, 200M or 2e8.",
)
print_format = click.option(
    "--format",
    "format_name",
    default="table",
    show_default=True,
    type=click.Choice(["table", "json"]),
    help="Print a table, or JSON for a program.",
)

_FINDING = (
    click.option(
        "--detector",
        metavar="NAME",
        callback=_known_detector,
        shell_complete=completing(detectors),
        show_default="yunet",
        help="Face detector: yunet, mtcnn, dlib-hog, haar or boxes.",
    ),
    click.option(
        "--detector-model", metavar="FILE", type=kinds.EXISTING_FILE, help="Model file of yunet (.onnx) or haar (.xml)."
    ),
    click.option(
        "--boxes",
        metavar="PATH",
        type=kinds.EXISTING_PATH,
        help="Take the boxes of the faces from here; detect nothing.",
    ),
    click.option(
        "--min-face",
        metavar="PIXELS",
        default=30,
        show_default=True,
        type=kinds.FiniteFloat(12),
        help="Smallest face that is looked for.",
    ),
    click.option("--max-faces", type=kinds.Count(1), help="Keep only the N largest faces."),
    click.option(
        "--any-roll",
        is_flag=True,
        help="Also find heads that lie on their side or stand upside down. Detection takes four times as long.",
    ),
    click.option("--score", type=kinds.FiniteFloat(), help="Lowest score of a face, in the detector's own scale."),
    click.option(
        "--upsample",
        default=0,
        show_default=True,
        type=kinds.Count(0, 4),
        help="dlib-hog: how often the picture is doubled.",
    ),
)


def given_for_finding() -> list[str]:
    """Those of the options in `finding` that say how faces are looked for, if they were given to this command."""
    names = ("detector", "detector_model", "min_face", "max_faces", "any_roll", "score", "upsample")
    context = click.get_current_context()
    given = (name for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT)
    return [f"--{name.replace('_', '-')}" for name in given]


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """What the library finds wrong with its options, as click.UsageError."""
    try:
        yield
    except InputError as error:
        raise click.UsageError(str(error)) from error


def stacked(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator that does what these would do one above the other; help shows the options in this order."""
    return lambda command: reduce(lambda inner, decorator: decorator(inner), reversed(decorators), command)


finding = stacked(*_FINDING)
"""The options that `detector_choice` takes."""
_min_confidence = click.option(
    "--min-confidence",
    type=kinds.FiniteFloat(0, 1),
    show_default="0.5, or 0 with --boxes",
    help="Leave out faces of less confidence. 0 shows all.",
)
detection = stacked(*_FINDING[:5], _min_confidence, *_FINDING[5:])
"""The options that `make_aligner` takes for its detector."""


sigma_columns = click.option(
    "--sigma",
    is_flag=True,
    help="Say how far each point may be off, in pixels: as columns s_0 to s_67 of CSV (JSON and Parquet always have "
    "them), and as circles in a drawing.",
)


def pose_estimator(settings: dict[str, Any]) -> PoseEstimator | None:
    """Takes --pose and --focal out of a command's settings. Raises click.UsageError where only the second is given."""
    from facealign_cli.pose import PoseEstimator

    wanted, focal_px = settings.pop("pose"), settings.pop("focal")
    if focal_px is not None and not wanted:
        raise click.UsageError("--focal is about the head pose: give --pose, too")
    return PoseEstimator(focal_px) if wanted else None


def output_format(path: Path | None, name: str | None, sigma: bool = False, *, of_clip: bool = False) -> Format:
    """The format that is named, else that of the path's suffix, else JSON. Raises click.UsageError for others.

    of_clip: whether it is to hold the rows of a clip, as not every one can.

    sigma: whether CSV has the columns s_0 to s_67. Raises click.UsageError where a format has no place for them, and
    MissingDependency where a package that the format needs is not there.
    """
    from facealign_cli.formats import base
    from facealign_cli.formats.growing import holds_rows

    try:
        if path is None or name is not None:
            chosen = base.get_format(name or "json")
        else:
            chosen = base.format_for_path(path, holds_rows) if of_clip else base.format_for_path(path)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    chosen.require()
    if not sigma or chosen.name in ("json", "jsonl", "parquet"):
        return chosen
    if chosen.name != "csv":
        raise click.UsageError(f"--sigma: the format {chosen.name} has no place for it; csv, json and parquet have")
    from facealign_cli.formats import csv

    return csv.with_sigma(chosen)


def detector_choice(
    *,
    threads: int,
    detector: str | None,
    detector_model: Path | None,
    boxes: Path | None,
    min_face: float,
    max_faces: int | None,
    score: float | None,
    any_roll: bool,
    upsample: int,
) -> tuple[str, DetectorOptions]:
    """The detector that the shared options name, and its own. Raises click.UsageError where they contradict."""
    from facealign_cli.detectors import DetectorOptions
    from facealign_cli.detectors.base import DEFAULT_DETECTOR

    if boxes is not None and detector not in (None, "boxes"):
        raise click.UsageError(f"--boxes gives the boxes: it does not go with --detector {detector}")
    if boxes is not None and any_roll:
        raise click.UsageError("--any-roll looks for faces, but --boxes gives them")
    if boxes is None and detector == "boxes":
        raise click.UsageError("--detector boxes needs --boxes PATH")
    options = DetectorOptions(
        model_file=detector_model,
        boxes_file=boxes,
        min_face=min_face,
        score=score,
        any_roll=any_roll,
        upsample=upsample,
        max_faces=max_faces,
        threads=threads,
    )
    return "boxes" if boxes is not None else detector or DEFAULT_DETECTOR, options


def make_aligner(
    *, model: str | None, device: str, threads: int, min_confidence: float | None = None, **detection: Any
) -> Aligner:
    """The Aligner that the shared options describe. Raises as `detector_choice` does."""
    from facealign_cli.aligner import Aligner

    name, options = detector_choice(threads=threads, **detection)
    return Aligner(model, name, options=options, device=device, threads=threads, min_confidence=min_confidence)
