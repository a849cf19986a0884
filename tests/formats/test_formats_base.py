"""The registry."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facealign_cli.boxes import BBox
from facealign_cli.errors import InputError
from facealign_cli.formats import base
from facealign_cli.formats.base import format_for_path, format_names, get_format, register_format, write_results
from facealign_cli.records import FrameResult
from tests.formats.conftest import HIDDEN, POSE, QUALITY, SIZES, make_face


def test_knows_every_sibling() -> None:
    assert {"csv", "json", "openface", "pts"} <= set(format_names())
    assert get_format("json").dump is not None
    assert get_format("pts").dump is None


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown format 'yaml': known are coco, .*csv, .*json.*openface.*pts"):
        get_format("yaml")


@pytest.mark.parametrize("results", [None, FrameResult("a.jpg", "no_face"), [make_face(0)]])
def test_only_records_are_written(results: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="results: expected a list of FrameResult, got "):
        write_results(tmp_path / "rows.json", results)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["coco", "cvat", "dlib-xml", "label-studio", "masks", "yolo-pose"])
def test_a_record_that_the_format_would_leave_out_is_refused(name: str, tmp_path: Path) -> None:
    frame = FrameResult.of_faces("clip.mp4", [make_face(0)], frame=7, timestamp_s=0.28, **SIZES)
    with pytest.raises(
        InputError, match=rf"{name} cannot hold clip.mp4, frame 7: it is a frame .*formats that can hold it: csv, dlc"
    ):
        write_results(tmp_path / "out", iter([FrameResult("a.jpg", "no_face", **SIZES), frame]), format=name)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_failed_does_not_keep_the_others_from_being_written(tmp_path: Path) -> None:
    results = [FrameResult.of_error("a.jpg", "damaged"), FrameResult.of_faces("b.jpg", [make_face(0)], **SIZES)]
    write_results(tmp_path / "faces.json", results, format="coco")
    assert [result.source for result in base.read_results(tmp_path / "faces.json")] == ["b.jpg"]


def test_our_own_names_are_not_given_away() -> None:
    for name in ("csv", "label-studio"):
        with pytest.raises(ValueError, match=rf"the format '{name}' is one of facealign's own"):
            register_format(name, [".csv"], write=lambda path, results, overwrite=False: None, read=lambda path: [])


@pytest.mark.parametrize(("path", "name"), [("a.json", "json"), ("b/A.CSV", "csv"), ("x.pts", "pts")])
def test_by_extension(path: str, name: str) -> None:
    assert format_for_path(path).name == name


@pytest.mark.parametrize("path", ["a", "a.txt", ".json"])
def test_unknown_extensions_list_the_known_ones(path: str) -> None:
    with pytest.raises(InputError, match=r"\.json \(json\)"):
        format_for_path(path)


ODD = ["Jos\udce9.jpg", r"Jos\udce9.jpg", "José.jpg"]
"""A name that is no UTF-8, one whose letters are those by which it is written, and one that is written as it is."""


@pytest.mark.parametrize(
    "name", ["json", "jsonl", "csv", "openface", "parquet", "coco", "cvat", "label-studio", "dlib-xml"]
)
def test_a_name_that_is_no_utf_8_stands_in_every_format_in_the_same_way(name: str, tmp_path: Path) -> None:
    fmt, path = get_format(name), tmp_path / "rows"
    odd = [FrameResult.of_faces(source, [make_face(0)], width=640, height=480) for source in ODD]
    fmt.write(path, odd)
    assert [result.source for result in fmt.read(path)] == ODD
    if name == "parquet":
        text = "\n".join(pq.read_table(path)["source"].to_pylist())
    else:
        text = unquote(path.read_bytes().decode("utf-8")).replace("\\\\", "\\")  # a backslash stands twice in JSON
    assert r"Jos\udce9.jpg" in text
    assert r"Jos\u005cudce9.jpg" in text
    assert "José.jpg" in text


_NAMED = {
    "bbox": "box",
    "detector_score": "score",
    "confidence": "the confidence",
    "visible": "points that cannot be seen",
    "sigma": "sigma",
    "pose": "the pose",
    "quality": "quality",
    "model": "which model",
    "width": "the picture's size",
}
"""Fields of faces and results, and the words for them in what `convert` says."""


@pytest.mark.parametrize("name", [name for name in format_names() if name != "masks"])
def test_a_format_says_all_that_it_does_not_hold(name: str, tmp_path: Path) -> None:
    """Every field of a face is read back as it was written, or is named in what the format loses."""
    face = make_face(
        0, detector_score=0.5, visible=HIDDEN, sigma=np.full(68, 1.5), pose=POSE, quality=QUALITY, confidence=0.75
    )
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((480, 640, 3), np.uint8))
    own = {"model": "dan-light 4", "detector": "yunet", "provider": "CPUExecutionProvider", **SIZES}
    result = FrameResult.of_faces(str(picture), [face], **own)
    fmt = get_format(name)
    fmt.write(tmp_path / "out", [result], **({"root": tmp_path} if fmt.takes_root else {}))
    (back,) = fmt.read(tmp_path / "out")
    (same,) = back.faces
    fields = {field: (getattr(face, field), getattr(same, field)) for field in _NAMED if hasattr(face, field)}
    fields |= {field: (getattr(result, field), getattr(back, field)) for field in ("model", "width")}
    for field, (written, read) in fields.items():
        if _is_lost(written, read):
            assert _NAMED[field] in fmt.loses, f"{name} loses {field}: {fmt.loses}"
        elif field not in ("bbox", "detector_score"):  # one word stands for both
            assert _NAMED[field] not in fmt.loses, f"{name} holds {field}: {fmt.loses}"


def _is_lost(written: object, read: object) -> bool:
    if isinstance(written, BBox) and isinstance(read, BBox):
        return float(np.abs(np.subtract(written.xyxy, read.xyxy)).max()) > 0.51  # dlib's are whole pixels
    return read is None or not np.array_equal(np.asarray(read), np.asarray(written))


def test_a_plugin_that_cannot_tell_its_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recognises(_content: object) -> bool:
        raise RuntimeError("oops")

    def write(*_arguments: object) -> None:
        pass

    write_results(tmp_path / "rows.json", [FrameResult("a.jpg", "no_face")])
    monkeypatch.setattr(base, "_FORMATS", dict(base._FORMATS))
    register_format("odd", [], write=write, read=lambda path: [], recognises=recognises)
    with pytest.raises(InputError, match=rf"rows.json: the format 'odd' of {__name__} .*oops.*name the file's format"):
        base.read_results(tmp_path / "rows.json")
    assert len(base.read_results(tmp_path / "rows.json", format="json")) == 1


OF_OURS = ("coco", "csv", "cvat", "dlc", "dlib-xml", "json", "jsonl", "label-studio", "masks", "openface", "parquet")


@pytest.mark.parametrize("name", [*OF_OURS, "pts", "yolo-pose"])
def test_what_becomes_of_a_picture_that_failed_is_said(name: str) -> None:
    """A format keeps the reason, or leaves the picture out by name, or `convert` says that it is lost."""
    fmt = get_format(name)
    kept = name in ("csv", "json", "jsonl", "parquet")
    left_out = fmt.why_not(FrameResult.of_error("a.jpg", "damaged")) is not None
    assert kept or left_out or "errors become" in fmt.loses or "failed" in fmt.loses


@pytest.mark.parametrize("name", ["csv", "openface", "dlc"])
def test_a_table_whose_cells_are_all_in_quotation_marks_is_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.csv"
    get_format(name).write(path, [FrameResult.of_faces("a.mp4", [make_face()], frame=0, timestamp_s=0.0)])
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream, skipinitialspace=True))
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    assert base.find_format(path) is get_format(name)
    assert len(base.read_results(path)[0].faces) == 1
