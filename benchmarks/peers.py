"""Our default model beside what users would pick instead: same faces, same boxes, one run.

    python benchmarks/peers.py ROOT [--python PEERS_PYTHON] [--node FOLDER] [--model NAME|FILE] [-o FILE.md]

ROOT: the 300-W training folders; measured on the held-out split, from the organisers' boxes. The peers
are no dependencies of ours and some clash with them: put them into an environment of their own and name its Python.

    python -m venv peers && peers/bin/pip install setuptools face_recognition_models dlib-bin mediapipe==0.10.21 \\
        ai-edge-litert
    npm install --prefix peers_node @vladmandic/face-api @tensorflow/tfjs @tensorflow/tfjs-backend-wasm

A peer that is not there is shown as such. Each predictor runs in a process of its own (`peer_worker.py`,
`peer_faceapi.mjs`), which gets decoded pixels. What box a peer likes best, and its mean offset from the 300-W points,
are found on training faces, never on the held-out ones. Times: rounds interleaved over all predictors, median over the
rounds. Memory: growth of its resident size from before the
predictor's packages are imported until it has done its work, with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import outcome
from peer_table import CANDIDATES, COLUMNS, FITTING_FACES, ROUNDS, Candidate, Result, table

from facealign_cli.datasets import Sample, held_out_samples, read_samples
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.files.pictures import read_image
from facealign_cli.geometry import SimilarityTransform
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.metrics import nme

ROUND_FACES = 16
"""Faces that each predictor gets in a round."""
HERE = Path(__file__).resolve().parent


class Worker:
    """A predictor's process. `hello` is its first reply; `missing` says why there is none."""

    def __init__(self, command: list[str], threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(HERE.parent)}
        self._process: subprocess.Popen[str] | None = None
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                env=environment,
            )
            self.hello = self._read()
        except (OSError, RuntimeError) as error:
            self.hello = {"missing": str(error)}

    @property
    def missing(self) -> str | None:
        """Why the predictor cannot be had, or None."""
        return self.hello.get("missing")

    def ask(self, faces: list[dict[str, Any]], option: str) -> dict[str, Any]:
        """Predict some faces. Raises RuntimeError if the process dies."""
        into, _ = self._pipes()
        into.write(json.dumps({"faces": faces, "option": option}) + "\n")
        into.flush()
        return self._read()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("its process was never started")
        return self._process.stdin, self._process.stdout

    def _read(self) -> dict[str, Any]:
        line = self._pipes()[1].readline()
        if line:
            return dict(json.loads(line))
        self._stderr.seek(0)
        last = self._stderr.read().strip().splitlines()[-1:]
        raise RuntimeError(f"its process ended: {' '.join(last)}")

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.communicate(timeout=20)
        self._stderr.close()


@dataclass(frozen=True)
class FaceSet:
    """Faces as workers take them, and their truth (N, 68, 2)."""

    faces: list[dict[str, Any]]
    truth: np.ndarray

    @classmethod
    def write(cls, samples: list[Sample], folder: Path, prefix: str) -> FaceSet:
        """Decode the pictures of samples that have a box into raw files."""
        faces = []
        for i, sample in enumerate(samples):
            image = read_image(sample.image_path)
            file = folder / f"{prefix}{i}.bgr"
            image.tofile(file)
            faces.append({"file": str(file), "shape": image.shape, "box": sample.bbox.xyxy if sample.bbox else ()})
        return cls(faces, np.array([s.landmarks for s in samples]))


def as_arrays(landmarks: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(K, 68, 2) the predictions there are, and the (K,) indices of their faces."""
    found = np.array([i for i, points in enumerate(landmarks) if points is not None], int)
    return np.array([landmarks[i] for i in found], float).reshape(-1, 68, 2), found


def mean_offset(landmarks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(68, 2) how far the truth lies from the predictions on average, in the mean shape's frame; both (N, 68, 2)."""
    frames = [SimilarityTransform.estimate(shape, MEAN_SHAPE) for shape in landmarks]
    pairs = zip(frames, landmarks, truth, strict=True)
    return np.mean([frame.apply(true) - frame.apply(shape) for frame, shape, true in pairs], axis=0)


def with_offset(landmarks: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(N, 68, 2) predictions moved by an offset in the mean shape's frame."""
    frames = [SimilarityTransform.estimate(shape, MEAN_SHAPE) for shape in landmarks]
    return np.array([f.inverse().apply(f.apply(s) + offset) for f, s in zip(frames, landmarks, strict=True)])


def best_option(worker: Worker, fitting: FaceSet) -> tuple[str, np.ndarray]:
    """The box option of the lowest error on the training faces, where it finds most, and the mean offset there."""
    ranked = []
    for option in worker.hello["options"]:
        landmarks, found = as_arrays(worker.ask(fitting.faces, option)["landmarks"])
        if len(found):
            truth = fitting.truth[found]
            ranked.append((-len(found), nme(landmarks, truth, "inter-pupil").mean(), option, landmarks, truth))
    if not ranked:
        raise RuntimeError("it found none of the training faces")
    most = min(ranked)[0]
    near = [entry for entry in ranked if entry[0] <= 0.98 * most]
    _count, _error, option, landmarks, truth = min(near, key=lambda entry: entry[1])
    return option, mean_offset(landmarks, truth)


def measure_accuracy(worker: Worker, result: Result, fitting: FaceSet, held_out: FaceSet) -> str | None:
    """Fill in the result's version, size and errors, from the best box option. Returns why it failed, if it did."""
    result.version, result.file_mib = worker.hello["version"], worker.hello["file_bytes"] / 2**20
    try:
        result.option, offset = best_option(worker, fitting)
        landmarks, found = as_arrays(worker.ask(held_out.faces, result.option)["landmarks"])
    except (OSError, RuntimeError) as error:
        return str(error)
    truth = held_out.truth[found]
    result.found, result.faces = len(found), len(held_out.faces)
    errors = nme(landmarks, truth, "inter-pupil")
    straightened = nme(with_offset(landmarks, offset), truth, "inter-pupil")
    figures = (errors.mean(), np.median(errors), nme(landmarks, truth, "inter-ocular").mean(), straightened.mean())
    result.errors = {column: 100 * float(figure) for column, figure in zip(COLUMNS, figures, strict=True)}
    return None


def measure_speed(workers: dict[tuple[str, int], Worker], results: dict[str, Result], faces: list[Any]) -> None:
    """Fill in times and memory: every round asks each worker for the same few faces; the first round is not counted."""
    times: dict[tuple[str, int], list[float]] = {key: [] for key in workers}
    for turn in range(ROUNDS + 1):
        some = [faces[(turn * ROUND_FACES + i) % len(faces)] for i in range(ROUND_FACES)]
        for (name, threads), worker in workers.items():
            reply = worker.ask(some, results[name].option)
            if turn:
                times[name, threads].append(statistics.median(reply["ms"]))
            if threads == 1:
                results[name].rss_mib = reply["rss"] - worker.hello["rss_before"]
    for (name, threads), rounds in times.items():
        results[name].ms[threads] = statistics.median(rounds)


def command_of(candidate: Candidate, threads: int, args: argparse.Namespace) -> list[str]:
    """The command line of a candidate's process."""
    if candidate.node:
        return ["node", str(HERE / "peer_faceapi.mjs"), candidate.name, str(threads), str(args.node or HERE)]
    worker = str(HERE / "peer_worker.py")
    if candidate.model is None:
        return [args.python, worker, candidate.name, str(threads)]
    model = args.model if args.model and candidate.name == "facealign" else candidate.model
    return [sys.executable, worker, "facealign", str(threads), model]


def fitting_samples(root: Path) -> list[Sample]:
    """Some hand-labelled training faces that have a box."""
    samples = [s for s in read_samples(root) if isinstance(s, Sample) and not s.rough and s.bbox]
    training = [s for s in samples if not is_held_out(s.photo)]
    return training[:: max(1, len(training) // FITTING_FACES)][:FITTING_FACES]


def run(args: argparse.Namespace, fitting: FaceSet, held_out: FaceSet) -> list[Result]:
    """Measure every candidate that can be had."""
    results: dict[str, Result] = {}
    workers: dict[tuple[str, int], Worker] = {}
    for candidate in CANDIDATES:
        print(f"{candidate.name} …", file=sys.stderr)
        result = results[candidate.name] = Result(candidate)
        pair = {threads: Worker(command_of(candidate, threads, args), threads) for threads in (1, 2)}
        result.missing = pair[1].missing or pair[2].missing or measure_accuracy(pair[1], result, fitting, held_out)
        if not result.missing:
            workers |= {(candidate.name, threads): worker for threads, worker in pair.items()}
            continue
        for worker in pair.values():
            worker.close()
    measure_speed(workers, results, held_out.faces)
    for worker in workers.values():
        worker.close()
    return list(results.values())


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--python", default=sys.executable, help="Python that has the peers")
    parser.add_argument("--node", type=Path, help="folder in which npm install was run")
    parser.add_argument("--model", help="ours: a model's name or file; else the default")
    outcome.add_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facealign-peers-") as folder:
        fitting = FaceSet.write(fitting_samples(args.root), Path(folder), "fit")
        held_out = FaceSet.write([s for s in held_out_samples(args.root) if s.bbox], Path(folder), "test")
        found = run(args, fitting, held_out)
    outcome.hand_over(table(found), args, peers=[asdict(result) for result in found])


if __name__ == "__main__":
    main()
