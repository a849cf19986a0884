"""The processes of --loaders: who makes the batches, how they arrive, and what a signal to all of them does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.training.checkpoint import load_checkpoint
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.loop import Run
from facealign_cli.training.pack import Pack, encode_grey, write_rows
from tests.training.runs import assert_same, kill_at, new_run, timeless

ROOT = Path(__file__).parents[2]


def test_end_as_one_thread_does(tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
    """Two processes make the batches, out of order; a run that is stopped and resumed with them ends the same."""
    new_run(tmp_path / "thread", tiny_light, tiny_pack).train()
    new_run(tmp_path / "processes", tiny_light, tiny_pack).train(loaders=2)
    kill_at(new_run(tmp_path / "killed", tiny_light, tiny_pack), 9)
    Run.resume(tmp_path / "killed", tiny_pack).train(loaders=2)
    one, *others = (timeless(tmp_path / name / "last.ckpt") for name in ("thread", "processes", "killed"))
    for other in others:
        assert_same(one, other)


def test_hand_over_in_shared_memory(tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path) -> None:
    batches = new_run(tmp_path, tiny_light, tiny_pack).batches
    with batches._executor(1) as executor:
        made = batches._submit(executor, 3).result()
        assert isinstance(made, tuple) and all(tensor.is_shared() for tensor in made)
    with batches.from_step(3, loaders=1) as take:
        got, own = take(), batches.batch(3)
    for name in ("crops", "landmarks", "weights", "has_face", "aligned"):
        np.testing.assert_array_equal(getattr(got, name), getattr(own, name))


def test_a_system_that_cannot_fork(
    tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(InputError, match="fork"):
        new_run(tmp_path, tiny_light, tiny_pack).train(loaders=2)


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals to a group of processes")
def test_a_signal_to_all_processes_leaves_a_checkpoint(tiny_pack: Pack, tmp_path: Path) -> None:
    """`timeout` and job schedulers send SIGTERM to the loaders, too."""
    columns = ("landmarks", "bbox", "rough", "held_out", "weights", "yaw", "points")
    write_rows(
        tmp_path / "pack.h5",
        (encode_grey(image, 95) for image in tiny_pack.images),
        {name: getattr(tiny_pack, name) for name in columns},
        tiny_pack.names,
        attributes={"size": tiny_pack.images.shape[1], "context": 3.0},
    )
    options = (
        "--data pack.h5 --run run --steps 100000 --batch-size 2 --eval-every 100000 --checkpoint-every 3 --loaders 2"
    )
    training = subprocess.Popen(
        [sys.executable, "-m", "facealign_cli", "train", "run", *options.split()],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    last = tmp_path / "run" / "last.ckpt"
    while not last.exists() and training.poll() is None:
        time.sleep(0.1)
    os.killpg(training.pid, signal.SIGTERM)
    _, told = training.communicate(timeout=60)
    assert training.returncode == 130, told
    step = load_checkpoint(last)["step"]
    assert f"Interrupted at step {step}: --resume goes on from here." in told
    assert "Traceback" not in told
