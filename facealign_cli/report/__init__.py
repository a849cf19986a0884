"""An evaluation as one HTML file that stands alone: no script, and nothing is loaded from elsewhere."""

from __future__ import annotations

import os
from string import Template

from facealign_cli.evaluation.figures import Evaluation
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.report import charts, gallery, style, tables
from facealign_cli.report.base import escape, plural

__all__ = ["render_report", "write_report"]

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$sections
</main>
</body>
</html>
""")


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
        _section("Figures", _figures_note(evaluation), tables.figures_table(evaluation)),
        _section("Beside published figures", "", tables.published_table(evaluation)),
        _section("How the errors are spread", "", _charts(evaluation)),
        _section("Parts of the face", _POINTS_NOTE, tables.points_table(evaluation)),
        _worst(evaluation),
        _section("Faces without a prediction", _WITHOUT_NOTE, gallery.without_prediction(evaluation)),
        _section("What else did not go as it should", "", gallery.irregularity_list(evaluation.irregularities)),
    ]
    title = escape(evaluation.about.get("title") or "Face landmarks: evaluation")
    return _PAGE.substitute(title=title, style=style.STYLE, sections="\n".join(filter(None, sections)))


def _section(title: str, note: str, content: str) -> str:
    """A headed part of the page; nothing where it has no content. note: plain text."""
    if not content:
        return ""
    return f"<section><h2>{escape(title)}</h2>{f'<p>{escape(note)}</p>' if note else ''}{content}</section>"


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
    return _section(
        f"The {plural(shown, 'worst face')[2:]}" if shown == 1 else f"The {shown} worst faces",
        note,
        content and key + content,
    )
