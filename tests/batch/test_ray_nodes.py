"""A job on a Ray cluster of three nodes: one of them is killed midway, then the driver is, and the job is resumed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from batch_works import rows_of, same_rows

import facealign_cli

pytestmark = pytest.mark.slow

PICTURES, FILE_ROWS = 300, 10
WAIT_S = 900.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes of one processor each, with an address each, all of them on loopback.

    None has 127.0.0.1: a driver that is told to connect there takes the machine's outer address instead.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("needs 127.0.0.2 to 127.0.0.4, which Linux has")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # nothing but this machine reaches it
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs ray[data]: pip install 'facealign[ray]'")
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    head = {**node, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for address in ("127.0.0.3", "127.0.0.4"):
            made.add_node(**node, node_ip_address=address)
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def folder(astronaut: np.ndarray, tmp_path: Path) -> Path:
    """Many pictures: a face in most, noise in some, and some that cannot be read."""
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(PICTURES):
        image = np.roll(astronaut[:220, 110:330], i % 50, axis=1)
        image = np.random.default_rng(i).integers(0, 255, image.shape, np.uint8) if i % 10 == 3 else image
        data = bytes(cv2.imencode(".jpg", image)[1])
        (place / f"{i:04d}.jpg").write_bytes(data[: 90 if i % 50 == 7 else None])
    return place


def start(folder: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facealign_cli", "batch", "folder", str(folder), "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(facealign_cli.__file__).parents[1])}
    command += ["--device", "cpu", "--shard-rows", str(FILE_ROWS), "--batch-size", "4", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def files_of(out: Path) -> set[str]:
    return {path.name for path in out.glob("part-ray*.parquet")}


def wait_until(driver: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait while the driver runs, for something that has to come before its end."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        assert time.monotonic() < until
        time.sleep(0.05)


def finish(driver: subprocess.Popen[str]) -> str:
    """Wait for a driver's end, some of its pictures having failed; what it told."""
    try:
        _, told = driver.communicate(timeout=WAIT_S)
    finally:
        driver.kill()
        driver.communicate()
    assert driver.returncode == 3, told
    return told


def test_a_node_and_the_driver_are_killed_midway(cluster: Any, folder: Path, tmp_path: Path) -> None:
    local, out = tmp_path / "local", tmp_path / "ray"
    finish(start(folder, local, "--workers", "1"))
    on_ray = ("--engine", "ray", "--ray-address", cluster.address, "--workers")
    driver = start(folder, out, *on_ray, "3")
    try:
        wait_until(driver, lambda: len(files_of(out)) >= 3)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        before = files_of(out)
        wait_until(driver, lambda: len(files_of(out) - before) >= 4)  # the two nodes that are left go on
    finally:
        driver.kill()
        driver.communicate()
    before = files_of(out)
    done = {row["source"] for row in rows_of(out)}
    assert 3 * FILE_ROWS <= len(done) < PICTURES
    told = finish(start(folder, out, *on_ray, "2"))
    assert f"{len(done)} done before" in told
    assert "Traceback" not in told
    assert before < files_of(out)
    assert same_rows(rows_of(out), rows_of(local))
    assert len({row["source"] for row in rows_of(out)}) == PICTURES
