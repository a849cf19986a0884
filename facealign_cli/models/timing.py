"""How fast models are: the whole graph from crop to landmarks, and cropping with normalisation to grey beside it.

Every round times every step once, one after the other, so that whatever else the machine does falls on all alike; a
figure is the median over the rounds, a ratio the median of the ratios within each round. On a shared machine the
milliseconds differ from hour to hour, the ratios hardly. OpenCV is held to one thread meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from facealign_cli.geometry import CropFrame, init_shape_from_bbox
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model

BATCHES, THREADS = (1, 16), (1, 2)
PICTURE = (480, 640)
"""Height, width of the noise that faces are cropped from; what is in it does not change the time."""
_FACE_BOX = (220.0, 140.0, 420.0, 340.0)


@dataclass(eq=False)
class Step:
    """Something to time. run: does it once, for `faces` faces. seconds: of each round."""

    model: str
    what: str
    threads: int
    batch: int
    faces: int
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Timing:
    """One line of the result. ms_per_face: median over the rounds; ratio: to the first model at the same step."""

    model: str
    what: str
    threads: int
    batch: int
    ms_per_face: float
    ratio: float


def bench(
    models: Sequence[str],
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = THREADS,
    rounds: int = 15,
    faces: int = 16,
    watch: Callable[[Iterable[int]], Iterable[int]] = lambda rounds: rounds,
) -> list[Timing]:
    """Time models side by side on the CPU.

    models: shipped names or .onnx files; the first is what the others are compared to. faces: crops a round for each
    step, at least the largest batch. watch: wraps the rounds, for a progress bar.
    Raises InputError, ModelError, ValueError if there is no model, batch, number of threads or round.
    """
    if not models or not batches or not threads or rounds < 1:
        raise ValueError("nothing to time: expected at least one model, batch, number of threads and round")
    steps = [step for name in models for step in _steps(name, batches, threads, max(faces, *batches))]
    measure(steps, rounds, watch)
    return timings(steps)


def _steps(name: str, batches: Sequence[int], threads: Sequence[int], faces: int) -> Iterable[Step]:
    frame: CropFrame | None = None
    for count, batch in product(threads, batches):
        model = load_model(name, device="cpu", threads=count, batch_size=batch)
        if frame is None:
            frame = model.frame
            yield Step(name, "crop + grey", 1, 1, faces, _cropping(frame, faces))
        n = faces // batch * batch
        yield Step(name, "crop → landmarks", count, batch, n, _predicting(model, n))


def _predicting(model: DanModel, faces: int) -> Callable[[], object]:
    size = model.frame.size
    crops = np.random.default_rng(0).integers(0, 256, (faces, 1, size, size), np.uint8)
    return lambda: model.predict(crops)


def _cropping(frame: CropFrame, faces: int) -> Callable[[], object]:
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), np.uint8)
    shape = init_shape_from_bbox(_FACE_BOX)
    return lambda: [frame.crop(picture, shape, grey=True) for _ in range(faces)]


def measure(
    steps: Sequence[Step], rounds: int, watch: Callable[[Iterable[int]], Iterable[int]] = lambda rounds: rounds
) -> None:
    """Run all steps in turn, once to warm up and then `rounds` times, filling their `seconds`."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for turn in watch(range(rounds + 1)):
            for step in steps:
                start = time.perf_counter()
                step.run()
                if turn:
                    step.seconds.append(time.perf_counter() - start)
    finally:
        cv2.setNumThreads(before)


def timings(steps: Sequence[Step]) -> list[Timing]:
    """The measured steps' figures, each beside the first step that does the same with as many threads and faces."""
    first: dict[tuple[str, int, int], Step] = {}
    result = []
    for step in steps:
        reference = first.setdefault((step.what, step.threads, step.batch), step)
        ratio = statistics.median(
            (own / step.faces) / (other / reference.faces)
            for own, other in zip(step.seconds, reference.seconds, strict=True)
        )
        ms = 1000 * statistics.median(step.seconds) / step.faces
        result.append(Timing(step.model, step.what, step.threads, step.batch, ms, ratio))
    return result
