"""The closed loop: photos → pre-labels → ten corrected faces → a pack → a short fine-tuning → better on those people?

    python benchmarks/labelling_loop.py ../shared/data/more/fgnet --people 001 002 003 004 005 006

Every step is the command that a person would type; only the correcting is done by the script, which puts the hand-made
points of the data set in the place of the proposals, through the session that the review page uses. The ten worst
photos (as the review orders them) are corrected; the others of the same people are evaluated, before and after.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from facealign_cli.formats.pts import read_pts
from facealign_cli.review.proposals import read_proposals
from facealign_cli.review.session import Session, default_side_file

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Photos with .pts files.")
    parser.add_argument("--people", nargs="+", default=[""], help="What their photos' names begin with.")
    parser.add_argument("--corrected", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", default="2e-4")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photos = work / "photos"
        photos.mkdir()
        for path in sorted(options.folder.glob("*.jpg")):
            if path.name.startswith(tuple(options.people)):
                shutil.copy(path, photos)
        facealign("detect", "image", *sorted(photos.iterdir()), "-o", work / "rows.json", "--max-faces", 1)
        corrected = correct(work, options.folder, options.corrected)
        facealign("review", work / "rows.json", "--images", photos, "--export", work / "pts", "--to", "pts")
        for stem in corrected:
            shutil.move(photos / f"{stem}.jpg", work / "pts")
        for path in photos.iterdir():
            shutil.copy(options.folder / f"{path.stem}.pts", photos)
        print(f"{len(corrected)} corrected: {', '.join(corrected)}; {len(list(photos.glob('*.jpg')))} others evaluated")
        facealign("train", "pack", work / "pts", "-o", work / "pack.h5")
        begin = time.monotonic()
        facealign(
            *("train", "run", "--data", work / "pack.h5", "--run", work / "run"),
            *("--init", ROOT / "models" / "dan-light.ckpt", "--steps", options.steps, "--batch-size", 16),
            *("--lr", options.lr, "--warmup-steps", 20, "--decay-steps", options.steps // 2, "--average", 0.97),
            *("--eval-every", options.steps),
        )
        print(f"fine-tuned in {time.monotonic() - begin:.0f} s")
        model = work / "mine.onnx"
        facealign(
            *("train", "export", work / "run" / "last.ckpt", "-o", model, "--name", "mine", "--model-version", 1),
            *("--data", work / "pack.h5", "--training-data", f"{len(corrected)} corrected faces"),
        )
        facealign("model", "info", model)
        evaluate = ("evaluate", "dataset", photos, "--init", "detector", "--json")
        facealign(*evaluate, work / "before.json")
        facealign(*evaluate, work / "after.json", "--model", model)
        facealign("evaluate", "compare", work / "before.json", work / "after.json", "--worst", 0)


def correct(work: Path, truths: Path, count: int) -> list[str]:
    """Accept the `count` worst photos with the data set's own points; the stems of their names."""
    rows = work / "rows.json"
    session = Session(read_proposals(rows), work / "photos", default_side_file(rows), by="benchmark")
    session.open()
    done = []
    for number, picture in enumerate(session.pictures):
        stem = Path(picture.name).stem
        if len(done) < count and picture.result.faces:
            face = replace(picture.result.faces[0], landmarks=np.asarray(read_pts(truths / f"{stem}.pts")))
            session.step(number, picture.revision, "accepted", [face])
            done.append(stem)
    session.close()
    return done


def facealign(*arguments: object) -> None:
    """Run a command and show what it says."""
    command = [sys.executable, "-m", "facealign_cli", *map(str, arguments)]
    print("$ facealign", " ".join(Path(a).name if "/" in a else a for a in command[3:])[:160], flush=True)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(done.stdout + done.stderr, flush=True)
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
