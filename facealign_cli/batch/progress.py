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
    """How far a run has come.

    done, failed, faces: pictures, failed pictures and faces of this run. doubtful: the faces among them whose landmarks
    may be wrong. left_out: faces of this run that have no row, since their confidence is too low. before: pictures that
    earlier runs have done. skipped: pictures that were done before or named twice. total: pictures that this run has to
    do; it still grows until `total_known` is true. elapsed_s: seconds, with the start of the workers. slowest: pairs of
    milliseconds and path, the longest first. failures: the first few pairs of path and error. warned: pictures of this
    run that were used though something is wrong with their files. warnings: the first few of what that is. problems:
    sentences on what could not be listed. notes: sentences on what is no problem, but should be known. stopped:
    "interrupt" or "fail_fast" if the run ended early.
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
    warned: int = 0
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    usage: PoolUsage = field(default_factory=PoolUsage)
    own_cpu_s: float = 0.0
    stopped: str | None = None

    @property
    def per_second(self) -> float:
        """Pictures a second in this run."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """The seconds that are left at this rate; None if that is not known."""
        return (self.total - self.done) / self.per_second if self.done and self.total_known else None

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor time by stage, over all processes; `other` is what belongs to no stage."""
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
            elif line.warning is not None:
                self.warned += 1
                if len(self.warnings) < _SHOWN:
                    self.warnings.append(line.warning)
