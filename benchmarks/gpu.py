"""What only a machine with a GPU can show: the landmark network on the GPU beside the same network on the CPU.

    pip uninstall onnxruntime && pip install onnxruntime-gpu
    python benchmarks/gpu.py [--device cuda] [--model NAME|FILE] [--picture FILE] [-o FILE.md]

Checks, in this order: the GPU's provider is the one in use; its landmarks are the CPU's within 0.05 crop pixels; two
processes share the GPU and place the same landmarks; a GPU that is not there is a clear error of the command. Measures
faces a second at 1 to 256 faces at a time, the crops ready and made on the CPU meanwhile, and the memory that it takes.

Exit codes: 0, all checks hold; 1, one fails (the table says which); 2, wrong usage; 4, there is nothing to check: the
installed ONNX Runtime has no CUDA support, or it finds no GPU. `--device cpu` goes through the same steps with the CPU
in the GPU's place, which shows on any machine that the program itself works.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import outcome

from facealign_cli.errors import DeviceError, FacealignError
from facealign_cli.geometry import init_shape_from_bbox
from facealign_cli.models.check import TOLERANCE_PX, face_of, perturbed_crops
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.models.timing import Step, measure
from facealign_cli.runtime import CPU, CUDA

ROOT = Path(__file__).resolve().parents[1]
NOTHING_TO_CHECK = 4
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MISSING_GPU = "cuda:99"


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and what was found."""

    what: str
    holds: bool
    found: str


def check_provider(model: DanModel, device: str) -> Check:
    """Asked for by name, a device is the one in use."""
    expected = CPU if device == "cpu" else CUDA
    return Check(f"the provider is {expected}", model.provider == expected, model.provider)


def check_landmarks(model: DanModel, reference: DanModel, crops: np.ndarray) -> Check:
    """The device's landmarks beside the CPU's, in crop pixels."""
    distance = np.linalg.norm(model.predict(crops).landmarks - reference.predict(crops).landmarks, axis=2)
    found = f"{distance.max():.4f} px at most, {distance.mean():.4f} px in the mean, {len(crops)} crops"
    if not distance.max() <= TOLERANCE_PX and model.provider == CUDA:
        found += "; if it is the GPU's TF32, NVIDIA_TF32_OVERRIDE=0 in the environment takes it away"
    return Check(f"landmarks within {TOLERANCE_PX:g} px of the CPU's", bool(distance.max() <= TOLERANCE_PX), found)


def check_missing_gpu(device: str = MISSING_GPU) -> Check:
    """`--device` of a GPU that is not there is an error in one line that names it, with exit code 1."""
    picture = str(ROOT / "docs" / "astronaut.jpg")
    command = [sys.executable, "-m", "facealign_cli", "detect", "image", picture, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = done.stderr.strip().splitlines()
    clear = done.returncode == 1 and len(lines) == 1 and f"device {device}" in lines[0]
    return Check(f"--device {device} is a clear error", clear, f"exit code {done.returncode}: {' '.join(lines)[:300]}")


def _share(
    device: str, model: str | None, crops: np.ndarray, seconds: float, *, barrier: Barrier, answers: Any
) -> None:
    """In a process of its own: predict for so long; give the faces a second and the landmarks of the first round."""
    dan = load_model(model, device=device, batch_size=len(crops))
    landmarks = dan.predict(crops).landmarks
    barrier.wait(timeout=300)
    begin, faces = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        dan.predict(crops)
        faces += len(crops)
    answers.put((faces / (time.perf_counter() - begin), landmarks))


def faces_a_second(device: str, model: str | None, crops: np.ndarray, processes: int, seconds: float) -> list[Any]:
    """(faces a second, landmarks) of each of some processes that work on the device at the same time."""
    context = get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(
            target=_share, args=(device, model, crops, seconds), kwargs={"barrier": barrier, "answers": answers}
        )
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        return [answers.get(timeout=300) for _ in workers]
    finally:
        for worker in workers:
            worker.join(timeout=60)


def check_sharing(
    device: str, model: str | None, crops: np.ndarray, expected: np.ndarray, seconds: float
) -> tuple[Check, list[str]]:
    """Two processes on one device place the same landmarks; and their speed beside that of one."""
    ((alone, _),) = faces_a_second(device, model, crops, 1, seconds)
    both = faces_a_second(device, model, crops, 2, seconds)
    off = max(float(np.linalg.norm(landmarks - expected, axis=2).max()) for _, landmarks in both)
    together = sum(speed for speed, _ in both)
    rows = [f"| one process | {alone:,.0f} | 1.00 |", f"| two processes | {together:,.0f} | {together / alone:.2f} |"]
    return Check("two processes place the same landmarks", off <= TOLERANCE_PX, f"{off:.4f} px at most"), rows


def speed_rows(
    device: str, model: str | None, picture: np.ndarray, box: tuple[float, ...], *, batches: Sequence[int], rounds: int
) -> list[str]:
    """Faces a second for each number of faces at a time: the crops ready, made beside, and on the CPU."""
    shape, steps = init_shape_from_bbox(box), []
    for batch in batches:
        for name, where in (("ready", device), ("made", device), ("CPU", "cpu")):
            dan = load_model(model, device=where, batch_size=batch)
            crop = dan.frame.crop(picture, shape, grey=True)[0]
            ready = np.broadcast_to(crop, (batch, 1, *crop.shape)).copy()

            def run(dan: DanModel = dan, ready: np.ndarray = ready, made: bool = name == "made") -> None:
                if made:
                    ready = np.array([dan.frame.crop(picture, shape, grey=True)[0] for _ in range(len(ready))])
                dan.predict(ready)

            steps.append(Step(name, "crop → landmarks", 1, batch, batch, run))
    measure(steps, rounds)
    speeds = [step.faces / float(np.median(step.seconds)) for step in steps]
    table = zip(batches, *[speeds[kind::3] for kind in range(3)], strict=True)
    return [f"| {batch} | {a:,.0f} | {b:,.0f} | {cpu:,.0f} | {a / cpu:.1f} |" for batch, a, b, cpu in table]


def memory() -> str:
    """Of this process: its largest resident size, and what it holds of the GPU, as nvidia-smi says."""
    status = Path("/proc/self/status")
    peak = next((int(x.split()[1]) for x in status.read_text().splitlines() if x.startswith("VmHWM")), 0) >> 10
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    if shutil.which(query[0]) is None:
        return f"{peak} MB of memory at most; no nvidia-smi here, so nothing is known of a GPU's memory"
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    own = [line.split(",")[1].strip() for line in listed if line.startswith(f"{os.getpid()},")]
    gpu = f"{own[0]} MB of the GPU's" if own else "nvidia-smi does not list this process (a container?)"
    return f"{peak} MB of memory at most; {gpu}"


def report(args: argparse.Namespace) -> tuple[str, bool]:
    """Markdown, and whether all checks hold. Raises DeviceError where there is no such device."""
    model = load_model(args.model, device=args.device)
    picture, box = face_of(args.picture)
    crops = perturbed_crops(model.frame, picture, box, 64)
    reference = load_model(args.model, device="cpu")
    checks = [check_provider(model, args.device), check_landmarks(model, reference, crops)]
    expected = reference.predict(crops).landmarks
    sharing, rows = check_sharing(args.device, args.model, crops, expected, args.seconds)
    checks += [sharing, check_missing_gpu()]
    batches = [batch for batch in BATCHES if batch <= args.most]
    speeds = speed_rows(args.device, args.model, picture, box.xyxy, batches=batches, rounds=args.rounds)
    lines = [
        f"{model.name} on {args.device}; {memory()}.",
        "",
        "| check | holds | found |",
        "| --- | --- | --- |",
        *(f"| {check.what} | {'yes' if check.holds else '**no**'} | {check.found} |" for check in checks),
        "",
        f"Faces a second, medians of {args.rounds} interleaved rounds; the CPU with one thread.",
        "",
        f"| faces at a time | {args.device}, crops ready | {args.device}, crops made | CPU, crops ready | ratio |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *speeds,
        "",
        f"| at once on {args.device}, {len(crops)} faces at a time | faces a second | ratio |",
        "| --- | ---: | ---: |",
        *rows,
    ]
    return "\n".join(lines) + "\n", all(check.holds for check in checks)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu")
    parser.add_argument("--model")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "astronaut.jpg")
    parser.add_argument("--most", type=int, default=BATCHES[-1], help="faces at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10, help="that processes work side by side")
    outcome.add_options(parser)
    args = parser.parse_args()
    if args.device == "auto":
        parser.error("--device auto would not say what is measured: take cuda, cuda:N or cpu")
    try:
        text, held = report(args)
    except DeviceError as error:
        print(f"nothing to check: {error}", file=sys.stderr)
        sys.exit(NOTHING_TO_CHECK)
    except FacealignError as error:
        sys.exit(str(error))
    outcome.hand_over(text, args)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
