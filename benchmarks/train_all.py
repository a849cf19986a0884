"""Every model from data to ONNX in one go, planned by the clock: for a machine with a GPU that is lent for minutes.

    python benchmarks/train_all.py ../shared/data OUT --minutes 8.5 --loaders 14

Packs the faces, trains the paper's `dan` by stages, then `dan-large` on from its checkpoint. It is exported, and as
its crops are finer than dan-light's, it teaches through labels: `train relabel` moves those of the 300-W faces half of
the way to what it sees, and `dan-light` trains on these. Each model is exported with its figures. OUT gets for each
model NAME.ckpt (float16), NAME.log.csv and NAME.curves.png, and `steps.txt`, which says what each step took: 56 MiB.
The graphs, 107 MiB, stay in OUT.work; `train export NAME.ckpt` makes them again. A step that fails is told there, and
the others go on: what is done by then comes back.

The time that is left is shared out anew before each step, so a slow step shortens the later ones and not the end.
--images takes a part of the 300-W faces, to prove the script on a CPU. --pack: packs that were made before, by
`train label` or `train turn`, are trained on, too.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"
RESERVE_S = 45.0
"""Kept for the exports at the end."""


class Plan:
    """Runs facealign's commands and writes down how long each took."""

    def __init__(self, out: Path, minutes: float) -> None:
        self.out, self.end = out, time.monotonic() + 60 * minutes
        self.notes = out / "steps.txt"
        out.mkdir(parents=True, exist_ok=True)
        self.notes.write_text("", encoding="utf-8")

    def minutes_for(self, share: float, reserve_s: float = RESERVE_S) -> float:
        """Minutes of a step that takes this share of what is left but for the reserve; at least a few seconds."""
        return max(0.05, share * (self.end - reserve_s - time.monotonic()) / 60)

    def run(self, name: str, command: str) -> bool:
        """Whether `facealign COMMAND` succeeded; what it said last goes into the notes."""
        started = time.monotonic()
        words = [sys.executable, "-m", "facealign_cli", *shlex.split(command)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        said = (result.stderr + result.stdout).strip().splitlines()[-6:]
        outcome = f"{name}: {time.monotonic() - started:.1f} s, exit code {result.returncode}"
        with self.notes.open("a", encoding="utf-8") as notes:
            notes.write("\n    ".join([outcome, *said]) + "\n")
        print(outcome, flush=True)
        return result.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns how many steps failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with 300w, ytf and more")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--loaders", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", default="", help="a part of 300w, such as lfpw/trainset")
    parser.add_argument("--pack", type=Path, action="append", default=[], help="a pack to train on besides")
    args = parser.parse_args(arguments)
    plan, work = Plan(args.out, args.minutes), args.out.with_name(args.out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    failed = pack(plan, args.data, args.images, work)
    besides = [path for path in (work / "more.h5", *args.pack) if path.exists()]
    data = _options([work / "faces.h5", *besides])
    shared = (
        f"--device {args.device} --loaders {args.loaders} --batch-size {args.batch} --steps 10000000 --bf16 "
        "--eval-every 200 --checkpoint-every 200 --lr 1e-3 --average 0.998"
    )
    failed += train_dan(plan, f"{data} {shared}", work)
    failed += train_large(plan, f"{data} {shared}", work)
    failed += export(plan, "dan-large", work / "large", data)
    faces = taught(plan, work)
    failed += int(faces != work / "taught.h5")
    failed += train_light(plan, f"{_options([faces, *besides])} {shared}", work)
    for name, run in (("dan", "dan2"), ("dan-light", "light")):
        failed += export(plan, name, work / run, data)
    print(plan.notes.read_text(encoding="utf-8"))
    return failed


def pack(plan: Plan, data: Path, images: str, work: Path) -> int:
    """300-W, and what it lacks where that is there: two packs."""
    more = [data / "more" / name for name in ("aflw2000", "fgnet", "webmorph", "facesynth")]
    roots = {"faces.h5": [data / "300w" / images], "more.h5": [folder for folder in more if folder.is_dir()]}
    done = [
        plan.run(f"pack {name}", f"train pack {' '.join(map(str, folders))} -o {work / name} --size 320")
        for name, folders in roots.items()
        if folders
    ]
    return done.count(False)


def train_dan(plan: Plan, shared: str, work: Path) -> int:
    """The paper's network, stage by stage, a third of the time."""
    stage = f"train stage {shared} --network dan --weight-decay 1e-4"
    first = f"{stage} --stage 1 --run {work / 'dan1'} --minutes {plan.minutes_for(0.15)}"
    if not plan.run("dan, stage 1", first):
        return 2
    best = work / "dan1" / "best.ckpt"
    second = f"{stage} --stage 2 --from {best} --run {work / 'dan2'} --minutes {plan.minutes_for(0.22)}"
    return int(not plan.run("dan, stage 2", second))


def train_large(plan: Plan, shared: str, work: Path) -> int:
    """dan-large, on from the shipped checkpoint, turned heads more often; more than half of what is left."""
    command = f"train run {shared} --network dan-large --weight-decay 0.05 --turned 2 4 --init {_start('dan-large')}"
    return int(not plan.run("dan-large", f"{command} --run {work / 'large'} --minutes {plan.minutes_for(0.62)}"))


def taught(plan: Plan, work: Path) -> Path:
    """The 300-W faces with labels that the dan-large of this run has a say in; as they were, where that fails."""
    faces, better = work / "faces.h5", work / "taught.h5"
    command = f"train relabel {faces} -o {better} --model {work / 'large'}.onnx --hand 0.5 --overwrite"
    return better if plan.run("dan-large labels the faces", command) else faces


def train_light(plan: Plan, shared: str, work: Path) -> int:
    """dan-light, on from the shipped checkpoint."""
    command = f"train run {shared} --network dan-light --weight-decay 0.05 --turned 2 4 --init {_start('dan-light')}"
    return int(not plan.run("dan-light", f"{command} --run {work / 'light'} --minutes {plan.minutes_for(1)}"))


def _options(packs: Sequence[Path]) -> str:
    return " ".join(f"--data {shlex.quote(str(path))}" for path in packs)


def _start(name: str) -> Path:
    """The shipped checkpoint of that name, else dan-light's: `--init` takes what fits."""
    own = MODELS / f"{name}.ckpt"
    return own if own.exists() else MODELS / "dan-light.ckpt"


def export(plan: Plan, name: str, run: Path, data: str) -> int:
    """The best checkpoint's graph with its figures, float16 weights, log and curves, into the folder to bring back."""
    for file in ("log.csv", "curves.png"):
        if (run / file).exists():
            shutil.copy(run / file, plan.out / f"{name}.{file}")
    if not (run / "best.ckpt").exists():
        return 1
    out = f"-o {run}.onnx --weights {plan.out / name}.ckpt --overwrite"
    command = f"train export {run / 'best.ckpt'} {data} {out} --name {name} --model-version gpu"
    return int(not plan.run(f"export {name}", command))


if __name__ == "__main__":
    sys.exit(main())
