"""What a job of very many pictures takes beside the pictures themselves: time and memory of the driver, part by part.

    python benchmarks/scale.py [--keys 1e7] [--shards 20] [--shard-rows 10000] [--indexes 1000] [--work FOLDER]

No picture is read. Each part runs in a process of its own, whose largest memory is stated, and is measured at the
numbers asked for; the last columns say what that makes for 10^8, 10^9 and 10^10 pictures, if it grows in proportion.
Parts: listing (names from a generator become keys, and chunks for workers), shards (rows of one face become Parquet, as
the local engine's parent does it), reading the indexes of a job that is resumed, and taking in the files that Ray
wrote. The set of keys is part of listing and of resuming. All times are processor time of one core.
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from facealign_cli.batch.base import EXTRA, JournalLine, Outcome
from facealign_cli.batch.keys import KeySet
from facealign_cli.batch.listing import Listing
from facealign_cli.batch.ray.rows import RayRows
from facealign_cli.batch.shards import RowStore
from facealign_cli.boxes import BBox
from facealign_cli.files.storage import storage_for
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.records import Face, FrameResult

SHARD_ROWS = 10_000
GOALS = (10**8, 10**9, 10**10)
PATH = "s3://bucket/pictures/{0:04d}/{1:08d}.jpg"

Part = Callable[[argparse.Namespace, Path], tuple[int, float, int]]
"""Pictures that were worked on, seconds of processor time for them, bytes on disk or 0."""


def main() -> None:
    """Parse, run each part in a process of its own, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=float, default=1e7, help="names to list")
    parser.add_argument("--shards", type=int, default=20, help="shards to write")
    parser.add_argument("--shard-rows", type=int, default=SHARD_ROWS, help="rows of such a shard of the local engine")
    parser.add_argument("--indexes", type=int, default=1000, help=f"indexes of shards of {SHARD_ROWS} to read again")
    parser.add_argument("--work", type=Path, help="where to put files [default: a temporary folder]")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        _run_part(options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        print("| Part | Measured | µs a picture | Memory | 10^8 pictures | 10^9 | 10^10 |\n|" + " --- |" * 7)
        for name in PARTS:
            print(_row(name, _measured(name, options, work)), flush=True)


def _measured(name: str, options: argparse.Namespace, work: Path) -> dict[str, float]:
    numbers = ["--keys", str(options.keys), "--shards", str(options.shards), "--indexes", str(options.indexes)]
    numbers += ["--shard-rows", str(options.shard_rows)]
    command = [sys.executable, __file__, "--part", name, "--work", str(work), *numbers]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def _row(name: str, found: dict[str, float]) -> str:
    count, seconds = found["pictures"], found["seconds"]
    cells = [name, f"{count:,.0f} in {seconds:.1f} s", f"{seconds / count * 1e6:.2f}", _bytes(found["memory"])]
    for goal in GOALS:
        share = goal / count
        cell = _duration(share * seconds)
        if found["grows"]:
            cell += f", {_bytes(share * found['memory'])}"
        if found["disk"]:
            cell += f", {_bytes(share * found['disk'])} of files"
        cells.append(cell)
    return "| " + " | ".join(cells) + " |"


def _run_part(options: argparse.Namespace) -> None:
    before = _memory()
    count, seconds, disk = PARTS[options.part](options, options.work)
    found = {"pictures": count, "seconds": seconds, "disk": disk, "grows": options.part in GROWING}
    print(json.dumps({**found, "memory": max(_memory() - before, 0)}))


def listing(options: argparse.Namespace, _: Path) -> tuple[int, float, int]:
    """Names become keys, and chunks that are taken at once: what waits is bounded, the set of keys is not."""
    count = int(options.keys)

    def names(_: object) -> Iterator[str]:
        return (PATH.format(i // 10_000, i) for i in range(count))

    begin = time.process_time()
    with Listing(names, KeySet(), 16) as chunks:
        while not chunks.ended:
            if chunks.take() is None:
                time.sleep(0.001)
    if chunks.found != count:
        raise SystemExit(f"{chunks.found} of {count} names were found: two share a key")
    return count, time.process_time() - begin, 0


def shards(options: argparse.Namespace, work: Path) -> tuple[int, float, int]:
    """Rows come back from workers, go to the journal and become shards."""
    folder = work / "shards"
    store = RowStore(storage_for(str(folder)), str(folder), "parquet", options.shard_rows)
    seconds, count = 0.0, options.shards * options.shard_rows
    for start in range(0, count, 500):
        lines = [JournalLine.of(_outcome(i)) for i in range(start, min(start + 500, count))]  # workers do this
        begin = time.process_time()
        store.add(lines)
        store.flush()
        seconds += time.process_time() - begin
    begin = time.process_time()
    store.close()
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return count, seconds + time.process_time() - begin, disk


def resuming(options: argparse.Namespace, work: Path) -> tuple[int, float, int]:
    """The indexes of a job are read, and their keys become a set. Each index is a real one, with keys of its own."""
    folder, rng = work / "resumed", np.random.default_rng(0)
    journal = folder / "_journal"
    journal.mkdir(parents=True, exist_ok=True)
    store = RowStore(storage_for(str(folder)), str(folder), "jsonl", SHARD_ROWS)
    store.add([JournalLine.of(_outcome(i)) for i in range(SHARD_ROWS)])
    store.close()
    index = json.loads((journal / "part-000000.json").read_bytes())
    for number in range(options.indexes):
        keys = np.sort(rng.integers(0, 2**64, SHARD_ROWS, np.uint64))
        _write_index(journal / f"part-{number:06d}.json", index, number, keys)
        (folder / f"part-{number:06d}.jsonl").touch()
    begin = time.process_time()
    again = RowStore(storage_for(str(folder)), str(folder), "jsonl", SHARD_ROWS)
    again.recover(options.indexes)
    done = KeySet(again.take_done_keys())
    seconds = time.process_time() - begin
    if len(done) != options.indexes * SHARD_ROWS:
        raise SystemExit("keys are missing")
    return len(done), seconds, sum(path.stat().st_size for path in journal.iterdir())


def _write_index(path: Path, like: dict[str, object], number: int, keys: np.ndarray) -> None:
    text = base64.b64encode(keys.astype("<u8").tobytes()).decode()
    path.write_text(json.dumps({**like, "segments": [number, number + 1], "keys": text}))


def ray_files(options: argparse.Namespace, work: Path) -> tuple[int, float, int]:
    """The driver of a job on Ray looks at each file that came, moves it to its place and counts its pictures."""
    folder = work / "ray"
    (folder / "_ray").mkdir(parents=True)
    storage = storage_for(str(folder))
    maker = RayRows(storage, str(folder))
    maker.put([_outcome(i) for i in range(SHARD_ROWS)])
    data = next(folder.glob("part-*")).read_bytes()
    rows = RayRows(storage, str(folder))
    rows.recover()
    seconds = 0.0
    for number in range(options.shards):
        (folder / "_ray" / f"{number}.parquet").write_bytes(data)
        begin = time.process_time()
        if len(rows.collect(ended=False)) != SHARD_ROWS:
            raise SystemExit("rows are missing")
        seconds += time.process_time() - begin
    return options.shards * SHARD_ROWS, seconds, options.shards * len(data)


def _outcome(number: int) -> Outcome:
    """A picture with a face, as a worker gives it."""
    path = PATH.format(number // 10_000, number)
    noise = np.random.default_rng(number).normal(0, 1, MEAN_SHAPE.shape)
    face = Face(0, BBox(10, 10, 200, 200), MEAN_SHAPE * 2 + noise, 0.9, 0.95)
    facts = {"width": 640, "height": 480, "model": "dan-light 2", "detector": "yunet", "provider": "CPU"}
    extra = dict.fromkeys(EXTRA, 1.234) | {"bytes": 50_000 + number, "sha256": f"{number:064x}", "left_out": 0}
    return Outcome(FrameResult.of_faces(path, [face], **facts), extra)


PARTS: dict[str, Part] = {"listing": listing, "shards": shards, "resuming": resuming, "ray_files": ray_files}
GROWING = {"listing", "resuming"}
"""Parts whose memory grows with the job."""


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
