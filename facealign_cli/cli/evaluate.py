"""`facealign evaluate`: figures by the 300-W protocol, for facealign's models and for anybody's predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facealign_cli.cli import console, kinds, options
from facealign_cli.cli.help import Group
from facealign_cli.errors import OutputError

if TYPE_CHECKING:
    from facealign_cli.datasets.base import Sample
    from facealign_cli.evaluation.base import Prediction
    from facealign_cli.evaluation.figures import Evaluation
    from facealign_cli.evaluation.text import TextTable


_NORMALISER = click.option(
    "--normaliser",
    default="inter-ocular",
    show_default=True,
    type=click.Choice(["inter-pupil", "inter-ocular", "bbox-diagonal"]),
    help="What errors are divided by, in AUC, failures, percentiles and regions.",
)
_THRESHOLD = click.option(
    "--threshold",
    default=0.08,
    show_default=True,
    type=kinds.FiniteFloat(0, 1, min_open=True),
    help="Error from which a face is a failure, as a fraction of the normaliser; AUC goes up to it.",
)
_OUTPUTS = (
    click.option(
        "--split",
        default="all",
        show_default=True,
        type=click.Choice(["all", "held-out"]),
        help="held-out takes the test sets of 300-W, and of other folders only the faces that `train pack` of the same "
        "ROOT keeps from the training.",
    ),
    _NORMALISER,
    _THRESHOLD,
    click.option(
        "--json",
        "json_file",
        metavar="FILE",
        type=kinds.FILE_OR_STDOUT,
        help="Write everything, for `compare`. - prints it instead of the tables.",
    ),
    click.option(
        "--csv",
        "csv_file",
        metavar="FILE",
        type=kinds.FILE_OR_STDOUT,
        help="Write the figures of each face. - prints them instead of the tables.",
    ),
    click.option(
        "--report", "report_file", metavar="FILE.html", type=kinds.FILE, help="Write a report as one HTML file."
    ),
    options.overwrite,
)


@dataclass(frozen=True)
class _Outputs:
    """What an evaluation is to give, and what it covers: the values of the options in `_OUTPUTS`."""

    split: str
    normaliser: str
    threshold: float
    json_file: Path | None
    csv_file: Path | None
    report_file: Path | None
    overwrite: bool

    @property
    def figures(self) -> dict[str, Any]:
        """What the library takes of it."""
        return {"split": self.split, "normaliser": self.normaliser, "threshold": self.threshold}

    def check(self) -> None:
        """Raise OutputError for a file that could not be written, click.UsageError for standard output twice."""
        from facealign_cli.files.output import check_outputs

        if self.json_file == self.csv_file == kinds.STDOUT:
            raise click.UsageError("--json and --csv cannot both go to standard output")
        files = [path for path in (self.json_file, self.csv_file, self.report_file) if path != kinds.STDOUT]
        check_outputs(files, self.overwrite)

    def finish(self, evaluation: Evaluation) -> None:
        """Write the files, print the tables, and end with the exit code."""
        from facealign_cli.evaluation.files import encode_csv, encode_json
        from facealign_cli.evaluation.text import describe, evaluation_notes, evaluation_tables

        failed = self._write_files(
            partial(self._write, self.json_file, encode_json, evaluation),
            partial(self._write, self.csv_file, encode_csv, evaluation),
            partial(self._write_report, evaluation),
        )
        tables_wanted = kinds.STDOUT not in (self.json_file, self.csv_file)
        titles, tables = [describe(evaluation.about)], evaluation_tables(evaluation)
        _show(titles if tables_wanted else (), tables if tables_wanted else (), evaluation_notes(evaluation))
        if tables_wanted and any(row.status != "ok" for row in evaluation.rows):
            console.print_line()
            console.print_line("missed: faces without a prediction. They are failures, also in AUC and percentiles.")
        if failed is not None:
            raise failed
        sys.exit(console.SOME_FAILED if evaluation.failed else 0)

    def _write_files(self, *writers: Callable[[], None]) -> OutputError | None:
        """What the first that failed says: one file that cannot be written costs neither the others nor the tables."""
        failed = None
        for write in writers:
            try:
                write()
            except OutputError as error:
                failed = failed or error
        return failed

    def _write_report(self, evaluation: Evaluation) -> None:
        if self.report_file is not None:
            from facealign_cli.report import write_report

            write_report(self.report_file, evaluation, overwrite=self.overwrite)

    def _write(self, path: Path | None, data: Callable[[Evaluation], bytes], evaluation: Evaluation) -> None:
        from facealign_cli.files.output import write_bytes

        if path == kinds.STDOUT:
            console.stdout_stream().write(data(evaluation))
        elif path is not None:
            write_bytes(path, data(evaluation), self.overwrite)


def _takes_outputs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options in `_OUTPUTS` and hands their values over as one `outputs`."""

    def wrapper(**values: Any) -> Any:
        outputs = _Outputs(**{field.name: values.pop(field.name) for field in fields(_Outputs)})
        return command(outputs=outputs, **values)

    decorated: Callable[..., Any] = options.stacked(*_OUTPUTS)(update_wrapper(wrapper, command))
    return decorated


def _show(titles: Iterable[str], tables: Iterable[TextTable], notes: Iterable[str]) -> None:
    """Titles and tables on stdout, notes on stderr."""
    for note in notes:
        console.message(note)
    for title in titles:
        console.print_line(title)
    for table in tables:
        console.print_line()
        console.print_line(table.title)
        console.print_table(table.columns, table.rows, numbers=table.columns[1:])


@click.group(cls=Group, takes={"folder": "facealign evaluate dataset {}"})
def evaluate() -> None:
    """Measure landmarks against annotated faces, by the 300-W protocol."""


@evaluate.command(
    examples="""
    facealign evaluate dataset 300w
    facealign evaluate dataset 300w --init detector --report report.html
    facealign evaluate dataset 300w --model mine.onnx --json mine.json
    """
)
@click.argument("root", metavar="ROOT", type=kinds.EXISTING_PATH)
@click.option(
    "--init",
    type=click.Choice(["dataset-boxes", "ground-truth", "detector"]),
    show_default="dataset-boxes, or those of --boxes",
    help="Where a face is: in the data set's box, in the tight box of its true points, or in the detector's box.",
)
@options.workers("0", "work in this process")
@click.option("--predictions", "folder", metavar="DIR", type=kinds.FILE, help="Write the landmarks as .pts files.")
@_takes_outputs
@options.finding
@click.option(
    "--min-confidence",
    default=0.0,
    type=kinds.FiniteFloat(0, 1),
    show_default=True,
    help="Count faces of less confidence as missed.",
)
@options.model
@options.device
@options.threads
def dataset(
    *,
    root: Path,
    init: Any,
    workers: int | None,
    folder: Path | None,
    min_confidence: float,
    outputs: _Outputs,
    **aligner_options: Any,
) -> None:
    """Run a model on the annotated pictures in ROOT and measure it.

    ROOT holds 300-W folders (lfpw/testset, helen/testset, ibug, 300W/01_Indoor, …) or pictures with .pts files, or it
    is a file in a format that `convert` reads. Faces that the detector misses count as failures. Exit code 3: some
    faces could not be evaluated.
    """
    from facealign_cli.evaluation.dataset import evaluate_dataset
    from facealign_cli.evaluation.predictions import check_predictions, write_predictions

    def watch(predictions: Iterable[Prediction], samples: Sequence[Sample]) -> Iterable[Prediction]:
        if folder is not None:
            check_predictions(folder, (sample.name for sample in samples), outputs.overwrite)
        return console.progress(predictions, len(samples), "Evaluating")

    init = _init(init, aligner_options["boxes"])
    outputs.check()
    evaluation = evaluate_dataset(
        root,
        options.make_aligner(**aligner_options),
        init=init,
        workers=workers or 0,
        min_confidence=min_confidence,
        watch=watch,
        **outputs.figures,
    )
    if folder is not None:
        write_predictions(folder, evaluation.predicted, outputs.overwrite)
    outputs.finish(evaluation)


def _init(init: str | None, boxes: Path | None) -> str:
    """One of `Init`. Raises click.UsageError where --init, --boxes and the detector's options contradict."""
    if boxes is not None and init is not None:
        raise click.UsageError(f"--boxes says where the faces are: it does not go with --init {init}")
    given = options.given_for_finding()
    if given and boxes is None and init != "detector":
        raise click.UsageError(f"{', '.join(given)}: no face is looked for here; this goes with --init detector")
    return "given-boxes" if boxes is not None else init or "dataset-boxes"


@evaluate.command(
    examples="""
    facealign evaluate predictions their_pts 300w
    facealign evaluate predictions theirs.csv 300w --json theirs.json
    """
)
@click.argument("predictions", metavar="PREDICTIONS", type=kinds.FacesPath())
@click.argument("ground_truth", metavar="GROUND_TRUTH", type=kinds.FacesPath())
@_takes_outputs
def predictions(*, predictions: Path, ground_truth: Path, outputs: _Outputs) -> None:
    """Measure landmarks that any tool has written.

    PREDICTIONS is a folder of .pts files in the layout of GROUND_TRUTH, or JSON or CSV as `facealign detect` writes it.
    GROUND_TRUTH is what `evaluate dataset` takes as ROOT. Faces without a usable prediction count as failures. Exit
    code 3: there are predictions that are missing, broken or of no annotated face.
    """
    from facealign_cli.evaluation.dataset import evaluate_predictions

    outputs.check()
    outputs.finish(evaluate_predictions(predictions, ground_truth, **outputs.figures))


@evaluate.command(
    examples="""
    facealign evaluate compare mine.json theirs.json
    """
)
@click.argument("before", metavar="A.json", type=kinds.EXISTING_FILE)
@click.argument("after", metavar="B.json", type=kinds.EXISTING_FILE)
@_NORMALISER
@_THRESHOLD
@click.option(
    "--worst",
    default=10,
    show_default=True,
    type=kinds.Count(0),
    help="How many of the faces that became worse are shown.",
)
def compare(*, before: Path, after: Path, normaliser: str, threshold: float, worst: int) -> None:
    """Compare two evaluations, face by face.

    A.json and B.json are what `evaluate dataset` and `evaluate predictions` write with --json. A difference is B's
    error less A's, so B is better where it is below 0. The interval of 95 % is a paired bootstrap's over the faces.
    """
    from facealign_cli.evaluation.compare import compare as compare_evaluations
    from facealign_cli.evaluation.files import read_json
    from facealign_cli.evaluation.text import comparison_notes, comparison_tables, describe

    first, second = read_json(before), read_json(after)
    comparison = compare_evaluations(first, second, normaliser=normaliser, threshold=threshold)
    titles = [f"A: {describe(first.about)}", f"B: {describe(second.about)}"]
    _show(titles, comparison_tables(comparison, worst), comparison_notes(comparison))
