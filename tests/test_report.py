"""The HTML report: it stands alone, escapes what it is given, and its figures are the evaluation's."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.datasets import Sample
from facealign_cli.datasets.protocol import FOLDER_SIZES
from facealign_cli.errors import OutputError
from facealign_cli.evaluation.base import Irregularity, Prediction
from facealign_cli.evaluation.figures import Evaluation, evaluate, summarise
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.report import charts, gallery, render_report, tables, write_report
from facealign_cli.report.base import nice_ticks

EVIL = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """Collects the links, the tags and the tables of a page: rows of cell texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [(tag, value or "") for name, value in attrs if name.rpartition(":")[2] in ("src", "href")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(" ".join(self._cell))
            self._cell = None


def make_samples(folder: Path, names: list[str], picture: bool = True) -> list[Sample]:
    """Samples around mean shapes of growing size, in pictures of 200 by 160 pixels."""
    samples = []
    for i, name in enumerate(names):
        path = folder / name
        if picture:
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((160, 200, 3), 60 + i, np.uint8))
        samples.append(Sample(name, "some", f"some/{i}", path, MEAN_SHAPE * (0.6 + 0.01 * i) + (100, 80)))
    return samples


def make_evaluation(samples: list[Sample], *, missed: tuple[int, ...] = (), about: str = "a test") -> Evaluation:
    """Predictions that lie 1, 2, 3 … pixels off; the faces `missed` have none."""
    right = np.array([1.0, 0.0])
    predictions = {
        s.name: Prediction(
            "ok", stages=(s.landmarks + (2 * i + 2) * right, s.landmarks + (i + 1) * right), confidence=0.9
        )
        for i, s in enumerate(samples)
    }
    for i in missed:
        predictions[samples[i].name] = Prediction("missed", detail="nothing there")
    return evaluate(samples, predictions, about={"title": about, "model": "some model"})


def complete_300w() -> Evaluation:
    """All of the full test set, made of one face each time a little worse."""
    row = make_evaluation(make_samples(Path("/nowhere"), ["a.png"], picture=False)).rows[0]
    rows = []
    for folder in ("lfpw/testset", "helen/testset", "ibug"):
        for i in range(FOLDER_SIZES[folder]):
            worse = {key: value * (1 + i / 100) for key, value in row.errors_px.items()}
            rows.append(replace(row, name=f"{folder}/{i}.png", folder=folder, errors_px=worse))
    summaries = summarise(rows, "inter-ocular", 0.08)
    return Evaluation({"model": "some model"}, "inter-ocular", 0.08, tuple(rows), summaries)


def test_stands_alone(tmp_path: Path) -> None:
    text = render_report(make_evaluation(make_samples(tmp_path, ["a.png", "b/ü x.png", "c.png"]), missed=(2,)))
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert {tag for tag, _link in page.links} == {"a", "image"}
    assert all(link.startswith("file:///") for tag, link in page.links if tag == "a")
    assert all(link.startswith("data:image/jpeg;base64,") for tag, link in page.links if tag == "image")


def test_links_lead_to_the_pictures(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_samples(tmp_path, ["b/ü #x.png"]))
    links = [link for tag, link in Page(render_report(evaluation)).links if tag == "a"]
    assert links == [(tmp_path / "b/ü #x.png").as_uri()]


def test_everything_given_is_escaped() -> None:
    samples = [replace(s, name=f"{EVIL}{i}") for i, s in enumerate(make_samples(Path("/no"), ["a", "b"], False))]
    evaluation = make_evaluation(samples, missed=(1,), about=EVIL)
    rows = tuple(replace(row, detail=EVIL if row.status == "missed" else "", folder=EVIL) for row in evaluation.rows)
    evaluation = replace(
        evaluation,
        rows=rows,
        summaries=summarise(rows, "inter-ocular", 0.08),
        about={"title": EVIL, "model": EVIL, EVIL: EVIL},
        irregularities=(Irregularity(EVIL, EVIL, EVIL),),
    )
    text = render_report(evaluation)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;") >= 12


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    samples = [replace(s, name="odd\udcff.png") for s in make_samples(tmp_path, ["a.png"])]
    write_report(tmp_path / "r.html", make_evaluation(samples))
    assert "odd?.png" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_figures_are_the_evaluations(tmp_path: Path) -> None:
    names = [f"{folder}/{i}.png" for folder in ("x", "y") for i in range(4)]
    evaluation = make_evaluation(make_samples(tmp_path, names), missed=(3,))
    figures, _published, points = Page(render_report(evaluation)).tables
    for summary, cells in zip(evaluation.summaries, figures[1:], strict=True):
        spread = summary.distributions["inter-ocular"]
        means = [summary.distributions[n].mean for n in ("inter-pupil", "inter-ocular", "bbox-diagonal")]
        values = [*means, spread.median, spread.p90, spread.p95, spread.p99, summary.auc, summary.failure_rate]
        shown = ["∞" if value == np.inf else f"{100 * value:.2f}" for value in values]
        assert cells == [summary.title, str(summary.n), str(summary.missed), *shown]
    for summary, cells in zip(evaluation.summaries, points[1:], strict=True):
        values = [summary.nme[p]["inter-ocular"] for p in evaluation.points]
        assert cells == [summary.title, *(f"{100 * value:.2f}" for value in values)]
    assert "stage1" in " ".join(points[0])


def test_every_figure_names_its_normaliser(tmp_path: Path) -> None:
    figures, published, points = Page(render_report(make_evaluation(make_samples(tmp_path, ["a.png"])))).tables
    for head in (*figures[0][3:], *published[0][1:-1], *points[0][1:]):
        assert re.search(r"inter-pupil|inter-ocular|bbox-diagonal", head), head


def test_complete_sets_stand_beside_the_published_figures() -> None:
    evaluation = complete_300w()
    published = Page(render_report(evaluation)).tables[1]
    full, common, challenging = (
        next(s for s in evaluation.summaries if s.name == name) for name in ("full", "common", "challenging")
    )
    means = [
        f"{100 * s.distributions[normaliser].mean:.2f}"
        for normaliser in ("inter-pupil", "inter-ocular")
        for s in (common, challenging, full)
    ]
    rates = [f"{100 * full.auc:.2f}", f"{100 * full.failure_rate:.2f}"]
    assert published[1][:-1] == ["some model", *means, *rates]
    assert published[2][:-1] == ["DAN, two stages", "4.42", "7.57", "5.03", "3.19", "5.24", "3.59", "55.3", "1.16"]


def test_the_published_auc_is_compared_at_its_own_threshold() -> None:
    base = complete_300w()
    other = replace(base, normaliser="bbox-diagonal", threshold=0.02)
    other = replace(other, summaries=summarise(other.rows, "bbox-diagonal", 0.02))
    ours, theirs = (Page(tables.published_table(e)).tables[0][1] for e in (base, other))
    assert ours == theirs


def test_an_incomplete_set_is_not_compared(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_samples(tmp_path, ["ibug/a.png", "ibug/b.png"]))
    text = render_report(evaluation)
    assert "None of the three test sets is complete" in text
    assert Page(text).tables[1][1][0] == "DAN, two stages"
    assert "challenging (incomplete: 2 of 135)" in text


@pytest.mark.parametrize("count", [1, 2])
def test_all_missed(tmp_path: Path, count: int) -> None:
    samples = make_samples(tmp_path, [f"{i}.png" for i in range(count)])
    text = render_report(make_evaluation(samples, missed=tuple(range(count))))
    assert f"{count} no face found" in text
    assert "worst face" not in text and "Mean error of each point" not in text
    assert text.count("no face found (nothing there)") == count


def test_one_face(tmp_path: Path) -> None:
    text = render_report(make_evaluation(make_samples(tmp_path, ["a.png"])))
    assert "1 face, 1 with a prediction." in text and "The worst face" in text


def test_without_faces() -> None:
    text = render_report(Evaluation({}, "inter-ocular", 0.08, (), ()))
    assert "0 faces" in text


def test_size_is_bounded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    names = [f"folder{i % 30}/{i}.png" for i in range(3000)]
    samples = [replace(s, image_path=tmp_path / "a.png") for s in make_samples(tmp_path, names, picture=False)]
    samples = [replace(s, landmarks=MEAN_SHAPE * 4 + 350) for s in samples]
    evaluation = make_evaluation(samples, missed=tuple(range(0, 3000, 2)))
    text = render_report(replace(evaluation, irregularities=tuple(Irregularity("left out", n) for n in names)))
    assert len(text) < 4e6
    assert Page(text).tags.count("image") == gallery.WORST + gallery.WITHOUT


def test_worst_faces_come_first(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_samples(tmp_path, [f"{i}.png" for i in range(30)]))
    worst = gallery.worst_rows(evaluation)
    errors = [row.nme() for row in worst]
    assert len(worst) == 24 and errors == sorted(errors, reverse=True)
    assert errors[0] == max(row.nme() for row in evaluation.rows)


def test_an_unreadable_picture_is_left_out(tmp_path: Path) -> None:
    text = render_report(make_evaluation(make_samples(tmp_path, ["a.png"], picture=False)))
    assert "no picture" in text and "<image" not in text


def test_crop_holds_the_truth_and_lies_on_the_picture(tmp_path: Path) -> None:
    row = make_evaluation(make_samples(tmp_path, ["a.png"])).rows[0]
    left, top, side = gallery.crop_square(row)
    inside = (row.truth >= (left, top)) & (row.truth <= (left + side - 1, top + side - 1))
    assert inside.all()
    data = gallery.picture_data(row.image_path, left, top, side)
    assert data is not None
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (256, 256, 3)
    assert abs(int(image[128, 128, 0]) - 60) <= 2


def test_a_wild_prediction_does_not_blow_up_the_crop(tmp_path: Path) -> None:
    row = make_evaluation(make_samples(tmp_path, ["a.png"])).rows[0]
    assert row.landmarks is not None
    wild = replace(row, landmarks=row.landmarks * 1e6)
    assert gallery.crop_square(wild)[2] < 4 * 1.25 * float(np.ptp(row.truth, axis=0).max())


def test_ced_curve_ends_at_the_share_within_reach() -> None:
    evaluation = complete_300w()
    chart = charts.ced_chart(evaluation)
    full = re.findall(r'class="curve c0" d="([^"]+)"', chart)[0]
    height = float(re.findall(r"V([\d.]+)", full)[-1])
    errors = np.array([row.nme() for row in evaluation.rows])
    assert 100 * (208 - height) / 198 == pytest.approx(100 * (errors <= 0.12).mean(), abs=0.1)


def test_histogram_counts_every_face(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_samples(tmp_path, [f"{i}.png" for i in range(30)]), missed=(1, 2))
    counts = [int(c) for c in re.findall(r"<title>(\d+)</title>", charts.histogram(evaluation))]
    beyond = sum(row.nme() >= 0.12 for row in evaluation.rows)
    assert sum(counts) == 30 and counts[-1] == beyond >= 2


def test_bars_beyond_the_threshold_are_failures() -> None:
    row = make_evaluation(make_samples(Path("/nowhere"), ["a.png"], picture=False)).rows[0]
    scale = row.scales_px["inter-ocular"]
    for error, kind in ((0.03, "good"), (0.13, "bad")):
        rows = (replace(row, errors_px=dict.fromkeys(row.errors_px, error * scale)),)
        evaluation = Evaluation({}, "inter-ocular", 0.08, rows, summarise(rows, "inter-ocular", 0.08))
        assert re.findall(r'<rect class="(\w+)"', charts.histogram(evaluation)) == [kind]


def test_mean_face_discs_have_the_errors_size(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_samples(tmp_path, ["a.png"]))
    radii = [float(r) for r in re.findall(r' r="([\d.]+)"', charts.mean_face(evaluation))]
    expected = 1 / 0.6 * 1.6  # one pixel on a face of 0.6 mean shapes, drawn at 1.6
    assert len(radii) == 68
    assert radii == pytest.approx([expected] * 68, abs=0.006)


@pytest.mark.parametrize(
    ("top", "expected"), [(1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (37.0, [0, 10, 20, 30]), (0.0, [0.0])]
)
def test_nice_ticks(top: float, expected: list[float]) -> None:
    assert nice_ticks(top) == pytest.approx(expected)


def test_write_report_does_not_overwrite_unasked(tmp_path: Path) -> None:
    evaluation, path = make_evaluation(make_samples(tmp_path, ["a.png"])), tmp_path / "r.html"
    write_report(path, evaluation)
    with pytest.raises(OutputError, match="exists already"):
        write_report(path, evaluation)
    write_report(path, replace(evaluation, about={"title": "second"}), overwrite=True)
    assert "<title>second</title>" in path.read_text(encoding="utf-8")
