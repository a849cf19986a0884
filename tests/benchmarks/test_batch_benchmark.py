"""The benchmark of batches: what it makes of the processor time that a run states."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from facealign_cli.batch.pool import PoolUsage, WorkerUsage
from facealign_cli.batch.progress import Progress


def test_two_workers_can_be_no_more_than_the_threads_of_one_leave_room_for(load: Callable[[str], ModuleType]) -> None:
    stages = {"read": 0.1, "decode": 0.7, "detect": 3.0, "align": 1.5, "write": 0.0}
    usage = PoolUsage({7: WorkerUsage(5.8, stages, 0)})
    said = load("batch").by_thread(Progress(done=1000, usage=usage, own_cpu_s=0.2))
    assert "main thread 5.00 ms, reading ahead 0.80 ms, giving out 0.20 ms" in said
    assert f"at most {2 * 5.0 / (5.0 + 0.8 + 0.2):.2f} times" in said


@pytest.mark.parametrize("parent_s", [0.0, 5.8])
def test_with_everything_in_one_thread_it_is_twice_or_once(load: Callable[[str], ModuleType], parent_s: float) -> None:
    usage = PoolUsage({7: WorkerUsage(5.8, {}, 0)})
    said = load("batch").by_thread(Progress(done=1000, usage=usage, own_cpu_s=parent_s))
    assert f"at most {1 if parent_s else 2:.2f} times" in said
