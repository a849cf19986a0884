"""The networks trained from their packs at once, planned by the clock: for a machine with a GPU, lent for minutes.

    python benchmarks/train_all.py PACK... -o OUT --minutes 9 --loaders 16

dan-light and dan-large train side by side, each on from its shipped checkpoint: first with strong augmentation, then
with mild. With --dan the paper's network trains beside them, stage by stage, on the first pack alone. OUT gets each
run's log and curves, its weights as float16 (NAME.ckpt of 3.6 MB, 8.6 MB, and dan's of 46 MB, which holds both stages),
and steps.txt, which says what each step took. The graphs stay in OUT.work, which must not hold the runs of an earlier
call. A step that fails is told in steps.txt, and the other networks go on.

Make the packs before: models/dan-light.md has the commands. Means of weights and `train export --data` come after, on
any machine. On an H100 with 16 processor cores dan-light saw 3,400 faces a second with strong augmentation and 4,300
with mild, dan-large beside it 1,100 and 1,200.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"
RESERVE_S = 60.0
"""Of the whole time: for reading the packs, once for each run, and for the exports."""


@dataclass(frozen=True)
class Network:
    """What a network is trained with. share: of the loaders, in parts. rates: of learning, with strong augmentation
    and with mild."""

    name: str
    batch_size: int
    share: int
    rates: tuple[float, float]


NETWORKS = (Network("dan-light", 256, 3, (2e-3, 1.2e-3)), Network("dan-large", 128, 5, (1e-3, 7e-4)))
DAN = Network("dan", 128, 2, (1e-3, 1e-3))
STRONG_SHARE = 0.6
"""Of a network's time: with strong augmentation; of dan's: for its second stage."""


class Steps:
    """Runs facealign's commands, and writes down what each took and said last."""

    def __init__(self, out: Path) -> None:
        self.notes = out / "steps.txt"
        out.mkdir(parents=True, exist_ok=True)
        self.notes.write_text("", encoding="utf-8")

    def run(self, name: str, command: str) -> bool:
        """Whether `facealign COMMAND` succeeded."""
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
    """Returns how many networks were not trained to their end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--loaders", type=int, default=0, help="processes that make batches, for all networks together")
    parser.add_argument("--batch", type=int, default=0, help="faces in a batch, in place of each network's own number")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dan", action="store_true", help="train the paper's network, too")
    args = parser.parse_args(arguments)
    work = args.out.with_name(args.out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    steps, minutes = Steps(args.out), max(0.1, args.minutes - RESERVE_S / 60)
    networks = (*NETWORKS, DAN) if args.dan else NETWORKS
    parts = sum(network.share for network in networks)

    def options(network: Network, rate: float, share: float) -> str:
        loaders = max(min(1, args.loaders), args.loaders * network.share // parts)
        return (
            f"--device {args.device} --loaders {loaders} --bf16 --steps 10000000 "
            f"--batch-size {args.batch or network.batch_size} --lr {rate} --minutes {share * minutes:.3f} "
            "--warmup-steps 100 --eval-every 200 --average 0.997"
        )

    def train(network: Network) -> int:
        trained = train_dan if network is DAN else train_on
        runs = trained(steps, network, args.packs, work, options)
        for run in runs:
            copy_log(run, args.out)
        whole = [run for run in runs if network is not DAN or run.name == "dan-2"]  # dan-1 is a part of dan-2
        exported = [export(steps, network.name, run, args.out) for run in whole]
        return int(len(runs) < 2 or not all(exported))

    with ThreadPoolExecutor(len(networks)) as executor:
        failed = sum(executor.map(train, networks))
    print(steps.notes.read_text(encoding="utf-8"))
    return failed


Options = Callable[[Network, float, float], str]
"""The options of a run, from its learning rate and its share of the time."""


def train_on(steps: Steps, network: Network, packs: Sequence[Path], work: Path, options: Options) -> list[Path]:
    """On from the shipped checkpoint: strong augmentation, then mild. The folders of the runs that were finished."""
    name = network.name
    strong, mild = work / f"{name}-strong", work / f"{name}-mild"
    data = " ".join(f"--data {_quoted(pack)}" for pack in packs)
    command = f"train run {data} --network {name} --weight-decay 0.05"
    shipped = _quoted(MODELS / f"{name}.ckpt")
    first = f"{options(network, network.rates[0], STRONG_SHARE)} --turned 2 4 --init {shipped}"
    if not steps.run(strong.name, f"{command} --run {_quoted(strong)} {first}"):
        return []
    second = f"{options(network, network.rates[1], 1 - STRONG_SHARE)} --turned 1 2 --augmentation mild"
    begin = f"--init {_quoted(strong / 'last.ckpt')}"
    done = steps.run(mild.name, f"{command} --run {_quoted(mild)} {begin} {second}")
    return [strong, mild] if done else [strong]


def train_dan(steps: Steps, network: Network, packs: Sequence[Path], work: Path, options: Options) -> list[Path]:
    """The paper's network on the first pack, stage by stage. The folders of the runs that were finished."""
    one, two = work / "dan-1", work / "dan-2"
    command = f"train stage --data {_quoted(packs[0])} --network dan --augmentation mild --weight-decay 1e-4"
    first = f"--stage 1 --run {_quoted(one)} {options(network, network.rates[0], 1 - STRONG_SHARE)}"
    if not steps.run(one.name, f"{command} {first}"):
        return []
    second = f"--stage 2 --run {_quoted(two)} --from {_quoted(one / 'best.ckpt')} --warm-start"
    done = steps.run(two.name, f"{command} {second} {options(network, network.rates[1], STRONG_SHARE)}")
    return [one, two] if done else [one]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def copy_log(run: Path, out: Path) -> None:
    """Log and curves of a run, into the folder to bring back."""
    for file in ("log.csv", "curves.png"):
        if (run / file).exists():
            shutil.copy(run / file, out / f"{run.name}.{file}")


def export(steps: Steps, network: str, run: Path, out: Path) -> bool:
    """Whether a run's last weights are in the folder to bring back, and give the same landmarks as a graph."""
    graph, weights = _quoted(run.with_suffix(".onnx")), _quoted(out / f"{run.name}.ckpt")
    command = f"train export {_quoted(run / 'last.ckpt')} -o {graph} --name {network} --model-version gpu --overwrite"
    return steps.run(f"export {run.name}", f"{command} --weights {weights}")


if __name__ == "__main__":
    sys.exit(main())
