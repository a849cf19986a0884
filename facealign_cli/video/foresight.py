"""The network at work on the next frame while the faces of this one are looked after.

The network starts on a frame from the landmarks of the frame before, and from nothing else. So it can begin on the next
frame as soon as it is through with this one; who is who, smoothing and the records of this frame come meanwhile. If the
next frame is not followed from just these landmarks, because a face was lost or found or the scene was cut, what was
begun is thrown away. The results are the same in either case.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Protocol

from facealign_cli.arrays import Floats, Image
from facealign_cli.placing import AlignedShapes, FaceCrops


class FaceNetwork(Protocol):
    """What foresight needs of an Aligner."""

    def cut_crops(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> FaceCrops: ...

    def align_crops(self, faces: FaceCrops) -> AlignedShapes: ...


class Foresight:
    """A thread that runs the network; leaving the context ends it."""

    def __init__(self, network: FaceNetwork) -> None:
        self._network = network
        self._jobs: SimpleQueue[FaceCrops | None] = SimpleQueue()
        self._results: SimpleQueue[AlignedShapes | BaseException] = SimpleQueue()
        self._taken = threading.Semaphore(0)  # one for each job that the thread is at work on
        self._begun: tuple[Image, list[Floats]] | None = None
        self._thread = threading.Thread(target=self._run, name="facealign-network", daemon=True)

    def __enter__(self) -> Foresight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()

    def begin(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> None:
        """Start on a picture from such shapes, unless it is begun already. What was begun before is thrown away."""
        if self._is_begun(image_bgr, init_shapes):
            return
        self._drop()
        crops = self._network.cut_crops(image_bgr, init_shapes)
        self._begun = image_bgr, list(init_shapes)
        self._jobs.put(crops)
        # Until the network runs, its thread needs the interpreter, which this one would otherwise keep for up to 5 ms.
        self._taken.acquire()

    def align_shapes(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> AlignedShapes:
        """As `Aligner.align_shapes`; what was begun on this picture and these shapes is waited for."""
        self.begin(image_bgr, init_shapes)
        self._begun, result = None, self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _is_begun(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> bool:
        if self._begun is None:
            return False
        image, shapes = self._begun
        same = len(shapes) == len(init_shapes) and all(a is b for a, b in zip(shapes, init_shapes, strict=True))
        return image is image_bgr and same

    def _drop(self) -> None:
        if self._begun is not None:
            self._begun = None
            self._results.get()

    def _run(self) -> None:
        while (crops := self._jobs.get()) is not None:
            self._taken.release()
            try:
                result: AlignedShapes | BaseException = self._network.align_crops(crops)
            except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
                result = problem
            del crops
            self._results.put(result)
