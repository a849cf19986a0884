"""How many faces a second a training step takes on one thread, and what huge pages of memory bring.

    python benchmarks/training_speed.py [dan dan-light dan-large] [--batch-size 32] [--steps 4] [--rounds 2]

Each round trains each network on noise, forward, backward and the optimizer's step, its convolutions in bfloat16: once
as the system gives memory out, and once with `HUGE_PAGES` in the environment, each in a process of its own. The GNU C
library reads that at a process's start; other systems ignore it. What batches cost to make is not in it.
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


def faces_a_second(name: str, batch_size: int, steps: int) -> float:
    """Of the training of one network, in this process."""
    import torch

    from facealign_cli.training.config import NETWORKS
    from facealign_cli.training.device import run_backbones_in_bf16
    from facealign_cli.training.network import Dan

    torch.set_num_threads(1)
    model = Dan(NETWORKS[name]).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
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


def measured(name: str, options: argparse.Namespace, tunables: str) -> float:
    """The same in a fresh process with these settings of the C library."""
    command = [sys.executable, __file__, name, "--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    environment = {**os.environ, "GLIBC_TUNABLES": tunables, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--alone"], env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["dan", "dan-light", "dan-large"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--alone", action="store_true", help="measure the first network in this process; print a number"
    )
    outcome.add_options(parser)
    options = parser.parse_args()
    if options.alone:
        print(faces_a_second(options.networks[0], options.batch_size, options.steps))
        return
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name in options.networks:
            for tunables in ("", HUGE_PAGES):
                rates[name, tunables].append(measured(name, options, tunables))
    text = "| Network | Faces a second | With huge pages | Times as fast |\n| --- | ---: | ---: | ---: |\n"
    for name in options.networks:
        plain, huge = rates[name, ""], rates[name, HUGE_PAGES]
        ratio = median(after / before for before, after in zip(plain, huge, strict=True))
        text += f"| {name} | {_shown(plain)} | {_shown(huge)} | {ratio:.2f} |\n"
    outcome.hand_over(
        text, options, rates={f"{name}{' huge' * bool(t)}": values for (name, t), values in rates.items()}
    )


def _shown(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    main()
