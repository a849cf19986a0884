"""Whole jobs, as the tests of batches start them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_works import FakeWork

from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.run import run_batch
from facealign_cli.batch.sources import Sources
from facealign_cli.batch.work import WorkOptions


def run(source: object, out: object, *, work: WorkOptions | None = None, **options: Any) -> Progress:
    extra = {name: options.pop(name) for name in ("make_work", "stop", "report") if name in options}
    sources = source if isinstance(source, Sources) else Sources((str(source),), recursive=True)
    batch = BatchOptions(str(out), **({"workers": 0} | options))
    return run_batch(sources, batch, work or WorkOptions(device="cpu"), **extra)


def fake(source: object, out: object, **options: Any) -> Progress:
    return run(source, out, make_work=FakeWork, **options)


def listed(path: Path) -> Sources:
    return Sources(lists=(str(path),))
