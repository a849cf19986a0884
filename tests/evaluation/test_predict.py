"""Which box an evaluation begins from: this guards the figures that are published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.datasets import Sample
from facealign_cli.datasets.splits import is_held_out
from facealign_cli.errors import InputError
from facealign_cli.evaluation.predict import Init, predict_sample, predict_samples, select_samples
from facealign_cli.formats.pts import write_pts
from facealign_cli.geometry import bbox_of_shape
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.placing import AlignedShapes, init_shapes
from facealign_cli.training.pack import read_pack
from facealign_cli.training.packing import write_pack

TRUTH = MEAN_SHAPE + 100
TIGHT = BBox.around(TRUTH)


def moved(share: float) -> BBox:
    """The tight box moved right by a share of its width; its IoU with it is (1 - share) / (1 + share)."""
    x1, y1, x2, y2 = TIGHT.xyxy
    return BBox(x1 + share * (x2 - x1), y1, x2 + share * (x2 - x1), y2)


class FoundBoxes:
    """Stands for an Aligner whose detector finds given boxes; it says that the face is where its init was."""

    def __init__(self, name: str, boxes: list[BBox]) -> None:
        self.detector = SimpleNamespace(
            name=name, calibration=BoxCalibration(), detect=lambda *_: [Detection(box, 0.9) for box in boxes]
        )
        self.model = SimpleNamespace(metadata=SimpleNamespace(stages=1))

    def align_shapes(self, _image: np.ndarray, shapes: list[np.ndarray]) -> AlignedShapes:
        """The init shapes."""
        return AlignedShapes(np.array(shapes), np.array(shapes), np.ones(len(shapes)))

    def align_detections(self, image: np.ndarray, detections: list[Detection]) -> AlignedShapes:
        """The init shapes in their boxes."""
        return self.align_shapes(image, init_shapes(detections, self.detector.calibration))


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 200, 3), np.uint8))
    return Sample("a.png", "some", "some/a", tmp_path / "a.png", TRUTH)


def init_center(sample: Sample, detector: str, boxes: list[BBox], init: Init) -> float | str:
    """Where the init shape's box lay, in widths of the tight box to the right of it; or the status of a failure."""
    prediction = predict_sample(sample, FoundBoxes(detector, boxes), init)  # type: ignore[arg-type]
    if prediction.status != "ok":
        return prediction.status
    box = bbox_of_shape(prediction.stages[-1])
    return float((box[0] + box[2] - TIGHT.x1 - TIGHT.x2) / 2 / (TIGHT.x2 - TIGHT.x1))


def test_of_several_boxes_the_one_that_overlaps_best_counts(sample: Sample) -> None:
    boxes = [moved(0.3), moved(0.05), moved(0.2)]
    for detector, init in (("any", "detector"), ("boxes", "boxes")):
        assert init_center(sample, detector, boxes, init) == pytest.approx(0.05)  # type: ignore[arg-type]


def test_a_detector_has_found_a_face_at_an_overlap_of_two_fifths(sample: Sample) -> None:
    assert init_center(sample, "any", [moved(0.42)], "detector") == pytest.approx(0.42)  # IoU 0.408
    assert init_center(sample, "any", [moved(0.44)], "detector") == "missed"  # IoU 0.389
    assert init_center(sample, "any", [], "detector") == "missed"


@pytest.mark.parametrize(("confidence", "status"), [(0.89, "missed"), (0.9, "ok")])
def test_a_box_that_the_detector_is_unsure_of_counts_as_it_does_everywhere(
    sample: Sample, confidence: float, status: str
) -> None:
    """Only if the landmarks in it are beyond doubt: else the face would not be shown."""
    aligner = FoundBoxes("any", [])
    aligner.detector.detect = lambda *_: [Detection(moved(0.1), 0.6, unsure=True)]
    place = aligner.align_shapes
    aligner.align_shapes = lambda *given: replace(place(*given), confidence=np.array([confidence]))  # type: ignore[method-assign]
    assert predict_sample(sample, aligner, "detector").status == status  # type: ignore[arg-type]


@pytest.mark.parametrize(("least", "status"), [(0.0, "ok"), (0.3, "ok"), (0.31, "missed")])
def test_a_face_of_too_little_confidence_is_missed(sample: Sample, least: float, status: str) -> None:
    aligner = FoundBoxes("any", [moved(0.1)])
    place = aligner.align_shapes
    aligner.align_shapes = lambda *given: replace(place(*given), confidence=np.array([0.3]))  # type: ignore[method-assign]
    (prediction,) = predict_samples([sample], aligner, "detector", min_confidence=least)  # type: ignore[arg-type]
    assert prediction.status == status


def test_boxes_from_a_file_are_taken_as_they_are(sample: Sample) -> None:
    assert init_center(sample, "boxes", [moved(0.6)], "boxes") == pytest.approx(0.6)


@pytest.mark.parametrize("small", [False, True])
def test_the_held_out_faces_of_a_folder_are_those_of_its_pack(tmp_path: Path, small: bool) -> None:
    """A model that was trained on the pack is measured on none of the faces that it has seen."""
    names = [name for name in map("n{}".format, range(40)) if not (small and is_held_out(f"own/{name}"))][:12]
    for i, name in enumerate(names):
        (tmp_path / "own").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "own" / f"{name}.png"), np.zeros((250, 250, 3), np.uint8))
        write_pts(tmp_path / "own" / f"{name}.pts", TRUTH * (1, 1 - 0.01 * i))
    write_pack([tmp_path / "own"], tmp_path / "p.h5", size=64)
    pack = read_pack(tmp_path / "p.h5")
    held_out = [name.partition(":")[2] for name, out in zip(pack.names, pack.held_out, strict=True) if out]
    assert 0 < len(held_out) < len(names)
    assert [sample.name for sample in select_samples(tmp_path / "own", "held-out").samples] == held_out
    assert len(select_samples(tmp_path / "own").samples) == len(names)


def test_no_face_is_held_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 200, 3), np.uint8))
    write_pts(tmp_path / "a.pts", TRUTH)
    (tmp_path / "afw").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "afw" / "n1.png")
    (tmp_path / "a.pts").rename(tmp_path / "afw" / "n1.pts")
    with pytest.raises(InputError, match=r"no face of it is held out \(1 "):
        select_samples(tmp_path, "held-out")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [True, False])
def test_points_of_the_picture_as_it_is_stored(tmp_path: Path, orientation: int, stored: bool) -> None:
    """Of a picture that EXIF turns, points of a tool that does not look at EXIF lie turned, or mirrored."""
    exif = Image.Exif()
    exif[0x112] = orientation
    turns = {1: (1, 1j), 2: (-1, 1j), 3: (-1, -1j), 4: (1, -1j), 5: (1j, 1), 6: (-1j, 1), 7: (-1j, -1), 8: (1j, -1)}
    x, y = turns[orientation] if stored else (1, 1j)  # where the axes of the upright face lie
    shape = MEAN_SHAPE[:, 0] * x + MEAN_SHAPE[:, 1] * y
    Image.new("RGB", (200, 200)).save(tmp_path / "a.png", exif=exif)
    one = Sample("a.png", "some", "some/a", tmp_path / "a.png", np.stack([shape.real, shape.imag], 1) + 100)
    warning = one.picture().warning
    assert bool(warning) == (stored and orientation != 1)
    assert warning is None or "EXIF" in warning


def test_faces_with_points_that_do_not_count_are_named(tmp_path: Path) -> None:
    """The protocol's errors are over all 68 points."""
    for stem, shift in (("a", 0), ("b", 5), ("c", 9)):
        cv2.imwrite(str(tmp_path / f"{stem}.png"), np.zeros((200, 200, 3), np.uint8))
        write_pts(tmp_path / f"{stem}.pts", TRUTH + shift)
    (tmp_path / "weights.json").write_text(json.dumps({"a": [0] * 17 + [1] * 51, "b": [0.5] * 68}))
    selection = select_samples(tmp_path)
    assert [sample.name for sample in selection.samples] == ["a.png", "b.png", "c.png"]
    (odd,) = selection.irregularities
    assert (odd.kind, odd.name) == ("points of weight 0", "a.png") and odd.detail.startswith("17 in weights.json")
