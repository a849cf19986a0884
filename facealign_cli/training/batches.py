"""Which faces a step sees. A batch is a function of (seed, step) alone."""

from __future__ import annotations

import numpy as np


def drawn_rows(yaw: np.ndarray, turned: tuple[int, int]) -> np.ndarray:
    """The rows of a pass: a face turned by 30 to 60 degrees, and one turned by more, as often as `turned` says.

    yaw: (N,) degrees; where it is NaN, the face is drawn once.
    """
    side = np.nan_to_num(np.abs(yaw), nan=0.0)
    repeats = np.where(side >= 60, turned[1], np.where(side >= 30, turned[0], 1))
    return np.repeat(np.arange(len(yaw)), repeats)


def rows_of_step(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """(batch,) rows of a step: every pass is a fresh permutation, passes follow one another without a gap."""
    first = step * batch
    rows: list[np.ndarray] = []
    while sum(map(len, rows)) < batch:
        position = first + sum(map(len, rows))
        order = np.random.default_rng([seed, 1, position // n]).permutation(n)
        rows.append(order[position % n : position % n + batch - sum(map(len, rows))])
    return np.concatenate(rows)
