"""The network at work on the next frame: the same records, no frame done twice, no waiting for what comes later."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Floats, Image
from facealign_cli.errors import InputError, ModelError
from facealign_cli.placing import AlignedShapes, FaceCrops
from facealign_cli.records import FrameResult
from facealign_cli.video import VideoFrame, VideoInfo
from facealign_cli.video.foresight import Foresight
from facealign_cli.video.track import VideoOptions, track_video
from facealign_cli.video.tracking import TrackingOptions


class Network:
    """Counts what it is given. Its landmarks are the init shapes, moved by one pixel."""

    def __init__(self) -> None:
        self.cut: list[Image] = []
        self.names: list[str] = []
        self.error: Exception | None = None
        self._shapes: list[Floats] = []

    def cut_crops(self, image_bgr: Image, init_shapes: Sequence[Floats]) -> FaceCrops:
        self.cut.append(image_bgr)
        self._shapes = list(init_shapes)
        return FaceCrops(np.zeros((len(init_shapes), 1, 8, 8), np.uint8), ())

    def align_crops(self, faces: FaceCrops) -> AlignedShapes:
        self.names.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        landmarks = np.array(self._shapes) + 1
        return AlignedShapes(landmarks, landmarks, np.ones(len(faces.crops)))


FRAMES = [np.full((8, 8, 3), i, np.uint8) for i in range(3)]
SHAPES = [np.full((68, 2), float(i)) for i in range(3)]


def test_what_was_begun_is_taken_and_not_done_again() -> None:
    network = Network()
    with Foresight(network) as foresight:
        foresight.begin(FRAMES[1], SHAPES[:2])
        foresight.begin(FRAMES[1], SHAPES[:2])
        assert foresight.align_shapes(FRAMES[1], SHAPES[:2]).landmarks[:, 0, 0].tolist() == [1, 2]
    assert len(network.cut) == 1 and network.names == ["facealign-network"]


@pytest.mark.parametrize(
    ("frame", "shapes"),
    [
        (FRAMES[2], SHAPES[:2]),
        (FRAMES[1], SHAPES[:1]),
        (FRAMES[1], SHAPES[1::-1]),
        (FRAMES[1], [*SHAPES[:1], SHAPES[2]]),
    ],
    ids=["another frame", "a face less", "another order", "other landmarks"],
)
def test_what_was_begun_from_something_else_is_thrown_away(frame: Image, shapes: list[Floats]) -> None:
    network = Network()
    with Foresight(network) as foresight:
        foresight.begin(FRAMES[1], SHAPES[:2])
        got = foresight.align_shapes(frame, shapes)
        assert np.array_equal(got.landmarks, np.array(shapes) + 1)
        assert np.array_equal(foresight.align_shapes(FRAMES[0], SHAPES[:1]).landmarks, np.array(SHAPES[:1]) + 1)
    assert [id(image) for image in network.cut] == [id(FRAMES[1]), id(frame), id(FRAMES[0])]


def test_what_goes_wrong_arrives_where_the_result_is_taken() -> None:
    network = Network()
    with Foresight(network) as foresight:
        network.error = ModelError("the graph is damaged")
        foresight.begin(FRAMES[1], SHAPES[:1])
        with pytest.raises(ModelError, match="damaged"):
            foresight.align_shapes(FRAMES[1], SHAPES[:1])
        foresight.begin(FRAMES[1], SHAPES[:1])  # nobody takes it
        network.error = None
        assert foresight.align_shapes(FRAMES[2], SHAPES[:1]).confidence == 1
        foresight.begin(FRAMES[1], SHAPES[:1])  # and this is left undone
    assert "facealign-network" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


class Counting(Aligner):
    """An aligner that counts how often it follows."""

    followed = 0

    def align_crops(self, faces: FaceCrops) -> AlignedShapes:
        self.followed += 1
        return super().align_crops(faces)


class Pictures:
    """A source of given pictures at given times; None is a damaged frame."""

    sound = ()
    offset_s = Fraction(0)
    notes = ()

    def __init__(self, images: list[Image | None], step_s: float = 0.04) -> None:
        self.images, self.step_s = images, step_s
        self.info = VideoInfo("made", 240, 240, Fraction(1, 25), Fraction(25), len(images))

    def __iter__(self) -> Iterator[VideoFrame]:
        for i, image in enumerate(self.images):
            yield VideoFrame(i, i, i * self.step_s, image, 1, None if image is not None else "damaged")

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def photo(astronaut: Image) -> Image:
    return np.ascontiguousarray(astronaut[20:260, 100:340])


def told(records: Iterator[FrameResult]) -> list[object]:
    return [
        (
            r.frame,
            r.status,
            [(f.track_id, f.confidence, f.landmarks.tolist(), f.bbox, f.detector_score) for f in r.faces],
        )
        for r in records
    ]


@pytest.mark.parametrize("every", [None, 3], ids=["auto", "detector every third frame"])
def test_the_records_are_those_without_threads(aligner: Aligner, photo: Image, every: int | None) -> None:
    """A face that moves, two faces, a damaged frame, a cut to nothing and back."""
    pair = np.concatenate([photo, photo[:, ::-1]], axis=1)
    alone = np.concatenate([photo, np.zeros_like(photo)], axis=1)
    moving = [np.roll(alone, 2 * i, axis=1) for i in range(4)]
    source = Pictures([*moving, pair, pair, None, pair, np.zeros_like(pair), pair, pair, alone])
    options = TrackingOptions(every)
    beside, turns = (
        told(track_video(source, aligner, VideoOptions(options, beside=beside)))  # type: ignore[arg-type]
        for beside in (True, False)
    )
    assert beside == turns
    assert {len(faces) for _, _, faces in turns} == {0, 1, 2}  # type: ignore[misc]


@pytest.mark.parametrize(("every", "step_s", "expected"), [(None, 0.04, 5), (1, 0.04, 0), (None, 0.5, 0)])
def test_nothing_is_begun_that_cannot_be_followed(
    aligner: Aligner, photo: Image, every: int | None, step_s: float, expected: int
) -> None:
    counting = Counting(aligner.model)
    source = Pictures([photo.copy() for _ in range(6)], step_s)
    records = list(track_video(source, counting, VideoOptions(TrackingOptions(every))))  # type: ignore[arg-type]
    assert all(len(record.faces) == 1 for record in records)
    assert counting.followed == expected


def test_a_frame_that_is_not_there_yet_is_not_waited_for(aligner: Aligner, photo: Image) -> None:
    given = threading.Event()

    class Live(Pictures):
        def __iter__(self) -> Iterator[VideoFrame]:
            for frame in super().__iter__():
                if frame.index == 1 and not given.wait(30):
                    raise InputError("the first record waits for the second frame")
                yield frame

    records = track_video(Live([photo, photo]), aligner, VideoOptions(smoothing=None))  # type: ignore[arg-type]
    first = next(records)
    given.set()
    assert [first.frame, *(record.frame for record in records)] == [0, 1]
