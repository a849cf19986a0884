"""Which faces a step sees: every pass a fresh order, turned heads more often where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.training.batches import drawn_rows, rows_of_step
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.pack import Pack
from tests.training.runs import CONFIG, new_run


class TestDrawnRows:
    YAW = np.array([np.nan, 0, -29.9, 30, -59, 60, -88, 120], np.float32)

    def test_turned_heads_come_more_often(self) -> None:
        rows = drawn_rows(self.YAW, (2, 5))
        assert np.bincount(rows).tolist() == [1, 1, 1, 2, 2, 5, 5, 5]

    def test_evenly_by_default(self) -> None:
        np.testing.assert_array_equal(drawn_rows(self.YAW, (1, 1)), np.arange(8))

    def test_a_run_draws_them(self, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
        yaw = np.where(np.arange(24) < 2, 75.0, np.nan).astype(np.float32)
        run = new_run(tmp_path, tiny_light, replace(tiny_pack, yaw=yaw), replace(CONFIG, turned=(1, 10)))
        drawn = run.batches.drawn[
            np.concatenate([rows_of_step(len(run.batches.drawn), 6, step, 0) for step in range(200)])
        ]
        assert np.isin(drawn, (0, 1)).mean() == pytest.approx(20 / (20 + 18), abs=0.02)


class TestRowsOfStep:
    @pytest.mark.parametrize(("n", "batch"), [(20, 8), (20, 20), (7, 16), (5, 1)])
    def test_each_pass_has_every_row_once(self, n: int, batch: int) -> None:
        """Also where a pass ends in the middle of a batch, or a batch holds several passes."""
        rows = np.concatenate([rows_of_step(n, batch, step, 3) for step in range(4 * n)])
        passes = rows[: len(rows) // n * n].reshape(-1, n)
        np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(np.arange(n), (len(passes), 1)))
        assert any((passes[0] != order).any() for order in passes[1:]), "each pass has an order of its own"

    def test_follows_from_seed_and_step(self) -> None:
        assert all(len(rows_of_step(20, 8, step, 0)) == 8 for step in range(30))
        np.testing.assert_array_equal(rows_of_step(20, 8, 11, 0), rows_of_step(20, 8, 11, 0))
        assert (rows_of_step(20, 8, 11, 0) != rows_of_step(20, 8, 11, 1)).any()
