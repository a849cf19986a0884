"""What `from facealign_cli import …` offers, and how it behaves for those who write Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facealign_cli
from facealign_cli import (
    Aligner,
    BBox,
    BoxCalibration,
    Detection,
    Detector,
    Face,
    FrameResult,
    InputError,
    create_detector,
)
from facealign_cli.aligner import NETWORK_BATCH, align_pictures
from facealign_cli.detectors import select_faces
from facealign_cli.formats.codec import from_dict

ROOT = Path(facealign_cli.__file__).parent
FACE = (177, 87, 266, 178)
"""The astronaut's landmarks box, by eye."""


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner(device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    cv2.imwrite(str(path), astronaut)
    return path


@pytest.fixture(scope="module")
def pictures(astronaut: np.ndarray) -> list[np.ndarray]:
    """Twelve pictures; two show nothing, and two the face twice."""
    face = astronaut[20:260, 100:340]
    made = [np.ascontiguousarray(np.roll(face, 3 * i, axis=1)) for i in range(8)]
    return [*made[:3], np.zeros_like(face), np.hstack([face, face]), *made[3:], np.full_like(face, 90),
            np.hstack([face[:, ::-1], face])]  # fmt: skip


class TestNames:
    def test_every_name_is_there_and_is_listed(self) -> None:
        assert set(dir(facealign_cli)) == set(facealign_cli.__all__)
        for name in facealign_cli.__all__:
            value = getattr(facealign_cli, name)
            assert name == "__version__" or value.__doc__, name
        kinds = {name: value for name, value in vars(facealign_cli.errors).items() if isinstance(value, type)}
        errors = {name for name, value in kinds.items() if value.__module__ == facealign_cli.errors.__name__}
        assert errors < set(facealign_cli.__all__)
        with pytest.raises(AttributeError, match="Alligner"):
            _ = facealign_cli.Alligner  # type: ignore[attr-defined]

    def test_what_a_type_checker_sees_is_what_runs(self) -> None:
        """The imports below TYPE_CHECKING name the very objects that are imported late."""
        tree = ast.parse(Path(facealign_cli.__file__).read_text(encoding="utf-8"))
        (block,) = [node for node in tree.body if isinstance(node, ast.If)]
        seen = {}
        for node in block.body:
            assert isinstance(node, ast.ImportFrom)
            module = __import__(str(node.module), fromlist=["_"])
            seen |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        assert {*seen, "__version__"} == set(facealign_cli.__all__)
        assert all(getattr(facealign_cli, name) is value for name, value in seen.items())


class TestAlign:
    def test_a_path_is_read(self, aligner: Aligner, photo: Path, astronaut: np.ndarray) -> None:
        (expected,) = aligner.align(astronaut)
        for path in (photo, str(photo)):
            (face,) = aligner.align(path)
            np.testing.assert_array_equal(face.landmarks, expected.landmarks)

    def test_the_path_is_the_source_of_the_boxes(self, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "boxes.json").write_text(f'{{"astronaut.png": {list(FACE)}}}')
        detector = create_detector("boxes", boxes_file=tmp_path / "boxes.json")
        (face,) = Aligner(detector=detector, device="cpu").align(photo)
        assert face.bbox.xyxy == FACE

    @pytest.mark.parametrize(
        "boxes",
        [
            [FACE],
            (list(FACE),),
            [BBox(*FACE)],
            [Detection(BBox(*FACE))],
            np.array([FACE]),
            np.array([FACE], np.int32),
            (box for box in [FACE]),
        ],
        ids=["tuple", "list", "BBox", "Detection", "array", "integers", "generator"],
    )
    def test_boxes_of_every_form(self, aligner: Aligner, astronaut: np.ndarray, boxes: Any) -> None:
        (face,) = aligner.align_boxes(astronaut, boxes)
        assert face.bbox.xyxy == FACE
        assert face.confidence > 0.9

    def test_no_boxes(self, aligner: Aligner, astronaut: np.ndarray) -> None:
        assert aligner.align_boxes(astronaut, []) == aligner.align_boxes(astronaut, np.zeros((0, 4))) == []

    @pytest.mark.parametrize(
        ("boxes", "words"),
        [
            (BBox(*FACE), "put it into a list"),
            (FACE, r"boxes\[0\]: expected boxes \[\(x1, y1, x2, y2\), ...\]"),
            ([(1, 2, 3)], r"boxes\[0\]"),
            ([FACE, (200, 100, 90, 90)], r"boxes\[1\]: .*x1 < x2.*from_xywh"),
            ([(0, 0, np.nan, 4)], "finite"),
            ("boxes.json", "got str"),
            (None, "got NoneType"),
            ([["a", "b", "c", "d"]], r"boxes\[0\]"),
        ],
    )
    def test_wrong_boxes(self, aligner: Aligner, astronaut: np.ndarray, boxes: Any, words: str) -> None:
        with pytest.raises(InputError, match=words):
            aligner.align_boxes(astronaut, boxes)

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (cv2.imread("no/such/picture.jpg"), "cv2.imread gives None"),
            (np.zeros((9, 9, 4), np.uint8), r"\(9, 9, 4\) uint8"),
            (np.zeros((9, 9, 3)), "float64"),
            ([[1, 2], [3, 4]], r"numpy\.array\(image, numpy\.uint8\)"),
            ("no/such/picture.jpg", "no such file"),
        ],
    )
    def test_wrong_pictures(self, aligner: Aligner, image: Any, words: str) -> None:
        with pytest.raises(InputError, match=words):
            aligner.align(image)
        with pytest.raises(InputError, match=f"picture 0 .*{words}"):
            list(aligner.align_many([image]))


class TestAlignMany:
    def test_each_picture_has_its_faces(self, aligner: Aligner, pictures: list[np.ndarray]) -> None:
        found = list(aligner.align_many(iter(pictures)))
        one_by_one = [aligner.align(picture) for picture in pictures]
        assert [len(faces) for faces in found] == [1, 1, 1, 0, 2, 1, 1, 1, 1, 1, 0, 2]
        for faces, expected in zip(found, one_by_one, strict=True):
            assert [f.face_id for f in faces] == list(range(len(faces)))
            for face, other in zip(faces, expected, strict=True):
                assert face.bbox == other.bbox
                np.testing.assert_allclose(face.landmarks, other.landmarks, atol=0.01)

    def test_a_face_does_not_depend_on_its_company(self, aligner: Aligner, pictures: list[np.ndarray]) -> None:
        together = list(aligner.align_many(pictures))
        for alone, faces in zip(pictures, together, strict=True):
            (single,) = aligner.align_many([alone])
            for face, other in zip(single, faces, strict=True):
                np.testing.assert_array_equal(face.landmarks, other.landmarks)

    def test_the_network_sees_full_batches(self, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
        aligner, sizes = Aligner(device="cpu"), []
        session = aligner.model._session

        class Session:
            def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
                sizes.append(len(feed["crop"]))
                return session.run(names, feed)

        monkeypatch.setattr(aligner.model, "_session", Session())
        list(aligner.align_many(pictures))
        assert sizes == [NETWORK_BATCH, NETWORK_BATCH]

    def test_a_bad_picture_costs_none_before_it(self, aligner: Aligner, pictures: list[np.ndarray]) -> None:
        results = aligner.align_many([*pictures[:2], "no/such.jpg", pictures[2]])
        assert [len(next(results)), len(next(results))] == [1, 1]
        with pytest.raises(InputError, match=r"picture 2 \(counted from 0\): no/such.jpg"):
            next(results)

    @pytest.mark.parametrize(
        ("error", "words"),
        [(InputError("b.jpg: torn"), r"picture 2 \(counted from 0\): b.jpg: torn"), (OSError("gone"), "^gone$")],
    )
    def test_faces_before_the_error_of_a_generator_are_given(
        self, aligner: Aligner, pictures: list[np.ndarray], error: Exception, words: str
    ) -> None:
        """As in `examples/many_arrays.py`, where reading fails in the generator that is given."""

        def read() -> Iterator[np.ndarray]:
            yield from pictures[:2]
            raise error

        results = aligner.align_many(read())
        assert [len(next(results)), len(next(results))] == [1, 1]
        with pytest.raises(type(error), match=words):
            next(results)

    def test_pictures_are_taken_as_they_are_needed(self, aligner: Aligner, pictures: list[np.ndarray]) -> None:
        taken = []

        def endless() -> Any:
            while True:
                taken.append(1)
                yield pictures[0]

        next(aligner.align_many(endless()))
        assert len(taken) == NETWORK_BATCH


class Own:
    """A detector of somebody else's."""

    name = "own"
    calibration = BoxCalibration()

    def detect(self, image: np.ndarray, source: str | None = None) -> list[Detection]:
        return [Detection(BBox(*FACE), 1.0)]


class TestDetectors:
    def test_an_own_detector(self, aligner: Aligner, astronaut: np.ndarray) -> None:
        assert isinstance(Own(), Detector)
        (face,) = Aligner(aligner.model, Own()).align(astronaut)
        assert face.bbox.xyxy == FACE

    @pytest.mark.parametrize(
        ("detector", "words"),
        [
            (type("Bare", (), {"name": "bare", "detect": Own.detect})(), "Bare has no calibration.*BoxCalibration"),
            (type("Odd", (Own,), {"calibration": 1.3})(), "Odd: its calibration is no BoxCalibration"),
            (Own, "got the class Own"),
            (None, "got NoneType"),
            (lambda image: [], "got function"),
            ("nobody", "unknown detector 'nobody'; known: "),
        ],
    )
    def test_what_is_none(self, aligner: Aligner, detector: Any, words: str) -> None:
        with pytest.raises(InputError, match=words):
            Aligner(aligner.model, detector)

    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
    def test_threads(self, threads: Any) -> None:
        with pytest.raises(InputError, match="threads: expected a whole number, 1 to 4096"):
            Aligner(detector=Own(), device="cpu", threads=threads)

    def test_equal_scores_are_ordered_by_place(self) -> None:
        boxes = [BBox(10 * x, y, 10 * x + 5, y + 5) for x, y in ((3, 0), (1, 4), (1, 2), (2, 0))]
        for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
            found = select_faces([Detection(boxes[i], 1.0) for i in order])
            assert [d.bbox for d in found] == [boxes[2], boxes[1], boxes[3], boxes[0]]
            kept = select_faces([Detection(boxes[i], 1.0) for i in order], max_faces=2)
            assert [d.bbox for d in kept] == [boxes[2], boxes[1]]
        ranked = [Detection(boxes[0], 0.9), Detection(boxes[1], 0.5), Detection(boxes[2], 0.7)]
        assert [d.score for d in select_faces(ranked)] == [0.9, 0.7, 0.5]
        unscored = [Detection(box) for box in boxes]
        assert select_faces(unscored) == unscored


class TestFace:
    FACE = Face(1, BBox(1, 2, 33.25, 44), np.arange(136).reshape(68, 2) / 7, 0.98765, 0.5, 3)

    def test_one_line(self) -> None:
        text = "Face(1, track_id=3, bbox=(1.0, 2.0, 33.2, 44.0), confidence=0.988, detector_score=0.500)"
        assert repr(self.FACE) == str(self.FACE) == text
        assert repr(Face(0, BBox(1, 2, 3, 4), np.zeros((68, 2)), 1)) == (
            "Face(0, bbox=(1.0, 2.0, 3.0, 4.0), confidence=1.000)"
        )

    def test_to_dict_is_what_stands_in_the_json(self) -> None:
        record = FrameResult.of_faces("a.png", [self.FACE], width=50, height=60)
        assert record.to_dict()["faces"] == [self.FACE.to_dict()]
        assert self.FACE.to_dict()["bbox"] == [1, 2, 33.25, 44]
        assert from_dict(record.to_dict()).to_dict() == record.to_dict()


class TestNotebook:
    def test_the_picture_is_drawn(self, aligner: Aligner, photo: Path, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "wide.png"), cv2.imread(str(photo))[:300])
        photo = tmp_path / "wide.png"
        (result,) = align_pictures([str(photo)], aligner)
        html = result.record._repr_html_()
        assert html.count("data:image/jpeg;base64,") == 1 and "<td>0</td>" in html
        blank = FrameResult.of_faces(str(photo), [], width=512, height=300)._repr_html_()
        assert "data:image" in blank and blank[:3000] != html[:3000]

    def test_what_cannot_be_drawn_is_told(self, photo: Path, tmp_path: Path) -> None:
        for result, words in (
            (FrameResult.of_faces(str(tmp_path / "gone<b>.png"), [], width=5, height=5), "gone&lt;b&gt;.png: no such"),
            (FrameResult.of_faces(str(photo), [], width=5, height=5), "another size"),
            (FrameResult.of_error("a.png", "it <is> broken"), "it &lt;is&gt; broken"),
            (FrameResult.of_faces("clip.mp4", [], width=5, height=5, frame=7, timestamp_s=0.28), "frame 7 at 0.280 s"),
        ):
            html = result._repr_html_()
            assert words in html and "data:image" not in html
