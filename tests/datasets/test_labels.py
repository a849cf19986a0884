"""Annotated faces in the formats that facealign reads; dlib's XML of pictures, boxes and parts in depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.datasets import LeftOut, Sample, read_samples, unused_files
from facealign_cli.errors import FormatError, InputError
from facealign_cli.formats.base import get_format
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult

LANDMARKS = np.round(MEAN_SHAPE + 100, 3)
BOX = "top='20' left='10' width='100' height='110'"
BOMB = """<?xml version="1.0"{encoding}?>
<!DOCTYPE lolz [<!ENTITY a0 "lol">{entities}]>
<dataset><images><image file="&a30;"/></images></dataset>"""


def parts(landmarks: np.ndarray = LANDMARKS) -> str:
    return "".join(f"<part name='{i:02d}' x='{x}' y='{y}'/>" for i, (x, y) in enumerate(landmarks.tolist()))


def write(folder: Path, *boxes: str, file: str = "helen/trainset/1_1.jpg") -> Path:
    (folder / "helen" / "trainset").mkdir(parents=True, exist_ok=True)
    (folder / "helen" / "trainset" / "1_1.jpg").touch()
    images = f"<images><image file='{file}'>{''.join(boxes)}</image></images>"
    (folder / "faces.xml").write_text(f"<dataset><name>x</name>{images}</dataset>")
    return folder / "faces.xml"


def test_sample(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path, f"<box {BOX}>{parts()}</box>"))
    assert isinstance(sample, Sample)
    assert (sample.name, sample.dataset, sample.photo) == ("helen/trainset/1_1.jpg#0", "helen", "helen/1")
    assert sample.image_path == tmp_path / "helen" / "trainset" / "1_1.jpg"
    assert sample.bbox == BBox(10, 20, 110, 130)
    assert not sample.rough
    np.testing.assert_array_equal(sample.landmarks, LANDMARKS)  # counted from 0, unlike .pts


def test_the_data_set_has_its_folder_s_name_from_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split of its photos follows from that name."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").touch()
    write(tmp_path / "set", f"<box {BOX}>{parts()}</box>", file="a.jpg")
    monkeypatch.chdir(tmp_path / "set")
    for path in ("faces.xml", "../set/faces.xml", tmp_path / "set" / "faces.xml"):
        (sample,) = read_samples(Path(path))
        assert isinstance(sample, Sample)
        assert sample.photo == "set/a"


def test_files_beside_the_pictures_do_not_count_and_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, f"<box {BOX}>{parts()}</box>")
    samples = [item for item in read_samples(path) if isinstance(item, Sample)]
    assert unused_files(path, samples) == []
    (samples[0].image_path.parent / "weights.json").write_text("[]")
    (told,) = unused_files(path, samples)
    assert (told.name, told.reason.partition(":")[0]) == ("trainset/weights.json", "not used")
    (tmp_path / "helen" / "trainset" / "1_1.pts").touch()
    assert unused_files(tmp_path / "helen", samples) == []


def test_parts_in_any_order(tmp_path: Path) -> None:
    turned = "".join(reversed(parts().replace("/>", "/>\n").splitlines()))
    (sample,) = read_samples(write(tmp_path, f"<box {BOX}>{turned}</box>"))
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.landmarks, LANDMARKS)


def test_several_faces_in_a_picture(tmp_path: Path) -> None:
    faces = [f"<box {BOX}>{parts(LANDMARKS + shift)}</box>" for shift in (0, 90, 0.01)]
    path = write(tmp_path, faces[0], f"<box {BOX}/>", faces[1], faces[2])
    items = {item.name[-2:]: item for item in read_samples(path)}
    kinds = {"#0": Sample, "#1": LeftOut, "#2": Sample, "#3": LeftOut}
    assert {name: type(item) for name, item in items.items()} == kinds
    assert items["#3"] == LeftOut("helen/trainset/1_1.jpg#3", "the same face as helen/trainset/1_1.jpg#0")


def test_picture_without_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").touch()
    (sample,) = read_samples(write(tmp_path / "set", f"<box {BOX}>{parts()}</box>", file="a.png"))
    assert isinstance(sample, Sample)
    assert sample.photo == "set/a"


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (f"<box {BOX}/>", "0 parts; expected 00 … 67"),
        (f"<box {BOX}>{parts(LANDMARKS[:67])}</box>", "67 parts; expected 00 … 67"),
        (f"<box {BOX}>{parts()}<part name='68' x='1' y='1'/></box>", "69 parts; expected"),
        (f"<box {BOX}>{parts().replace('67', 'nose')}</box>", "broken numbers"),
        (f"<box {BOX}><part x='1' y='1'/></box>", "broken numbers"),
        (f"<box {BOX}>{parts()}<part name='3' x='1'/></box>", "broken numbers"),
        (f"<box {BOX}>{parts()}<part name='3' x='nan' y='1'/></box>", "broken numbers"),
        (f"<box {BOX}>{parts()}<part name='3' x='1' y='inf'/></box>", "broken numbers"),
        (f"<box>{parts()}</box>", "broken numbers"),
        (f"<box top='a' left='1' width='5' height='5'>{parts()}</box>", "broken numbers"),
        (f"<box top='1' left='1' width='0' height='5'>{parts()}</box>", "broken numbers"),
        (f"<box top='1' left='1' width='inf' height='5'>{parts()}</box>", "broken numbers"),
    ],
)
def test_left_out(tmp_path: Path, box: str, reason: str) -> None:
    (item,) = read_samples(write(tmp_path, box))
    assert isinstance(item, LeftOut)
    assert item.name == "helen/trainset/1_1.jpg#0"
    assert reason in item.reason


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("none.jpg", "its picture is missing: no file none.jpg in {0}, {0}/images or the working folder"),
        ("helen", "its picture is missing: no file helen in {0}, {0}/images or the working folder"),
        ("/nowhere/a.jpg", "its picture /nowhere/a.jpg is missing"),
        ("", "the label file gives no name of its picture"),
    ],
)
def test_a_missing_picture_is_named_with_where_it_was_looked_for(tmp_path: Path, file: str, said: str) -> None:
    (item,) = read_samples(write(tmp_path, f"<box {BOX}>{parts()}</box>", file=file))
    assert item == LeftOut(f"{file}#0", said.format(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"<dataset>", b"no xml", b"\x00\xff", b"<?xml version='1.0' encoding='martian'?>\xff<a/>"]
)
def test_broken_xml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.xml").write_bytes(content)
    with pytest.raises(FormatError, match=r"bad\.xml"):
        list(read_samples(tmp_path / "bad.xml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<dataset/>", "no picture in it"),
        ("<dataset><images/></dataset>", "no picture in it"),
        ("<html><image/></html>", "expected a folder .* or faces in a format that facealign reads"),
    ],
)
def test_no_pictures(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "other.xml").write_text(content)
    with pytest.raises(InputError, match=rf"other\.xml: {message}"):
        list(read_samples(tmp_path / "other.xml"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.xml: no such file"):
        list(read_samples(tmp_path / "none.xml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entity_bomb(tmp_path: Path, encoding: str) -> None:
    """A billion laughs: 2 to the power of 30, if anyone wrote them out."""
    entities = "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};">' for i in range(1, 31))
    text = BOMB.format(encoding=f' encoding="{encoding}"', entities=entities)
    (tmp_path / "bomb.xml").write_bytes(text.encode(encoding))
    with pytest.raises(FormatError, match=r"bomb\.xml"):
        list(read_samples(tmp_path / "bomb.xml"))


def test_entity_behind_the_start_is_harmless(tmp_path: Path) -> None:
    """The look at the content goes to its end."""
    start = '<!ENTITY a0 "lol">'
    entities = "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};">' for i in range(1, 31))
    text = BOMB.format(encoding="", entities=entities)
    (tmp_path / "bomb.xml").write_text(text.replace(start, f"<!--{'x' * 70_000}-->{start}"))
    with pytest.raises(FormatError, match="entity definitions are not read"):
        list(read_samples(tmp_path / "bomb.xml"))


def test_external_entity_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "faces.xml").write_text(
        f'<!DOCTYPE d [<!ENTITY s SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
        "<dataset><images><image file='a'>&s;</image></images></dataset>"
    )
    with pytest.raises(FormatError, match="entity definitions are not read"):
        list(read_samples(tmp_path / "faces.xml"))


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "yolo-pose", "json", "csv", "parquet"])
def test_faces_in_other_formats(tmp_path: Path, name: str) -> None:
    """The faces of one photo, each with its number; a picture without a face gives none."""
    (tmp_path / "set").mkdir()
    for picture in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "set" / picture), np.zeros((300, 400, 3), np.uint8))
    faces = [Face(i, BBox(10, 20, 110, 130), np.round(LANDMARKS + i * 30.25, 3), 0.5) for i in range(2)]
    size = {"width": 400, "height": 300}
    results = [FrameResult.of_faces("set/a.png", faces, **size), FrameResult.of_faces("set/b.png", [], **size)]
    fmt = get_format(name)
    path = tmp_path / {"cvat": "f.xml", "yolo-pose": "yolo", "csv": "f.csv", "parquet": "f.parquet"}.get(name, "f.json")
    if name == "yolo-pose":
        fmt.write(path, results, root=tmp_path)
    else:
        fmt.write(path, results)
    first, second = read_samples(path)
    assert isinstance(first, Sample) and isinstance(second, Sample)
    assert (first.name, second.name) == ("set/a.png#0", "set/a.png#1")
    assert first.photo == second.photo == "set/a"
    assert first.image_path == (tmp_path / "yolo/images" if name == "yolo-pose" else tmp_path) / "set" / "a.png"
    np.testing.assert_allclose(second.landmarks, faces[1].landmarks, atol=1e-4)


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg"])
def test_a_picture_that_stands_there_twice_is_one_with_all_of_its_faces(tmp_path: Path, name: str) -> None:
    """Each of its faces has a name of its own; a face that stands there twice counts once."""
    (tmp_path / "a.jpg").touch()
    faces = [Face(0, BBox.around(LANDMARKS + shift), LANDMARKS + shift, 0.5) for shift in (0, 500)]
    records = [FrameResult.of_faces(source, [face]) for source, face in zip(("a.jpg", name), faces, strict=True)]
    get_format("json").write(tmp_path / "f.json", [*records, records[0]])
    first, second, twice = read_samples(tmp_path / "f.json")
    assert isinstance(first, Sample) and isinstance(second, Sample)
    assert (first.name, second.name) == ("a.jpg#0", "a.jpg#1")
    np.testing.assert_allclose(second.landmarks - first.landmarks, 500)
    assert twice == LeftOut("a.jpg#0", "the same face stands there already")


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    """Its landmarks lie in a larger picture: they would be elsewhere in this one. No face lies in 1 x 1 pixels."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    landmarks = LANDMARKS / LANDMARKS.max() * 24  # within the smallest of the sizes
    face = Face(0, BBox.around(landmarks), landmarks, 0.5)
    records = {(40, 30): True, (80, 60): False, (30, 40): False, (0, 0): True, (1, 1): True}
    for (width, height), sound in records.items():
        record = FrameResult.of_faces("a.png", [face], width=width, height=height)
        get_format("json").write(tmp_path / "f.json", [record], overwrite=True)
        (sample,) = read_samples(tmp_path / "f.json")
        assert isinstance(sample, Sample)
        if sound:
            assert sample.picture().image.shape == (30, 40, 3)
        else:
            with pytest.raises(InputError, match=f"40 x 30 pixels, but its faces were labelled in {width} x {height}"):
                sample.picture()


def test_a_picture_that_failed_is_left_out(tmp_path: Path) -> None:
    get_format("json").write(tmp_path / "f.json", [FrameResult.of_error("a.jpg", "damaged")])
    assert list(read_samples(tmp_path / "f.json")) == [LeftOut("a.jpg", "damaged")]
