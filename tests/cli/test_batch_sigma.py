"""`facealign batch folder --sigma`: the shards of CSV say how far each point may be off, as the other formats do."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.formats.base import get_format
from facealign_cli.formats.csv import SIGMA_COLUMNS


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["batch", "folder", *map(str, args), "--workers", "0", "--shard-rows", "2"])


def faces_of(folder: Path, fmt: str) -> dict[str, np.ndarray | None]:
    """source → the sigma of its face, read back by the format's own reader."""
    shards = sorted(folder.glob(f"part-*.{fmt}"))
    assert shards
    results = [result for path in shards for result in get_format(fmt).read(path)]
    return {r.source: r.faces[0].sigma if r.faces else None for r in results}


@pytest.fixture(scope="module")
def pictures(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with a face, one without, one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        cv2.imwrite(str(folder / f"face{i}.png"), np.roll(astronaut[:220, 110:330], i, axis=0))
    cv2.imwrite(str(folder / "grey.png"), np.full((100, 100), 90, np.uint8))
    (folder / "text.png").write_text("no")
    return folder


def test_csv_has_what_json_lines_have(pictures: Path, tmp_path: Path) -> None:
    assert run(pictures, "-o", tmp_path / "c", "--format", "csv", "--sigma").exit_code == 3
    assert run(pictures, "-o", tmp_path / "j", "--format", "jsonl").exit_code == 3
    in_csv, in_json = faces_of(tmp_path / "c", "csv"), faces_of(tmp_path / "j", "jsonl")
    assert in_csv.keys() == in_json.keys()
    assert sum(sigma is not None for sigma in in_csv.values()) == 3
    for source, sigma in in_json.items():
        np.testing.assert_equal(in_csv[source], sigma)


def test_without_it_csv_has_no_such_columns(pictures: Path, tmp_path: Path) -> None:
    assert run(pictures, "-o", tmp_path / "c", "--format", "csv").exit_code == 3
    header = (tmp_path / "c" / "part-000000.csv").read_text().partition("\n")[0]
    assert not {*SIGMA_COLUMNS} & {*header.split(",")}
    assert all(sigma is None for sigma in faces_of(tmp_path / "c", "csv").values())


def test_resumed_and_failed_ones_done_again(pictures: Path, tmp_path: Path) -> None:
    """Shards of two runs have one header, and a shard from which the failed rows were taken keeps the others' sigma."""
    some, out = tmp_path / "some", tmp_path / "out"
    shutil.copytree(pictures, some)
    (some / "face2.png").unlink()
    arguments = (some, "-o", out, "--format", "csv", "--sigma")
    assert run(*arguments).exit_code == 3
    shutil.copy(pictures / "face0.png", some / "text.png")
    shutil.copy(pictures / "face2.png", some / "face2.png")
    assert run(*arguments, "--retry-errors").exit_code == 0
    found = faces_of(out, "csv")
    assert {Path(source).name for source, sigma in found.items() if sigma is not None} == {
        "face0.png",
        "face1.png",
        "face2.png",
        "text.png",
    }
    headers = {path.read_text().partition("\n")[0] for path in out.glob("part-*.csv")}
    assert len(headers) == 1


def test_a_job_goes_on_only_as_it_was(pictures: Path, tmp_path: Path) -> None:
    assert run(pictures, "-o", tmp_path / "c", "--format", "csv", "--sigma").exit_code == 3
    other = run(pictures, "-o", tmp_path / "c", "--format", "csv")
    assert other.exit_code == 1
    assert "  sigma: was True, is False" in other.stderr


def test_pts_has_no_place_for_it(pictures: Path, tmp_path: Path) -> None:
    result = run(pictures, "-o", tmp_path / "p", "--format", "pts", "--sigma")
    assert result.exit_code == 1
    assert "pts has no place for it" in result.stderr
    assert not (tmp_path / "p").exists()
