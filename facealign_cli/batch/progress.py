"""How a run of a job goes, for whoever shows it."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from facealign_cli.batch.base import STAGES, Counts, JournalLine
from facealign_cli.batch.pool import PoolUsage

_SHOWN = 5


@dataclass
class Progress:
    """How a run goes. done, failed, faces: in this run. before: done by earlier runs. total: to do in this run.

    doubtful: of these faces, those whose landmarks may be wrong. left_out: faces of too little confidence, which have
    no row, in this run. total_known: the listing is complete. slowest: (milliseconds, path), longest first; failures:
    (path, error), the first few. stopped: "interrupt" or "fail_fast", if it ended early. elapsed_s: with the workers'
    start. skipped: done before or named twice. problems: what could not be listed. notes: what is no problem, but
    should be known.
    """

    done: int = 0
    failed: int = 0
    faces: int = 0
    doubtful: int = 0
    left_out: int = 0
    before: int = 0
    skipped: int = 0
    total: int = 0
    total_known: bool = False
    elapsed_s: float = 0.0
    counts: Counts = field(default_factory=Counts)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    usage: PoolUsage = field(default_factory=PoolUsage)
    own_cpu_s: float = 0.0
    stopped: str | None = None

    @property
    def per_second(self) -> float:
        """Pictures a second, in this run."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None where that is not known."""
        return (self.total - self.done) / self.per_second if self.done and self.total_known else None

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor time by stage, of all processes; `other` is what belongs to none."""
        by_stage: Counter[str] = Counter()
        for worker in self.usage.workers.values():
            by_stage.update(worker.by_stage)
        whole = sum(worker.cpu_s for worker in self.usage.workers.values()) + self.own_cpu_s
        stages = {stage: float(by_stage[stage]) for stage in STAGES}
        return stages | {"other": max(0.0, whole - sum(stages.values()))}

    def take(self, lines: list[JournalLine]) -> None:
        """Count some outcomes."""
        for line in lines:
            self.done += 1
            self.faces += line.n_faces
            self.doubtful += line.n_doubtful
            self.left_out += line.left_out
            self.slowest = heapq.nlargest(_SHOWN, [*self.slowest, (line.milliseconds, line.path)])
            if line.error is not None:
                self.failed += 1
                if len(self.failures) < _SHOWN:
                    self.failures.append((line.path, line.error))
