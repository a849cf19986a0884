"""The closed loop by the commands that a person types: photos, pre-labels, corrections, fine-tuning, better?"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed (extra train)")
pytest.importorskip("h5py", reason="h5py is not installed (extra train)")
pytest.importorskip("onnx", reason="onnx is not installed (extra train)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra train)")

from facealign_cli.cli.main import main
from facealign_cli.formats.pts import read_pts
from facealign_cli.review.proposals import read_proposals
from facealign_cli.review.session import Session, default_side_file

pytestmark = pytest.mark.long

WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "dan-light.ckpt"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def error_of(path: Path) -> float:
    rows = json.loads(path.read_text())
    return float(np.mean([row["nme"]["inter-ocular"] for row in rows["faces"]]))


def test_ten_corrected_faces_make_it_better_on_their_people(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FG-NET's first people: the ten worst of their photos are corrected, twelve others are evaluated."""
    source = shared_data / "more" / "fgnet"
    if not source.is_dir():
        pytest.skip("no FG-NET photos in the shared data")
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    photos.mkdir()
    for path in sorted(p for p in source.glob("*.jpg") if p.name[:3] in ("001", "002"))[:22]:
        shutil.copy(path, photos)
    run("detect", "image", *sorted(photos.iterdir()), "-o", "rows.json", "--max-faces", 1)

    session = Session(read_proposals(Path("rows.json")), photos, default_side_file(Path("rows.json")))
    session.open()
    for number, picture in enumerate(session.pictures[:10]):
        truth = read_pts(source / f"{Path(picture.name).stem}.pts")
        session.step(number, 0, "accepted", [replace(picture.result.faces[0], landmarks=truth)])
    session.close()
    run("review", "rows.json", "--images", photos, "--export", "corrected", "--to", "pts")
    for points in Path("corrected").iterdir():
        shutil.move(photos / f"{points.stem}.jpg", "corrected")
        assert np.abs(read_pts(points) - read_pts(source / points.name)).max() < 0.001
    for path in list(photos.iterdir()):
        shutil.copy(source / f"{path.stem}.pts", photos)

    assert "held out" in run("train", "pack", "corrected", "-o", "pack.h5", "--size", 320)
    fine = ("--steps", 60, "--batch-size", 8, "--lr", "3e-4", "--warmup-steps", 5, "--decay-steps", 15)
    fine += ("--average", 0.8, "--eval-every", 30)
    run("train", "run", "--data", "pack.h5", "--run", "run", "--init", WEIGHTS, *fine)
    run("train", "export", "run/last.ckpt", "-o", "mine.onnx", "--name", "mine", "--model-version", 1)
    assert "research only" in run("model", "info", "mine.onnx")  # inherited
    evaluate = ("evaluate", "dataset", photos, "--init", "ground-truth", "--json")
    run(*evaluate, "before.json")
    run(*evaluate, "after.json", "--model", "mine.onnx")
    assert error_of(Path("after.json")) < 0.99 * error_of(Path("before.json"))
