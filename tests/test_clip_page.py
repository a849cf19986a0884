"""The page about a clip: what its lines and numbers say, its size, and what it refuses. The browser's part: see
test_clip_page_browser.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.boxes import BBox
from facealign_cli.cli import tracking
from facealign_cli.cli.main import main
from facealign_cli.errors import InputError
from facealign_cli.formats.base import get_format
from facealign_cli.measures.clip import CLIP_COLUMNS
from facealign_cli.measures.tables import BLINK_COLUMNS, MEASURE_COLUMNS, SUMMARY_COLUMNS
from facealign_cli.pose import camera_matrix, mean_face, project
from facealign_cli.records import Face, FrameResult, HeadPose
from facealign_cli.report.clip import MOST_CURVES, render_clip_page
from facealign_cli.report.series import VALUES, read_series
from facealign_cli.report.timeline import COLUMNS, TimeAxis, bar_path, clock, line_path, nice_ticks
from tests.clips import write_clip

EVIL = '<script>alert("x")&.mp4'


def face_at(time: float, track: int = 0, blinks: tuple[float, ...] = (2.0,), confidence: float = 0.9) -> Face:
    """A face that turns slowly and blinks."""
    points = mean_face().copy()
    shut = max((max(0.0, 1 - abs(time - blink) / 0.1) for blink in blinks), default=0.0)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        points[upper] += 0.8 * shut * (points[lower] - points[upper])
    pose = HeadPose((60.0 * track, 0, 600), (0.1, 0.3 * np.sin(time) - 0.2 * track, 0.05))
    box = BBox(0, 0, 99, 99)
    return Face(track, box, project(points, pose, camera_matrix(640, 480)), confidence, track_id=track)


def make_clip(seconds: float = 6.0, source: str = "clip.mp4", rate: float = 25.0) -> list[FrameResult]:
    """Id 0 is out of sight from 3 to 4 s; id 1 is seen from 2 s on; the frame at 1 s is damaged."""
    results = []
    for i in range(int(seconds * rate)):
        time, own = i / rate, {"width": 640, "height": 480, "frame": i, "timestamp_s": i / rate}
        if time == 1.0:
            results.append(FrameResult.of_error(source, "damaged", **own))
            continue
        faces = [face_at(time)] if not 3 <= time < 4 else []
        faces += [face_at(time, 1, (), 0.7)] if time >= 2 else []
        results.append(FrameResult.of_faces(source, faces, **own))
    return results


def embedded(page: str) -> dict:
    """What the page gives its script."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(data)


def paths(page: str, kind: str) -> list[str]:
    return re.findall(rf'<path class="{kind}" d="([^"]*)"', page)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["video", "plot", *map(str, args)])


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "openface", "parquet", "dlc"])
def test_every_format_makes_the_same_curves(tmp_path: Path, name: str) -> None:
    """Also where a format has neither times nor sizes, if they are told."""
    fmt, clip = get_format(name), make_clip()
    rows = tmp_path / f"rows{(*fmt.extensions, '.csv')[0]}"
    fmt.write(rows, clip)
    done = run(rows, "-o", tmp_path / "page.html", "--size", "640x480", "--fps", 25)
    assert done.exit_code == 0, done.output
    assert "150 frames, 224 faces of 2 ids; 1 blink" in done.stderr
    page, expected = (tmp_path / "page.html").read_text(), read_series(clip)
    data, values = embedded(page), expected.persons[0].values
    assert np.cumsum(data["time"]).tolist() == [40 * i for i in range(150)]
    assert np.cumsum(data["persons"][0]["columns"]).tolist() == expected.persons[0].rows.tolist()
    for which, decimals in enumerate(data["decimals"]):
        shown = np.array(data["persons"][0]["low"][which]) / 10**decimals
        np.testing.assert_allclose(shown, values[:, which], atol=0.6 * 10.0**-decimals)


def test_the_numbers_are_those_of_the_faces() -> None:
    series = read_series(make_clip())
    first, second = series.persons
    assert (first.number, second.number) == (0, 1) and (len(first.rows), len(second.rows)) == (124, 100)
    time = series.times[first.rows]
    np.testing.assert_allclose(first.values[:, 0], np.degrees(0.3 * np.sin(time)), atol=0.05)
    np.testing.assert_allclose(first.values[:, 1:3], np.degrees([[0.1, 0.05]] * 124), atol=0.05)
    eyes = first.values[:, VALUES.index("eyes")]
    assert first.rows[49] == 50 and eyes[49] < 0.3 * eyes[30]  # at 2 s
    assert [round(blink.peak_s, 1) for blink in first.blinks] == [2.0] and not second.blinks
    assert series.damaged.tolist() == [25]


def test_a_pose_of_the_rows_counts() -> None:
    turned = HeadPose((0, 0, 600), (0.5, -0.4, 0.3))
    clip = [
        replace(r, faces=tuple(replace(face, pose=turned) for face in r.faces)) if r.faces else r for r in make_clip()
    ]
    np.testing.assert_allclose(read_series(clip).persons[0].values[0, :3], np.degrees([-0.4, 0.5, 0.3]))


def test_where_a_face_is_lost_the_line_ends() -> None:
    series = read_series(make_clip())
    page = render_clip_page(series)
    lines = [line for line in paths(page, "curve c0 p0") if line]
    assert len(lines) == 6
    for line in lines:
        pieces = [np.array([p.split() for p in piece.split("L")], float) for piece in line[1:].split("M")]
        assert [len(piece) for piece in pieces] == [25, 49, 50]  # damaged at 1 s, out of sight from 3 to 4 s
        seconds = [(piece[0, 0] * 6 / 1000, piece[-1, 0] * 6 / 1000) for piece in pieces]
        np.testing.assert_allclose(seconds, [(0, 0.96), (1.04, 2.96), (4, 5.96)], atol=0.01)
    (bars,) = paths(page, "bar c0 p0")
    assert [round(float(x) * 6 / 1000, 1) for x in re.findall(r"M([\d.]+)", bars)] == [0, 1, 4]
    assert len(paths(page, "bar broken")) == 1


def test_a_single_frame_between_gaps_is_a_dot() -> None:
    rows = np.array([0, 5, 6])
    assert line_path(np.array([0.0, 500.0, 600.0]), np.array([1.0, 2.0, np.nan]), rows) == "M0.0 1.0h0M500.0 2.0h0"


def test_no_blink_is_lost_in_an_hour() -> None:
    """90,000 frames in 800 columns: the least and the greatest value of each column are on the line."""
    rng = np.random.default_rng(0)
    y = rng.normal(50, 1, 90_000)
    for blink in (1000, 45_678, 89_990):
        y[blink : blink + 3] = 90.0
    x = np.linspace(0, 1000, 90_000, endpoint=False)
    points = [p.split() for p in line_path(x, y, np.arange(90_000))[1:].split("L")]
    drawn = np.array(points, float)
    assert len(drawn) <= 4 * COLUMNS
    deep = drawn[drawn[:, 1] >= 89.9, 0]
    assert {round(v) for v in deep} == {11, 508, 1000}
    assert drawn[:, 1].min() == pytest.approx(y.min(), abs=0.06)


def test_gaps_narrower_than_a_column_do_not_lengthen_the_page() -> None:
    clip = [replace(r, frame=i, timestamp_s=i / 25) for i, r in enumerate(make_clip(1.0)[:1] * 4000)]
    series = read_series([one if one.frame % 2 else replace(one, status="no_face", faces=()) for one in clip])
    assert len(bar_path(TimeAxis.of(series), series, series.persons[0].rows, 0, 10)) < 100
    assert len(render_clip_page(series)) < 300_000


@pytest.fixture(scope="module")
def hour() -> list[FrameResult]:
    """A frame a second of an hour of two persons: more than the charts have columns."""
    faces = [face_at(0.0, track) for track in range(2)]
    return [
        FrameResult.of_faces("v.mp4", faces, width=640, height=480, frame=25 * i, timestamp_s=float(i))
        for i in range(3600)
    ]


def test_a_long_clip_stays_small_and_says_so(hour, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render_clip_page(series := read_series(hour))
    monkeypatch.setattr("facealign_cli.report.clip.MOST_VALUES", 5000)
    page = render_clip_page(series)
    data = embedded(page)
    assert len(page) < 500_000 and len(whole) < 700_000
    assert "800 columns of 4.5 s each" in page and "800 columns" not in whole
    assert len(data["time"]) == len(data["timeEnd"]) == COLUMNS
    begins, ends = np.cumsum(data["frame"]), np.cumsum(data["frameEnd"])
    assert begins[0] == 0 and ends[-1] == 89_975 and (begins[1:] == ends[:-1] + 25).all()
    assert all(len(values) == COLUMNS for person in data["persons"] for values in person["high"])


def test_columns_hold_the_least_and_the_greatest(monkeypatch: pytest.MonkeyPatch) -> None:
    series = read_series(make_clip(100.0))
    monkeypatch.setattr("facealign_cli.report.clip.MOST_VALUES", 100)
    data = embedded(render_clip_page(series))
    person, own = series.persons[0], data["persons"][0]
    begins, ends = np.cumsum(data["frame"]), np.cumsum(data["frameEnd"])
    for place, column in list(enumerate(np.cumsum(own["columns"]).tolist()))[::50]:
        frames = series.frames[person.rows]
        inside = person.values[(frames >= begins[column]) & (frames <= ends[column])]
        for which, decimals in enumerate(data["decimals"]):
            shown = [own[side][which][place] / 10**decimals for side in ("low", "high")]
            expected = [np.nanmin(inside[:, which]), np.nanmax(inside[:, which])]
            np.testing.assert_allclose(shown, expected, atol=0.51 * 10.0**-decimals)


def test_part_of_a_clip(tmp_path: Path) -> None:
    get_format("csv").write(tmp_path / "rows.csv", make_clip())
    assert run(tmp_path / "rows.csv", "-o", tmp_path / "p.html", "--start", "0:02", "--end", 3).exit_code == 0
    data = embedded((tmp_path / "p.html").read_text())
    assert np.cumsum(data["frame"]).tolist() == list(range(50, 75))
    assert run(tmp_path / "rows.csv", "-o", tmp_path / "q.html", "--start", 3, "--end", 2).exit_code == 2
    late = run(tmp_path / "rows.csv", "-o", tmp_path / "q.html", "--start", 60)
    assert late.exit_code == 1 and "no frame lies between" in late.stderr


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("dlc", ("--size", "640x480"), "the rows have no times"),
        ("openface", (), "the rows do not say how large the pictures are"),
        ("dlc", ("--size", "640x480", "--fps", "5"), "the frames are too far apart"),
    ],
)
def test_a_page_says_why_blinks_cannot_be_told(tmp_path: Path, name: str, options: tuple[str, ...], why: str) -> None:
    get_format(name).write(tmp_path / "rows.csv", make_clip())
    done = run(tmp_path / "rows.csv", "-o", tmp_path / "p.html", *options)
    assert f"of 2 ids; blinks cannot be told, since {why}; " in done.stderr
    assert ("which head pose, eyes, mouth and brows need: give --size WxH." in done.stderr) == (not options)
    page = (tmp_path / "p.html").read_text()
    assert f"blinks cannot be told, since {why}." in page and "0 blinks" not in page and "Ticks at" not in page


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    clip = make_clip(1.0)
    for odd, match in (
        ([], "holds no rows"),
        ([*clip, replace(clip[0], source="other.mp4")], r"2 clips \(clip.mp4, other.mp4\).*OUT/clips"),
        ([replace(clip[0], frame=None)], "rows of pictures"),
    ):
        with pytest.raises(InputError, match=match):
            read_series(odd)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (CLIP_COLUMNS, "it is the summary of clips"),
        (MEASURE_COLUMNS, "it is a table of measures"),
        (BLINK_COLUMNS, "it is a table of blinks"),
        (SUMMARY_COLUMNS, "it is a summary of persons"),
        ((), "it is empty"),
        (("a", "b"), "another header line"),
    ],
)
def test_another_table_of_facealign_is_named(tmp_path: Path, columns: tuple[str, ...], said: str) -> None:
    (tmp_path / "table.csv").write_text(",".join(columns))
    done = run(tmp_path / "table.csv", "-o", tmp_path / "page.html")
    assert done.exit_code == 1 and f"not a table of faces: {said}" in done.stderr


def test_large_rows_are_told_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get_format("csv").write(tmp_path / "rows.csv", make_clip(1.0))
    quick = run(tmp_path / "rows.csv", "-o", tmp_path / "page.html")
    monkeypatch.setattr(tracking, "LARGE_BYTES", 1000)
    told = run(tmp_path / "rows.csv", "-o", tmp_path / "page.html", "--overwrite")
    assert told.exit_code == 0 and len(quick.stderr.splitlines()) == 1
    assert [line.split(" ")[0] for line in told.stderr.splitlines()] == ["Reading", "Measuring", "25"]


def test_a_clip_or_a_folder_in_place_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "job" / "clips").mkdir(parents=True)
    (tmp_path / "clip.MP4").touch()
    for place, said in (
        ("job", "such as one of the files in it"),
        ("clip.MP4", f"facealign video track {tmp_path / 'clip.MP4'} -o rows.csv"),
    ):
        done = run(tmp_path / place, "-o", tmp_path / "page.html")
        assert done.exit_code == 2 and said in " ".join(done.stderr.split())


@pytest.mark.long
def test_a_clip_without_the_frames_of_the_rows_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", [np.zeros((48, 64, 3), np.uint8)])
    rows = [replace(one, width=64, height=48) for one in make_clip(3.0)]
    get_format("csv").write(tmp_path / "rows.csv", rows)
    done = run(tmp_path / "rows.csv", "-o", tmp_path / "page.html", "--clip", tmp_path / "short.mp4")
    assert done.exit_code == 1 and "no frame at the times of the rows" in done.stderr
    get_format("csv").write(tmp_path / "one.csv", rows[:1])
    assert run(tmp_path / "one.csv", "-o", tmp_path / "page.html", "--clip", tmp_path / "short.mp4").exit_code == 0


def test_rows_without_faces_sizes_or_times() -> None:
    empty = render_clip_page(
        read_series([FrameResult("v.mp4", "no_face", frame=i, timestamp_s=i / 25) for i in range(9)])
    )
    assert "No face is seen in this clip." in empty and "<table>" not in empty
    bare = [replace(r, width=0, height=0, timestamp_s=None) for r in make_clip()]
    series = read_series(bare)
    page = render_clip_page(series)
    assert not series.timed and "frames are counted" in page
    assert page.count("give --size WxH, or --clip") == 2 and "curve c0" in page


def test_more_persons_than_curves() -> None:
    faces = [face_at(0.0, track) for track in range(12)]
    clip = [
        FrameResult.of_faces("v.mp4", faces[: 12 - i], width=640, height=480, frame=i, timestamp_s=i / 25)
        for i in range(9)
    ]
    page = render_clip_page(read_series(clip))
    assert len(embedded(page)["persons"]) == MOST_CURVES
    assert f"The {MOST_CURVES} ids that are seen longest have curves" in page
    assert len(paths(page, "bar c7")) == 4 and "curve c8" not in page


def test_everything_given_is_escaped() -> None:
    page = render_clip_page(read_series(make_clip(1.0, source=EVIL)))
    assert "<script>alert" not in page and page.count("&lt;script&gt;") >= 2


def test_only_its_own_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = render_clip_page(read_series(make_clip()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy and re.search(r"script-src 'sha256-[\w+/=]+'$", policy)
    assert not re.search(r"https?:|url\(|@import|\son\w+=|\ssrc=|\shref=", page)


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 0, "0:00"), (75.5, 1, "1:15.5"), (59.9996, 3, "1:00.000"), (3661, 0, "1:01:01"), (7325.25, 3, "2:02:05.250")],
)
def test_clock(seconds: float, decimals: int, text: str) -> None:
    assert clock(seconds, decimals) == text


@pytest.mark.parametrize("span", [0.3, 1, 7, 60, 600, 3600, 90_000])
def test_a_few_ticks_whatever_the_length(span: float) -> None:
    ticks = TimeAxis(0, span, True).ticks()
    assert 2 <= len(ticks) <= 6
    steps = [b - a for (a, _), (b, _) in pairwise(ticks)]
    np.testing.assert_allclose(steps, steps[0])
    assert nice_ticks(span)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    get_format("csv").write(tmp_path / "rows.csv", make_clip(1.0))
    (tmp_path / "p.html").write_text("mine")
    assert run(tmp_path / "rows.csv", "-o", tmp_path / "p.html").exit_code == 1
    assert (tmp_path / "p.html").read_text() == "mine"
    assert run(tmp_path / "rows.csv", "-o", tmp_path / "p.html", "--overwrite").exit_code == 0
