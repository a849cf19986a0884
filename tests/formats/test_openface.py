"""OpenFace's table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import FormatError
from facealign_cli.formats.openface import COLUMNS, read, write


def test_header_and_cells_as_openface_writes_them(results, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", results)
    text = (tmp_path / "a.csv").read_bytes().decode("utf-8", "surrogateescape")
    header, rows = text.partition("\n")[0], list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    assert header.startswith("frame, face_id, timestamp, confidence, success, x_0, x_1, ")
    assert ", x_67, y_0, " in header
    assert header.endswith(", y_67, source")
    assert text.splitlines()[1].startswith("1, 0, 0.000, 0.9875, 1, ")
    assert rows[2][:5] == ["1", "1", "0.000", "0.9875", "1"]
    assert rows[4][:-1] == ["3", "0", "0.000", "0.0000", "0", *["0.000"] * 136]
    assert rows[9][:5] == ["2", "7", "0.033", "0.9875", "1"]
    assert all(len(row) == len(COLUMNS) + 1 for row in rows)


def test_round_trip_of_what_the_format_holds(results, write_read) -> None:
    video = results[-2:]
    for got, sent in zip(write_read("openface", video), video, strict=True):
        assert (got.status, got.frame, got.timestamp_s) == (sent.status, sent.frame, round(sent.timestamp_s, 3))
        assert [face.face_id for face in got.faces] == [7]
        np.testing.assert_array_equal(got.faces[0].landmarks, sent.faces[0].landmarks)
        assert got.faces[0].confidence == sent.faces[0].confidence
    pictures = results[:6]
    got = write_read("openface", pictures, "b")
    assert [len(r.faces) for r in got] == [len(r.faces) for r in pictures]
    assert [r.frame for r in got] == list(range(6))
    assert [r.source for r in got] == [r.source for r in pictures]


def test_reads_openface_itself(results, tmp_path: Path) -> None:
    """Without face_id (before 2.0), with columns that we do not have."""
    write(tmp_path / "a.csv", results[:1])
    rows = [line.split(", ") for line in (tmp_path / "a.csv").read_text().splitlines()]
    rows = [[row[0], *row[2:5], "AU01_r" if row[0] == "frame" else "0.5", *row[5:]] for row in rows[:2]]
    (tmp_path / "b.csv").write_text("\n".join(", ".join(row) for row in rows) + "\n")
    (got,) = read(tmp_path / "b.csv")
    np.testing.assert_array_equal(got.faces[0].landmarks, results[0].faces[0].landmarks)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("x_5,", "z_5,", "no column x_5"),
        ("0.9875", "high", "line 2"),
        ("0.9875", "nan", "finite"),
        ("0.9875", "1.5", "frame 1: confidence"),
        ("0.9875, ", "", "expected 142 cells, got 141"),
        ("1, 0,", "-1, 0,", "counts from 1"),
        ("frame", "\xff", "no column frame"),
    ],
)
def test_refuses(results, tmp_path: Path, old: str, new: str, match: str) -> None:
    write(tmp_path / "a.csv", results[:1])
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "a.csv")
