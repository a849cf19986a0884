"""The files of a job: manifest, indexes, journal; the job is resumed on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facealign_cli.batch.base import Outcome
from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.run import run_batch
from facealign_cli.batch.sources import Sources
from facealign_cli.records import FrameResult


@dataclass
class _Work:
    """Finds no face in anything."""

    cpu_s: dict[str, float]

    def process_chunks(self, chunks, on_picture=lambda: None):  # type: ignore[no-untyped-def]
        for paths in chunks:
            yield [Outcome(FrameResult.of_faces(path, (), width=3, height=3)) for path in paths]


def jobs(folder: Path) -> tuple[list[tuple[str, bytes]], Callable[[Path], object]]:
    (folder / "src").mkdir()
    for i in range(7):
        (folder / "src" / f"{i}.jpg").write_bytes(b"no picture")

    def job() -> object:
        options = BatchOptions("out", fmt="jsonl", shard_rows=2, workers=0, batch_size=1)
        return run_batch(Sources(("src",)), options, make_work=lambda: _Work({}))

    job()
    (folder / "out" / "_journal").mkdir(exist_ok=True)
    segment = b"".join(part.read_bytes() for part in sorted((folder / "out").glob("part-*.jsonl"))[-1:])
    places = [path for path in sorted((folder / "out").rglob("*")) if path.suffix in (".json", ".jsonl")]
    bases = [(str(path.relative_to(folder)), path.read_bytes()) for path in places if "part-" not in path.name]
    bases += [(str(p.relative_to(folder)), p.read_bytes()) for p in places if p.parent.name == "_journal"]
    bases.append(("out/_journal/000099.jsonl", segment))
    shutil.copytree(folder / "out", folder / "good")

    def read(file: Path) -> object:
        damaged = file.read_bytes()
        shutil.rmtree(folder / "out")
        shutil.copytree(folder / "good", folder / "out")
        file.write_bytes(damaged)
        return job()

    return bases, read


KINDS = {"jobs": jobs}
