"""The .pts format: counted from 1, one face a file, names that never leave the folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.formats.pts import file_names, read, read_points, read_pts, write, write_pts
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import FrameResult

POINTS = "".join(f"{i}.5 {2 * i}.25\n" for i in range(1, 69))


def test_counts_from_1(tmp_path: Path) -> None:
    write_pts(tmp_path / "a.pts", np.zeros((68, 2)))
    assert (tmp_path / "a.pts").read_bytes() == b"version: 1\nn_points: 68\n{\n" + b"1.000 1.000\n" * 68 + b"}\n"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-9_999_999, 99_999_999), min_size=136, max_size=136))
def test_round_trip_is_exact_at_three_decimals(tmp_path: Path, thousandths: list[int]) -> None:
    landmarks = np.array(thousandths).reshape(68, 2) / 1000
    write_pts(tmp_path / "a.pts", landmarks, overwrite=True)
    np.testing.assert_array_equal(read_pts(tmp_path / "a.pts"), landmarks)


@pytest.mark.parametrize(
    "text",
    [
        f"version: 1\nn_points:  68\n{{\n{POINTS}}}",
        f"\ufeffversion: 1\r\nn_points: 68\r\n{{\r\n{POINTS}}}\r\n\r\n",
        f"n_points : 68\nversion: 1.0\n\n {{ \n{POINTS.replace(' ', chr(9))}}} \n",
    ],
)
def test_reads_what_others_write(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.pts").write_bytes(text.encode())
    i = np.arange(1, 69)
    np.testing.assert_array_equal(read_pts(tmp_path / "a.pts"), np.stack([i - 0.5, 2 * i - 0.75], axis=1))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("\xff\xd8\xff\xe0 picture", "not a text"),
        ("version: 1\0", "not a text"),
        (f"version: 1\nn_points: 68\n{POINTS}}}\n", "opening brace"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS}", "closing brace"),
        (f"version: 2\nn_points: 68\n{{\n{POINTS}}}\n", "version '2'"),
        (f"version: 1\nn_points: 29\n{{\n{POINTS}}}\n", "n_points is 29, expected 68"),
        (f"version: 1\nn_points: 68\nn_points: 68\n{{\n{POINTS}}}\n", "unexpected line"),
        (f"version: 1\nn_points: 68\nhello\n{{\n{POINTS}}}\n", "unexpected line"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS}1 2\n}}\n", "expected 68 points, got 69"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS[:-12]}}}\n", "expected 68 points, got 67"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS}}}\n1 2\n", "after the closing brace"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS.replace('3.5 6.25', '3.5')}}}\n", "point 3: expected two numbers"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS.replace('3.5 6.25', '3,5 6')}}}\n", "point 3: expected two numbers"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS.replace('3.5 6.25', '1 2 3', 1)}}}\n", "point 3: expected two"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS.replace('3.5 6.25', 'nan 6')}}}\n", "point 3: expected finite"),
        (f"version: 1\nn_points: 68\n{{\n{POINTS.replace('3.5 6.25', '1e999 6')}}}\n", "point 3: expected finite"),
        ("x" * (1 << 21), "longer than"),
    ],
)
def test_refuses(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.pts").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=match) as caught:
        read_pts(tmp_path / "a.pts")
    assert "a.pts" in str(caught.value)


def test_refuses_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_pts(tmp_path / "a.pts", np.zeros((67, 2)))
    with pytest.raises(ValueError, match="finite"):
        write_pts(tmp_path / "a.pts", MEAN_SHAPE * np.nan)
    assert not list(tmp_path.iterdir())


def test_missing_or_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_pts(tmp_path / "a.pts")
    with pytest.raises(InputError, match=r"holds no \.pts"):
        read(tmp_path)


def test_results_into_a_folder(results, tmp_path: Path) -> None:
    write(tmp_path / "new" / "out", results)
    names = sorted(file.name for file in (tmp_path / "new" / "out").iterdir())
    assert names == ["a#0.pts", "a#1.pts", "a.pts", "v_000000.pts", "v_000001.pts"]
    got = read(tmp_path / "new" / "out")
    assert len(got) == 5
    np.testing.assert_array_equal(got[1].faces[0].landmarks, results[0].faces[1].landmarks)


def test_nothing_is_written_if_one_file_exists(results, tmp_path: Path) -> None:
    (tmp_path / "a#1.pts").touch()
    with pytest.raises(OutputError, match=r"a#1\.pts exists already"):
        write(tmp_path, results)
    assert [file.name for file in tmp_path.iterdir()] == ["a#1.pts"]
    write(tmp_path, results, overwrite=True)
    assert (tmp_path / "a#1.pts").stat().st_size


def test_one_file_for_one_face(results, tmp_path: Path) -> None:
    write(tmp_path / "one.pts", results[1:4])
    np.testing.assert_array_equal(read_pts(tmp_path / "one.pts"), results[1].faces[0].landmarks)
    with pytest.raises(OutputError, match="holds one face, here are 2"):
        write(tmp_path / "two.pts", results[:1])
    with pytest.raises(OutputError, match="here are 0"):
        write(tmp_path / "none.pts", results[2:3])


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a/1.jpg", "b/1.jpg", "1.png"], ["a/1.jpg", "b/1.jpg", "1.png"]),
        (["A.jpg", "a.jpg"], ["A.jpg", "a.jpg-2"]),
        (["../../etc/passwd", "..", "/", "a/..", "-", ".", "c:\\x\\y.jpg"],
         ["passwd", "5ec1f7e700f3-__", "_root/8a5edab28263-", "a/d5c7a6c2f7fd-__", "stdin", "cdb4ee2aea69-_", "y"]),
        (["a\0b:c*.jpg", ".hidden", "x.tar.gz", "... .jpg"], ["a_b_c_", ".hidden", "x.tar", "picture"]),
        (["1-2.jpg", "1.jpg", "1.png"], ["1-2", "1.jpg", "1.png"]),
        (["é" * 300 + ".jpg"], ["é" * 100]),
    ],
)  # fmt: skip
def test_names(face, sources: list[str], expected: list[str]) -> None:
    results = [FrameResult.of_faces(source, [face()]) for source in sources]
    assert file_names(results) == [[name] for name in expected]


@given(st.lists(st.tuples(st.text(), st.integers(0, 3)), max_size=8))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_stay_inside_and_apart(face, inputs: list[tuple[str, int]]) -> None:
    results = [FrameResult.of_faces(source, [face(i) for i in range(n)]) for source, n in inputs]
    names = [name for group in file_names(results) for name in group]
    assert len({name.casefold() for name in names}) == len(names) == sum(n for _, n in inputs)
    for name in names:
        assert Path(os.path.normpath(f"/out/{name}.pts")).is_relative_to("/out")
        assert not set(name) & set("\\\0")


def test_reads_the_training_data(shared_data: Path) -> None:
    files = sorted((shared_data / "300w").rglob("*.pts"))[:50]
    assert files
    assert all(read_pts(file).shape == (68, 2) for file in files)


@pytest.mark.parametrize("header", ["version: 1\n", "n_points: 68\n", "", "n_points:68\nversion:1.0\n"])
def test_header_lines_may_be_missing(tmp_path: Path, header: str) -> None:
    """Many tools write no version; every command reads such files alike."""
    (tmp_path / "a.pts").write_text(f"{header}{{\n{POINTS}}}\n")
    assert read_pts(tmp_path / "a.pts").shape == (68, 2)


def test_a_million_braces_take_no_time(tmp_path: Path) -> None:
    """A pattern that looks for an end from every beginning took hours here."""
    (tmp_path / "a.pts").write_bytes(b"{" * 1_000_000)
    begin = time.process_time()
    with pytest.raises(FormatError):
        read_points(tmp_path / "a.pts")
    assert time.process_time() - begin < 2
