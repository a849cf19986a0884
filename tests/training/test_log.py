"""A run's log: its rows, and what is said of a file that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import FormatError
from facealign_cli.training.log import append_row, drop_rows_after, read_log


def test_rows_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    for step in (4, 8, 12):
        append_row(log, {"step": step, "faces": step * 2})
    with log.open("a") as file:
        file.write("16,3")  # of a process that was killed
    drop_rows_after(log, 8)
    assert read_log(log) == [{"step": 4.0, "faces": 8.0}, {"step": 8.0, "faces": 16.0}]


def test_a_run_that_goes_on_with_other_packs_has_the_columns_of_all(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    append_row(log, {"step": 1, "faces": 2, "held_out_stage1": 0.5})
    append_row(log, {"step": 2, "faces": 4, "held_out_stage1": 0.25, "yaw_0_30": 0.125})
    append_row(log, {"step": 3, "faces": 6, "held_out_stage1": 0.25})
    rows = read_log(log)
    assert [row["held_out_stage1"] for row in rows] == [0.5, 0.25, 0.25]
    assert np.isnan([row["yaw_0_30"] for row in rows]).tolist() == [True, False, True]


@pytest.mark.parametrize("content", [b"step,faces\nabc,\xff\n", b"step,faces\n\0\n", b"step,faces\n0x1,2\n"])
def test_no_log_to_go_on_from(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(FormatError, match=r"log\.csv: not a training log.*move it away"):
        drop_rows_after(tmp_path / "log.csv", 8)
    assert (tmp_path / "log.csv").read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"step,faces\n", b"step,faces\n1\n", b"step,faces\n1,2,3\n", b"a,b\n1,2\n", b"\xff"]
)
def test_no_log_to_draw(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(FormatError, match=r"log\.csv"):
        read_log(tmp_path / "log.csv")
