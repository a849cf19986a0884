"""Pictures pre-labelled, exported to COCO and CVAT, and read by datumaro: are counts and points the same?

    python benchmarks/labelling_tools.py ../shared/data/300w/helen/trainset ../shared/data/300w/afw --pictures 1000

Prints one line for each format: pictures and faces written and found by datumaro, and how far a point moved (CVAT's
pixels, which count from the corner, taken back to ours). datumaro keeps two decimals.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from pathlib import Path

import datumaro
import numpy as np

from facealign_cli.aligner import Aligner, align_pictures
from facealign_cli.convert import write_faces
from facealign_cli.formats.base import get_format
from facealign_cli.records import FrameResult

SUFFIXES = {".jpg", ".png"}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    options = parser.parse_args()
    found = (p for folder in options.folders for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "images").mkdir()
        for number, path in enumerate(itertools.islice(found, options.pictures)):
            shutil.copy(path, work / "images" / f"p{number:05d}{path.suffix}")
        begin = time.monotonic()
        names = [str(path) for path in sorted((work / "images").iterdir())]
        results = [picture.record for picture in align_pictures(names, Aligner())]
        faces = sum(len(result.faces) for result in results)
        print(f"{len(results)} pictures, {faces} faces, pre-labelled in {time.monotonic() - begin:.0f} s")
        for tool in ("coco", "cvat"):
            print(f"{tool}: {compare(tool, results, work)}")


def compare(tool: str, results: list[FrameResult], work: Path) -> str:
    """Write the results for the tool, read them with datumaro, and say what is the same."""
    root = work / tool
    root.mkdir()
    (root / "images").symlink_to(work / "images")
    if tool == "coco":
        (root / "annotations").mkdir()
    output = root / ("annotations/person_keypoints_default.json" if tool == "coco" else "default.xml")
    done = write_faces(results, output, get_format(tool), images=work / "images")
    kind, shift = ("coco_person_keypoints", 0.0) if tool == "coco" else ("cvat", 0.5)
    items = {item.id: item for item in datumaro.Dataset.import_from(str(root), kind)}
    distances, faces = [0.0], 0
    for result in done.results:
        item = items[Path(result.source).stem]
        points = [a.points for a in item.annotations if a.type == datumaro.AnnotationType.points]
        places = np.array(list(itertools.chain.from_iterable(points))).reshape(-1, 68, 2) - shift
        faces += len(places)
        expected = np.array([face.landmarks for face in result.faces]).reshape(-1, 68, 2)
        order = np.lexsort(places[:, 30].T), np.lexsort(np.round(expected[:, 30], 2).T)
        if len(places) == len(expected) and len(places):
            distances.append(float(np.abs(places[order[0]] - expected[order[1]]).max()))
    return (
        f"{len(done.results)} pictures and {done.n_faces} faces written, {len(items)} and {faces} found by datumaro; "
        f"a point moved by at most {max(distances):.4f} px; {len(done.left_out)} left out"
    )


if __name__ == "__main__":
    main()
