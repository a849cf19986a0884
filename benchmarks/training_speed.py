"""How many faces a second a training step takes on one thread, and what bfloat16 and huge pages of memory bring.

    python benchmarks/training_speed.py [dan dan-light dan-large] [--batch-size 32] [--steps 4] [--rounds 2]

Each round trains each network on noise, forward, backward and the optimizer's step, in each of the `WAYS` and each time
in a process of its own. `HUGE_PAGES` stand in the environment: the GNU C library reads that at a process's start; other
systems ignore it. What batches cost to make is not in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

import outcome

HUGE_PAGES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
)
"""Large tensors come from memory that the process keeps, in pages of 2 MB, instead of from fresh pages of 4 kB."""

WAYS = {
    "float32": (False, ""),
    "bfloat16": (True, ""),
    "float32, huge pages": (False, HUGE_PAGES),
    "bfloat16, huge pages": (True, HUGE_PAGES),
}
"""By name: whether convolutions run in bfloat16, and the C library's settings."""


def faces_a_second(name: str, batch_size: int, steps: int, bf16: bool) -> float:
    """Of the training of one network, in this process."""
    import torch

    from facealign_cli.training.config import NETWORKS
    from facealign_cli.training.device import run_backbones_in_bf16
    from facealign_cli.training.network import Dan

    torch.set_num_threads(1)
    model = Dan(NETWORKS[name]).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if bf16:
        run_backbones_in_bf16(model, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    crops = 255 * torch.rand(batch_size, 1, model.config.crop_size, model.config.crop_size)
    begin = 0.0
    for step in range(steps + 2):  # the first two get everything ready
        if step == 2:
            begin = time.perf_counter()
        output = model(crops)
        loss = sum(landmarks.square().mean() for landmarks in output.landmarks) + output.logit.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return batch_size * steps / (time.perf_counter() - begin)


def measured(name: str, options: argparse.Namespace, way: str) -> float:
    """The same in a fresh process, in one of the `WAYS`."""
    bf16, tunables = WAYS[way]
    command = [sys.executable, __file__, name, "--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    environment = {**os.environ, "GLIBC_TUNABLES": tunables, "OMP_NUM_THREADS": "1"}
    alone = ["--alone", "bfloat16" if bf16 else "float32"]
    done = subprocess.run([*command, *alone], env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["dan", "dan-light", "dan-large"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--alone", choices=["float32", "bfloat16"], help="measure the first network in this process; print a number"
    )
    outcome.add_options(parser)
    options = parser.parse_args()
    if options.alone:
        bf16 = options.alone == "bfloat16"
        print(faces_a_second(options.networks[0], options.batch_size, options.steps, bf16))
        return
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(options.rounds):
        for name in options.networks:
            for way in WAYS:
                rates[name][way].append(measured(name, options, way))
    text = (
        f"Faces a second, and in brackets how many times as fast as in float32:\n\n| Network | {' | '.join(WAYS)} |\n"
    )
    text += f"| --- {'| ---: ' * len(WAYS)}|\n"
    for name, by_way in rates.items():
        text += f"| {name} | {' | '.join(_shown(values, by_way['float32']) for values in by_way.values())} |\n"
    outcome.hand_over(text, options, rates=rates)


def _shown(values: list[float], plain: list[float]) -> str:
    ratio = median(value / before for value, before in zip(values, plain, strict=True))
    return f"{median(values):.0f} ({ratio:.2f})"


if __name__ == "__main__":
    main()
