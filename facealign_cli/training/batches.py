"""Which faces a step sees, and who makes the batches. A batch is a function of (seed, step) alone, whoever makes it."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import cv2
import numpy as np
import torch
from torch import Tensor

from facealign_cli.arrays import Floats, Ints
from facealign_cli.errors import FacealignError, InputError
from facealign_cli.geometry import CropFrame
from facealign_cli.processes import begin_worker, signals_held_back
from facealign_cli.training.augment import Batch, make_batch
from facealign_cli.training.pack import Pack
from facealign_cli.training.schedule import TrainConfig


def drawn_rows(yaw: Floats, turned: tuple[int, int]) -> Ints:
    """The rows of a pass, in which turned faces come as often as `turned` says: by 30 to 60 degrees, and by more.

    yaw: (N,) degrees; where it is NaN, the face is drawn once.
    """
    side = np.nan_to_num(np.abs(yaw), nan=0.0)
    repeats = np.where(side >= 60, turned[1], np.where(side >= 30, turned[0], 1))
    return np.repeat(np.arange(len(yaw)), repeats)


def rows_of_step(n: int, batch_size: int, step: int, seed: int) -> Ints:
    """(batch_size,) rows of a step: every pass is a fresh permutation, passes follow one another without a gap."""
    first = step * batch_size
    rows: list[Ints] = []
    while sum(map(len, rows)) < batch_size:
        position = first + sum(map(len, rows))
        order = np.random.default_rng([seed, 1, position // n]).permutation(n)
        rows.append(order[position % n : position % n + batch_size - sum(map(len, rows))])
    return np.concatenate(rows)


class BatchSource:
    """The batches of a run's training faces."""

    def __init__(self, pack: Pack, config: TrainConfig, frame: CropFrame) -> None:
        self.pack, self.config, self.frame = pack, config, frame
        self.drawn = drawn_rows(pack.yaw, config.turned)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        config = self.config
        rows = self.drawn[rows_of_step(len(self.drawn), config.batch_size, step, config.seed)]
        rng = np.random.default_rng([config.seed, 2, step])
        return make_batch(self.pack, rows, self.frame, config.augmentation, rng)

    @contextmanager
    def from_step(self, first: int, loaders: int = 0) -> Iterator[Callable[[], Batch]]:
        """What gives the batches of the steps from `first`, one a call; the next ones are made meanwhile.

        loaders: processes that make them; 0: a thread of this process. Raises InputError where the system cannot fork
        processes, which share the faces in memory; the function raises LoaderError where one of them ends or fails.
        """
        with self._executor(loaders) as executor:
            ahead, steps = max(1, 2 * loaders), _counting(first)
            with signals_held_back():  # the processes are started here
                waiting = deque(self._submit(executor, next(steps)) for _ in range(ahead))

            def take() -> Batch:
                with _loader_errors():
                    waiting.append(self._submit(executor, next(steps)))
                    made = waiting.popleft().result()
                return made if isinstance(made, Batch) else Batch(*(tensor.numpy() for tensor in made))

            try:
                yield take
            finally:
                for future in waiting:
                    future.cancel()
                _SOURCES.pop(id(self), None)

    def _executor(self, loaders: int) -> Executor:
        if not loaders:
            return ThreadPoolExecutor(1)
        if "fork" not in multiprocessing.get_all_start_methods():
            raise InputError("loaders need a system that can fork processes; make the batches without them")
        _SOURCES[id(self)] = self  # the processes find it there when they are forked
        return ProcessPoolExecutor(loaders, _forking(), _start_loader)

    def _submit(self, executor: Executor, step: int) -> Future[Batch] | Future[tuple[Tensor, ...]]:
        if isinstance(executor, ProcessPoolExecutor):
            return executor.submit(_tensors_of, id(self), step)
        return executor.submit(self.batch, step)


_SOURCES: dict[int, BatchSource] = {}


class LoaderError(FacealignError):
    """A process that makes batches has ended, or cannot hand one over."""


@contextmanager
def _loader_errors() -> Iterator[None]:
    """What a pool raises where one of its processes has ended or has failed, as LoaderError."""
    try:
        yield
    except BrokenProcessPool as error:
        raise LoaderError("a loader died, perhaps for want of memory") from error
    except (MemoryError, OSError) as error:
        raise LoaderError(f"a loader failed: {str(error) or 'it has no memory left'}") from error
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        raise LoaderError("a loader found no room in shared memory (/dev/shm)") from error


def _forking() -> multiprocessing.context.BaseContext:
    """Processes that share the faces in memory. The executor ends them by SIGTERM where one of them has died; they are
    deaf to it, since `timeout` and Slurm send it to all processes, and so that is SIGKILL here."""

    class Loader(multiprocessing.context.ForkProcess):
        terminate = BaseProcess.kill

    class Forking(multiprocessing.context.ForkContext):
        Process = Loader

    return Forking()


def _start_loader() -> None:
    begin_worker(only_the_parent_ends_it=True)
    cv2.setNumThreads(1)


def _tensors_of(source: int, step: int) -> tuple[Tensor, ...]:
    """The fields of a batch, in their order. A process hands tensors over in shared memory, but copies arrays through a
    pipe, by which the reader got 1,500 crops of 320 pixels a second."""
    batch = _SOURCES[source].batch(step)
    return tuple(torch.from_numpy(getattr(batch, field.name)) for field in dataclasses.fields(batch))


def _counting(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1
