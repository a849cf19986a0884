"""Where the time goes: decoding, detection, cropping and the network apart, on pictures of your own.

    python benchmarks/speed.py PICTURE|FOLDER... [--detector NAME] [--model NAME|FILE] [--against FILE] [-o FILE.md]

Every round runs every step once, one after the other, so that whatever else the machine does falls on all alike; the
figure is the median over the rounds. Times on a shared machine differ from hour to hour, ratios within one run hardly:
each step stands beside a named reference of the same run. Decoding: OpenCV's bare `imdecode`. Detection: dlib's HOG.
Network: the `--against` model (an earlier release, say) under the same threads and batch, else the same network with
one thread and one face at a time. OpenCV itself is held to one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import outcome

from facealign_cli.aligner import Aligner
from facealign_cli.detectors import create_detector
from facealign_cli.errors import FacealignError
from facealign_cli.files.pictures import decode_image
from facealign_cli.geometry import CropFrame, init_shape_from_bbox
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
BATCHES, THREADS = (1, 16), (1, 2)
NETWORK_FACES = 32
"""Crops that the network is timed on: those of the pictures, repeated."""


@dataclass(eq=False)
class Step:
    """Something to time. run: does it once, for `count` of `unit`. beside: the step whose time it is divided by."""

    name: str
    unit: str
    count: int
    run: Callable[[], object]
    threads: int = 1
    batch: int | None = None
    beside: Step | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        """Milliseconds per unit, the median over the rounds."""
        return 1000 * statistics.median(self.seconds) / self.count

    @property
    def ratio(self) -> float | None:
        """This step's time over its reference's: the median over the rounds of the ratio within each."""
        if self.beside is None:
            return None
        pairs = zip(self.seconds, self.beside.seconds, strict=True)
        return statistics.median(a / self.count / (b / self.beside.count) for a, b in pairs)


@dataclass(frozen=True)
class Material:
    """What the steps work on: encoded pictures, decoded ones, and init shapes with their pictures."""

    encoded: list[bytes]
    pictures: list[np.ndarray]
    faces: list[tuple[np.ndarray, np.ndarray]]

    def crops(self, frame: CropFrame) -> np.ndarray:
        """(N, 1, S, S) uint8 crops of the faces."""
        return np.array([frame.crop(picture, shape, grey=True)[0][None] for picture, shape in self.faces])


def picture_files(paths: Iterable[Path]) -> list[Path]:
    """The pictures named, and those in the folders named, in the order of names."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        files += inside
    return files


def gather(files: list[Path], aligner: Aligner) -> Material:
    """Read the pictures and find their faces; pictures that cannot be read are named on stderr and left out."""
    encoded, pictures, faces = [], [], []
    for file in files:
        try:
            data = file.read_bytes()
            picture = decode_image(data, str(file))
        except (OSError, FacealignError) as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        encoded.append(data)
        pictures.append(picture)
        for detection in aligner.detector.detect(picture):
            box = aligner.detector.calibration.landmarks_bbox(detection.bbox)
            faces.append((picture, init_shape_from_bbox(box.xyxy)))
    return Material(encoded, pictures, faces)


def picture_steps(material: Material, detector: str) -> list[Step]:
    """Decoding and detection, each after its reference."""
    n = len(material.pictures)
    bare = Step("decode, bare OpenCV", "picture", n, lambda: [_imdecode(data) for data in material.encoded])
    decode = Step(
        "decode", "picture", n, lambda: [decode_image(data, "picture") for data in material.encoded], beside=bare
    )
    steps = [bare, decode]
    names = dict.fromkeys(["dlib-hog", "mtcnn", detector])
    reference: Step | None = None
    for name in names:
        for threads in (1,) if name == "dlib-hog" else THREADS:
            found = create_detector(name, threads=threads)
            step = Step(f"detect, {name}", "picture", n, _detecting(found, material), threads, beside=reference)
            reference = reference or step
            steps.append(step)
    return steps


def _imdecode(data: bytes) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _detecting(detector: object, material: Material) -> Callable[[], object]:
    return lambda: [detector.detect(picture) for picture in material.pictures]  # type: ignore[attr-defined]


def face_steps(material: Material, model: str | None, against: str | None) -> list[Step]:
    """Cropping, and the network for each number of threads and faces at a time, after its reference."""
    first = load_model(model)
    n = len(material.faces)
    steps = [Step("crop", "face", n, lambda: material.crops(first.frame))]
    alone: Step | None = None
    for threads in THREADS:
        for batch in BATCHES:
            rival = None
            if against:
                rival = _network(
                    f"network, {Path(against).stem}", against, material, threads=threads, batch=batch, beside=None
                )
                steps.append(rival)
            step = _network("network", model, material, threads=threads, batch=batch, beside=rival or alone)
            alone = alone or step
            steps.append(step)
    return steps


def _network(
    name: str, model: str | None, material: Material, *, threads: int, batch: int, beside: Step | None
) -> Step:
    """The network on all crops, repeated or cut to the same number for every step."""
    dan: DanModel = load_model(model, device="cpu", threads=threads, batch_size=batch)
    crops = material.crops(dan.frame)
    crops = np.tile(crops, (-(-NETWORK_FACES // len(crops)), 1, 1, 1))[:NETWORK_FACES]
    return Step(name, "face", len(crops), lambda: dan.predict(crops), threads, batch, beside)


def measure(steps: list[Step], rounds: int) -> None:
    """Run all steps in turn, once to warm up and then `rounds` times."""
    for turn in range(rounds + 1):
        for step in steps:
            start = time.perf_counter()
            step.run()
            if turn:
                step.seconds.append(time.perf_counter() - start)


def table(steps: list[Step], material: Material, rounds: int) -> str:
    """Markdown."""
    height, width = np.median([picture.shape[:2] for picture in material.pictures], axis=0)
    lines = [
        f"{len(material.pictures)} pictures ({width:.0f}×{height:.0f} in the median), {len(material.faces)} faces; "
        f"medians of {rounds} interleaved rounds.",
        "",
        "| step | threads | faces at a time | ms | per | ratio | to |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    return "\n".join([*lines, *(row(step) for step in steps)]) + "\n"


def row(step: Step) -> str:
    """A step's line of the table."""
    ratio, to = "–", "–"
    if step.beside is not None and step.ratio is not None:
        batch = f", {step.beside.batch} at a time" if step.beside.batch else ""
        ratio, to = f"{step.ratio:.2f}", f"{step.beside.name}, {step.beside.threads} thread{batch}"
        to = to.replace("2 thread", "2 threads")
    return f"| {step.name} | {step.threads} | {step.batch or '–'} | {step.ms:.2f} | {step.unit} | {ratio} | {to} |"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--detector", default="yunet")
    parser.add_argument("--model")
    parser.add_argument("--against", help="another model of ours, by name or file")
    parser.add_argument("--rounds", type=int, default=7)
    outcome.add_options(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    material = gather(picture_files(args.pictures), Aligner(args.model, args.detector))
    if not material.faces:
        sys.exit("no face in these pictures: nothing to time the alignment on")
    steps = picture_steps(material, args.detector) + face_steps(material, args.model, args.against)
    measure(steps, args.rounds)
    seconds = [
        {"step": step.name, "threads": step.threads, "batch": step.batch, "seconds": step.seconds} for step in steps
    ]
    outcome.hand_over(table(steps, material, args.rounds), args, rounds=seconds)


if __name__ == "__main__":
    main()
