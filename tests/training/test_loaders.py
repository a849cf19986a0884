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
from facealign_cli.training.augment import Batch
from facealign_cli.training.batches import LoaderError
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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>"), "no room in shared memory"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (MemoryError(), "no memory left"),
    ],
)
def test_a_loader_that_fails_leaves_a_checkpoint(
    error: Exception, told: str, tiny_light: NetworkConfig, tiny_pack: Pack, tmp_path: Path
) -> None:
    run = new_run(tmp_path, tiny_light, tiny_pack)
    make = run.batches.batch

    def failing(step: int) -> Batch:
        if step == 4:
            raise error
        return make(step)

    run.batches.batch = failing  # type: ignore[method-assign]
    with pytest.raises(LoaderError, match=f"{told}.*--resume goes on from step 4"):
        run.train(loaders=2)
    assert load_checkpoint(tmp_path / "last.ckpt")["step"] == 4


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals to a group of processes")
def test_a_signal_to_all_processes_leaves_a_checkpoint(tiny_pack: Pack, tmp_path: Path) -> None:
    """`timeout` and job schedulers send SIGTERM to the loaders, too."""
    training = begun(tiny_pack, tmp_path)
    os.killpg(training.pid, signal.SIGTERM)
    _, told = training.communicate(timeout=60)
    assert training.returncode == 130, told
    step = load_checkpoint(tmp_path / "run" / "last.ckpt")["step"]
    assert f"Interrupted at step {step}: --resume goes on from here." in told
    assert "Traceback" not in told


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_loader_that_dies_leaves_a_checkpoint(tiny_pack: Pack, tmp_path: Path) -> None:
    """As one does that the system ends for want of memory. The other loader goes, too."""
    training = begun(tiny_pack, tmp_path)
    loaders = children(training.pid)
    os.kill(loaders[0], signal.SIGKILL)
    _, told = training.communicate(timeout=60)
    assert training.returncode == 1, told
    step = load_checkpoint(tmp_path / "run" / "last.ckpt")["step"]
    assert f"a loader died, perhaps for want of memory: --resume goes on from step {step}" in told
    assert "Traceback" not in told
    assert not any(map(is_alive, loaders))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_loader_outlives_the_training(tiny_pack: Pack, tmp_path: Path) -> None:
    training = begun(tiny_pack, tmp_path)
    loaders = children(training.pid)
    training.kill()
    training.communicate(timeout=60)  # until all who hold its stderr have ended
    deadline = time.monotonic() + 60
    while any(is_alive(loader) for loader in loaders):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def begun(pack: Pack, folder: Path) -> subprocess.Popen[str]:
    """A long `train run` with two loaders, which has written its first checkpoint."""
    columns = ("landmarks", "bbox", "rough", "held_out", "weights", "yaw", "points")
    write_rows(
        folder / "pack.h5",
        (encode_grey(image, 95) for image in pack.images),
        {name: getattr(pack, name) for name in columns},
        pack.names,
        attributes={"size": pack.images.shape[1], "context": 3.0},
    )
    options = (
        "--data pack.h5 --run run --steps 100000 --batch-size 2 --eval-every 100000 --checkpoint-every 3 --loaders 2"
    )
    training = subprocess.Popen(
        [sys.executable, "-m", "facealign_cli", "train", "run", *options.split()],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (folder / "run" / "last.ckpt").exists() and training.poll() is None:
        time.sleep(0.1)
    return training


def children(process: int) -> list[int]:
    """The forked ones, which run the same command."""
    pids = [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    command = Path(f"/proc/{process}/cmdline").read_text()
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_text() == command]


def is_alive(process: int) -> bool:
    """Whether it runs; one that has ended, whose parent has not asked for its end, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False
