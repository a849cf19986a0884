"""What a job is to be like."""

from __future__ import annotations

from dataclasses import dataclass

from facealign_cli.batch.base import SHARD_SUFFIXES
from facealign_cli.errors import InputError


@dataclass(frozen=True)
class BatchOptions:
    """How a job is run. output: its folder, or a URL. fmt: parquet, jsonl, csv or pts.

    engine: local, or ray, which writes Parquet only, and knows of neither timeout_s nor fail_fast. ray_address: of a
    running cluster; None: one is started here. workers: processes; 0: this one, which nothing protects from a picture
    that kills. batch_size: pictures that a worker works on at a time. timeout_s: after so long without a finished
    picture a worker is taken for hung; None: never. restart: begin anew. must_resume: refuse to begin. retry_errors: do
    failed pictures again. fail_fast: stop at the first one.
    """

    output: str
    fmt: str = "parquet"
    shard_rows: int = 10_000
    workers: int = 1
    batch_size: int = 16
    timeout_s: float | None = 300.0
    restart: bool = False
    must_resume: bool = False
    retry_errors: bool = False
    fail_fast: bool = False
    engine: str = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.fmt not in SHARD_SUFFIXES:
            raise InputError(f"unknown format {self.fmt!r} of a batch: known are {', '.join(SHARD_SUFFIXES)}")
        for name, least in (("shard_rows", 1), ("workers", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if self.engine not in ("local", "ray"):
            raise InputError(f"unknown engine {self.engine!r}: known are local, ray")
        if self.engine == "local" and self.ray_address is not None:
            raise InputError("a Ray address without the engine ray (--ray-address without --engine ray)")
        if self.engine == "ray":
            self._check_ray()

    def _check_ray(self) -> None:
        for wrong, why in (
            (self.fmt != "parquet", f"writes Parquet only, not {self.fmt}"),
            (self.workers == 0, "has 1 worker or more"),
            (self.timeout_s is not None, "has no time limit for a picture (--timeout)"),
            (self.fail_fast, "cannot stop at a picture (--fail-fast): rows come back by the file"),
        ):
            if wrong:
                raise InputError(f"the engine ray {why}")
