"""An evaluation as one HTML file that stands alone: no script, and nothing is loaded from elsewhere."""

from __future__ import annotations

import os

from facealign_cli.evaluation.figures import Evaluation
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.report import charts, gallery, style, tables
from facealign_cli.report.base import escape, page, plural, section

__all__ = ["render_report", "write_report"]


def write_report(path: str | os.PathLike[str], evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write the report of an evaluation; pictures that cannot be read are left out of it.

    Raises OutputError if `path` exists (unless `overwrite`) or cannot be written.
    """
    check_output(path, overwrite)
    write_bytes(path, render_report(evaluation).encode("utf-8"), overwrite)


def render_report(evaluation: Evaluation) -> str:
    """The report's HTML."""
    sections = [
        _about(evaluation),
        section("Figures", _figures_note(evaluation), tables.figures_table(evaluation)),
        section("Beside published figures", "", tables.published_table(evaluation)),
        section("How the errors are spread", "", _charts(evaluation)),
        section("Parts of the face", _POINTS_NOTE, tables.points_table(evaluation)),
        _worst(evaluation),
        section("Faces without a prediction", _WITHOUT_NOTE, gallery.without_prediction(evaluation)),
        section("What else did not go as it should", "", gallery.irregularity_list(evaluation.irregularities)),
    ]
    title = evaluation.about.get("title") or "Face landmarks: evaluation"
    return page(title, sections, style.STYLE)


def _about(evaluation: Evaluation) -> str:
    items = [(key, value) for key, value in evaluation.about.items() if key != "title" and value]
    entries = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in items)
    return f"<p>{escape(tables.status_sentence(evaluation))}</p><dl>{entries}</dl>"


def _figures_note(evaluation: Evaluation) -> str:
    return (
        "NME: mean distance of the points to the truth over the normaliser, in percent; means are over the faces that "
        "have a prediction. Those without one count as failures, and as infinite errors (∞) in the median, the "
        f"percentiles and the AUC. A failure is an error above {evaluation.threshold:g} {evaluation.normaliser}."
    )


_POINTS_NOTE = "Mean NME over the faces that have a prediction. 51 points: all but the jaw line."
_WITHOUT_NOTE = "Their truth is drawn; each counts as a failure."


def _charts(evaluation: Evaluation) -> str:
    normaliser = escape(evaluation.normaliser)
    face = charts.mean_face(evaluation)
    figures = [
        (charts.ced_chart(evaluation), "Share of faces up to an error. Dashed: the threshold of failure."),
        (charts.histogram(evaluation), "Faces by error, all sets; failures in red."),
        (face, f"Mean error of each point, all sets: the discs' radius, at the face's scale. In % of {normaliser}."),
    ]
    shown = (f"<figure>{chart}<figcaption>{text}</figcaption></figure>" for chart, text in figures if chart)
    return f'<div class="charts">{"".join(shown)}</div>'


def _worst(evaluation: Evaluation) -> str:
    shown = len(gallery.worst_rows(evaluation))
    key = '<p class="keys"><span class="truth">truth</span> <span class="guess">prediction</span></p>'
    content = gallery.worst_gallery(evaluation)
    note = f"In % of {evaluation.normaliser}, worst first."
    return section(
        f"The {plural(shown, 'worst face')[2:]}" if shown == 1 else f"The {shown} worst faces",
        note,
        content and key + content,
    )
