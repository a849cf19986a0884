"""Boxes, predictions, evaluations, records, labels, .pts, XML and lists of paths, by what the commands call."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facealign_cli.batch.sources import Sources
from facealign_cli.boxes import BBox
from facealign_cli.datasets import read_samples
from facealign_cli.detectors.boxes import read_boxes
from facealign_cli.evaluation import compare as comparison
from facealign_cli.evaluation.figures import evaluate
from facealign_cli.evaluation.files import encode_json, read_json
from facealign_cli.evaluation.foreign import read_predictions
from facealign_cli.evaluation.predict import select_samples
from facealign_cli.evaluation.predictions import match_predictions
from facealign_cli.evaluation.text import comparison_tables, evaluation_notes, evaluation_tables
from facealign_cli.formats.base import find_format, get_format
from facealign_cli.formats.pts import encode_pts, write_pts
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult

Kind = tuple[list[tuple[str, bytes]], Callable[[Path], object]]
TRUTH = MEAN_SHAPE + 100


def _results(count: int = 3) -> list[FrameResult]:
    faces = [Face(i, BBox(50, 50, 180, 190), TRUTH + i, 0.9, 0.8) for i in range(2)]
    return [FrameResult.of_faces(f"gt/image_{i}.jpg", faces, width=300, height=300, model="m 1") for i in range(count)]


def _dumped(name: str) -> bytes:
    stream, dump = io.BytesIO(), get_format(name).dump
    assert dump is not None
    dump(_results(), stream)
    return stream.getvalue()


def _truth(folder: Path) -> Path:
    (folder / "gt").mkdir(exist_ok=True)
    for i in range(3):
        write_pts(folder / "gt" / f"image_{i}.pts", TRUTH, overwrite=True)
    return folder / "gt"


def _evaluated(folder: Path, predictions: Path) -> object:
    selection = select_samples(_truth(folder), need_pictures=False)
    truths = {sample.name: sample.landmarks for sample in selection.known}
    matched = match_predictions(truths, read_predictions(predictions))
    found = evaluate(
        selection.samples, matched.predictions, about={"title": "x"}, irregularities=matched.irregularities
    )
    return encode_json(found), evaluation_tables(found), evaluation_notes(found)


def boxes(_folder: Path) -> Kind:
    document = {"a.jpg": [1, 2, 30.5, 40], "b/c.jpg": [[1, 2, 3, 4], [5, 6, 70, 80]], "none.jpg": []}
    table = b"image,x1,y1,x2,y2,score\n" + b"a.jpg,1,2,30,40,0.9\nb.jpg,1,2,30.5,40,\n" * 5
    return [("boxes.json", json.dumps(document).encode()), ("boxes.csv", table)], read_boxes


def predictions(folder: Path) -> Kind:
    bases = [("p.json", _dumped("json")), ("p.csv", _dumped("csv"))]
    return bases, lambda file: _evaluated(folder, file)


def evaluations(folder: Path) -> Kind:
    good = folder / "good.json"
    prediction = folder / "p.json"
    prediction.write_bytes(_dumped("json"))
    selection = select_samples(_truth(folder), need_pictures=False)
    truths = {sample.name: sample.landmarks for sample in selection.known}
    matched = match_predictions(truths, read_predictions(prediction))
    good.write_bytes(encode_json(evaluate(selection.samples, matched.predictions, about={"title": "x"})))

    def read(file: Path) -> object:
        first, second = read_json(file), read_json(good)
        evaluation_tables(first)
        return comparison_tables(
            comparison.compare(first, second, normaliser="inter-ocular", threshold=first.threshold), 5
        )

    return [("e.json", good.read_bytes())], read


def records(_folder: Path) -> Kind:
    names = {"json": "json", "jsonl": "jsonl", "csv": "csv", "openface": "csv", "parquet": "parquet"}
    bases = [(f"{name}.{suffix}", _dumped(name)) for name, suffix in names.items()]
    return bases, lambda file: get_format(file.stem).read(file)


def labels(folder: Path) -> Kind:
    names = ("coco", "cvat", "label-studio", "dlib-xml")
    bases = [(f"{name}.{'json' if name in ('coco', 'label-studio') else 'xml'}", _dumped(name)) for name in names]

    def read(file: Path) -> object:
        fmt = find_format(file)
        list(get_format(file.stem).scan(file))
        return fmt and list(fmt.scan(file))

    return bases, read


def pts(folder: Path) -> Kind:
    (folder / "mine").mkdir()
    bases = [("mine/image_0.pts", encode_pts(TRUTH)), ("mine/image_1.pts", encode_pts(TRUTH).partition(b"\n")[2])]

    def read(file: Path) -> object:
        _evaluated(folder, file.parent)
        return get_format("pts").read(file)

    return bases, read


def xml(folder: Path) -> Kind:
    (folder / "gt").mkdir()
    for i in range(3):
        (folder / "gt" / f"image_{i}.jpg").touch()
    return [("faces.xml", _dumped("dlib-xml"))], lambda file: list(read_samples(file))


def lists(_folder: Path) -> Kind:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"path": [f"a/{i}.jpg" for i in range(20)]}), stream)
    lines = "".join(f"a/{i}.jpg\n" for i in range(20)).encode()
    bases = [("list.txt", lines), ("list.csv", b"path\n" + lines), ("list.parquet", stream.getvalue())]
    return bases, lambda file: list(Sources(lists=(str(file),)).paths(lambda _text: None))


KINDS = {
    "boxes": boxes,
    "predictions": predictions,
    "evaluations": evaluations,
    "records": records,
    "labels": labels,
    "pts": pts,
    "xml": xml,
    "lists": lists,
}
assert np.isfinite(TRUTH).all()
