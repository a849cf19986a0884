"""Which faces a step sees, and who makes the batches. A batch is a function of (seed, step) alone, whoever makes it."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facealign_cli.arrays import Floats, Ints
from facealign_cli.errors import InputError
from facealign_cli.geometry import CropFrame
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
        processes, which share the faces in memory.
        """
        if loaders:
            with warnings.catch_warnings():  # how many processes there are is the user's choice
                warnings.filterwarnings("ignore", message="This DataLoader will create")
                batches = iter(self._loader(first, loaders))
            yield lambda: _arrays(next(batches))
            return
        with ThreadPoolExecutor(1) as executor:
            steps = itertools.count(first)
            waiting = executor.submit(self.batch, next(steps))

            def take() -> Batch:
                nonlocal waiting
                taken, waiting = waiting, executor.submit(self.batch, next(steps))
                return taken.result()

            try:
                yield take
            finally:
                waiting.cancel()

    def _loader(self, first: int, loaders: int) -> DataLoader[_Tensors]:
        """Torch's, because its processes hand batches over in shared memory: through the pipe of a
        ProcessPoolExecutor went 1,500 faces a second at most, in crops of 320 pixels."""
        if "fork" not in multiprocessing.get_all_start_methods():
            raise InputError("loaders need a system that can fork processes; make the batches without them")
        return DataLoader(
            _Steps(self),
            batch_size=None,  # what _Steps gives for a number is a whole batch
            sampler=range(first, sys.maxsize),
            num_workers=loaders,
            multiprocessing_context="fork",
            worker_init_fn=_in_one_thread,
            generator=torch.Generator(),
        )


_Tensors = tuple[Tensor, ...]
"""The fields of a Batch, in their order."""


class _Steps(Dataset[_Tensors]):
    """The batch of each step, as torch's loaders take it."""

    def __init__(self, source: BatchSource) -> None:
        self.source = source

    def __getitem__(self, step: int) -> _Tensors:
        batch = self.source.batch(step)
        return tuple(torch.from_numpy(getattr(batch, field.name)) for field in dataclasses.fields(batch))


def _arrays(tensors: _Tensors) -> Batch:
    return Batch(*(tensor.numpy() for tensor in tensors))


def _in_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
