"""Jobs on Ray: the rows of the local engine, and what a kill, a failure and a removed file leave.

Each job starts Ray, which takes seconds: few tests do, and look at several things.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import batch_works
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_works import BrokenWork, FakeWork, UnwritableWork, fake_outcome, rows_of, same_rows
from click.testing import CliRunner

import facealign_cli
from facealign_cli.batch.base import RAY_FOLDER
from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.ray.engine import RayWorker
from facealign_cli.batch.ray.rows import RayRows
from facealign_cli.batch.run import run_batch
from facealign_cli.batch.sources import Sources
from facealign_cli.batch.work import WorkOptions
from facealign_cli.cli.main import main
from facealign_cli.errors import FacealignError, InputError, OutputError
from facealign_cli.files.storage import storage_for

pytest.importorskip("ray.data", reason="the engine ray needs ray[data]: pip install 'facealign[ray]'")

pytestmark = pytest.mark.long


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers, which are started with this environment, find this folder's modules."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(batch_works.__file__), prepend=os.pathsep)


def run(source: Sources, out: Path, **options: Any) -> Progress:
    extra = {name: options.pop(name) for name in ("make_work", "stop", "report") if name in options}
    batch = BatchOptions(str(out), **({"engine": "ray", "workers": 2} | options))
    return run_batch(source, batch, WorkOptions(device="cpu"), **extra)


def listed(folder: Path, *names: str) -> Sources:
    (folder / "list").write_text("\n".join(names))
    return Sources(lists=(str(folder / "list"),))


def test_the_command_gives_the_rows_of_the_local_engine(pictures: Path, tmp_path: Path) -> None:
    (pictures / os.fsdecode(b"odd\xff.png")).write_bytes((pictures / "pair.png").read_bytes())
    cv2.imwrite(str(pictures / "pair.png"), cv2.imread(str(pictures / "pair.png")).astype(np.uint16) * 16)  # 12 bits
    names = [str(path.relative_to(tmp_path)) for path in sorted(pictures.rglob("*.*"))]
    (tmp_path / "list").write_bytes(b"\n".join(map(os.fsencode, names)))
    command = [sys.executable, "-m", "facealign_cli", "batch", "folder", "--list", "list"]
    command += ["--workers", "2", "--device", "cpu"]
    told = {}
    for engine in ("local", "ray"):
        done = subprocess.run(
            [*command, "-o", f"{engine} #1?", "--engine", engine, "--crops-dir", f"{engine} crops"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(facealign_cli.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 3, done.stderr
        assert done.stdout == ""
        told[engine] = done.stderr
    local, ray = (tmp_path / f"{engine} #1?" for engine in ("local", "ray"))
    rows = rows_of(ray)
    assert same_rows(rows, rows_of(local))
    assert sum(row["status"] == "error" for row in rows) == 5
    tables = [pq.read_table(next(folder.glob("part-*.parquet"))) for folder in (local, ray)]
    assert tables[0].schema.equals(tables[1].schema, check_metadata=True)
    assert min(tables[1]["detect_ms"].drop_null().to_pylist()) > 0
    crops = [
        sorted(p.relative_to(tmp_path / f"{e} crops") for p in (tmp_path / f"{e} crops").rglob("*.jpg")) for e in told
    ]
    assert crops[0] == crops[1]
    assert len(crops[0]) == 10
    assert "16 rows of 14 pictures, 10 faces, 1 without a face, 5 failed." in told["ray"]
    assert "Traceback" not in told["ray"]
    warnings = [[line for line in told[engine].splitlines() if "Warning" in line] for engine in ("local", "ray")]
    assert warnings[0] == warnings[1]
    assert [line.split(": its")[0] for line in warnings[1]] == ["Warning: pictures/pair.png"]


def test_a_job_and_what_comes_after_it(tmp_path: Path, importable: None) -> None:
    names = [f"{i}-{kind}" for i in range(10) for kind in ("one", "two", "bad", "none")]
    source, out = listed(tmp_path, *names, "poison"), tmp_path / "out"
    seen: list[int] = []
    progress = run(source, out, make_work=FakeWork, batch_size=2, shard_rows=15, report=lambda p: seen.append(p.done))
    assert (progress.done, progress.failed, progress.faces, progress.counts.rows) == (41, 11, 30, 51)
    assert progress.failures
    assert seen[-1] == 41
    rows = rows_of(out)
    (poisoned,) = (row for row in rows if row["source"] == "poison")
    assert "a Ray worker died on it or gave no answer for 300 s, and again when it was alone" in poisoned["error"]
    assert {row["source"] for row in rows} == {*names, "poison"}
    assert os.listdir(out / RAY_FOLDER) == []
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["state"], manifest["counts"]["rows"]) == ("complete", 51)

    assert run(source, out, make_work=FakeWork, shard_rows=15).done == 0
    with pytest.raises(OutputError, match="engine: was ray, is local"):
        run(source, out, make_work=FakeWork, shard_rows=15, engine="local")
    first = min(out.glob("part-*"))
    lost = len(set(pq.read_table(first)["source"].to_pylist()))
    first.unlink()
    (out / RAY_FOLDER / "cut-short.parquet").write_bytes(b"PAR1 and no end")
    again = run(source, out, make_work=FakeWork, shard_rows=15)
    assert (again.done, again.before) == (lost, 41 - lost)
    assert same_rows(rows_of(out), rows)


def test_a_picture_on_which_a_worker_hangs_is_recorded_as_failed(tmp_path: Path, importable: None) -> None:
    names = [f"{i}-one" for i in range(12)]
    source = listed(tmp_path, *names[:6], "stuck", *names[6:])
    progress = run(source, tmp_path / "out", make_work=FakeWork, batch_size=2, shard_rows=5, timeout_s=6.0)
    assert (progress.done, progress.failed, progress.counts.rows) == (13, 1, 13)
    (failed,) = (row for row in rows_of(tmp_path / "out") if row["status"] == "error")
    assert failed["source"] == "stuck"
    assert "gave no answer for 6 s, and again when it was alone" in failed["error"]


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (BrokenWork, FacealignError, "no such model"),
        (UnwritableWork, OutputError, "cannot write crops: the disk is full"),
    ],
)
def test_what_ends_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: type, error: type[Exception], words: str
) -> None:
    rows = rows_in(tmp_path)
    (tmp_path / RAY_FOLDER).mkdir()
    monkeypatch.chdir(tmp_path)  # where a worker goes, too
    worker = RayWorker(work, 2, str(tmp_path), rows.stop_file, None)
    table = worker(pa.table({"path": [b"a", b"b", b"c"]}))
    pq.write_table(table, tmp_path / RAY_FOLDER / "x.parquet")
    with pytest.raises(error, match=words):
        rows.collect(ended=False)
    assert not list(tmp_path.glob("part-*"))
    rows.tell_workers_to_stop()
    assert worker(pa.table({"path": [b"a"]})).num_rows == 0


def test_interrupted(tmp_path: Path, importable: None) -> None:
    stop = threading.Event()
    source = listed(tmp_path, *(f"{i}-slow" for i in range(600)))

    def watch(progress: Progress) -> None:
        if progress.done:
            stop.set()

    options: dict[str, Any] = {"make_work": FakeWork, "batch_size": 1, "shard_rows": 8}
    progress = run(source, tmp_path / "out", stop=stop, report=watch, **options)
    assert progress.stopped == "interrupt"
    assert 8 <= progress.done < 600
    rows = rows_of(tmp_path / "out")
    assert len(rows) == len({row["source"] for row in rows}) == progress.done
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["state"] == "interrupted"


def test_no_cluster_there(tmp_path: Path) -> None:
    with pytest.raises(FacealignError, match=r"Ray at 127\.0\.0\.1:1: .*refused"):
        run(listed(tmp_path, "a"), tmp_path / "out", ray_address="127.0.0.1:1", make_work=FakeWork)


def rows_in(folder: Path) -> RayRows:
    rows = RayRows(storage_for(str(folder)), str(folder))
    rows.recover()
    return rows


def test_failed_ones_leave_their_files(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    rows.put([fake_outcome(name) for name in ("a-one", "b-bad", "c-two")])
    rows.put([fake_outcome("d-none")])
    assert rows_in(tmp_path).counts.failed == 1
    again = rows_in(tmp_path)
    assert again.drop_failed() == 1
    assert again.counts == rows_in(tmp_path).counts
    assert again.counts.pictures == sum(len(keys) for keys in again.take_done_keys()) == 3
    again.put([fake_outcome("b-one")])
    assert sorted(p.name for p in tmp_path.glob("*.parquet"))[-1] == "part-ray001-000002.parquet"


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    rows_in(tmp_path).put([fake_outcome("a-one")])
    (path,) = tmp_path.glob("part-*")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(OutputError, match="damaged; remove it to have its pictures done again"):
        rows_in(tmp_path)


def test_files_that_ray_is_still_writing_are_left(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    rows.put([fake_outcome("a-one"), fake_outcome("b-two")])
    whole = next(tmp_path.glob("part-*")).read_bytes()
    (tmp_path / RAY_FOLDER).mkdir()
    file = tmp_path / RAY_FOLDER / "x.parquet"
    for part in (b"", whole[:100], whole[:-1]):
        file.write_bytes(part)
        assert rows.collect(ended=False) == []
    with pytest.raises(OutputError, match="not whole"):
        rows.collect(ended=True)
    file.write_bytes(whole)
    assert [line.n_faces for line in rows.collect(ended=False)] == [1, 2]
    file.write_bytes(whole)  # a task that Ray repeats writes the same once more
    assert rows.collect(ended=True) == []
    assert len(list(tmp_path.glob("part-*"))) == 2
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "csv"], "writes Parquet only, not csv"),
        (["--fail-fast"], "cannot stop at a picture"),
        (["--workers", "0"], "has 1 worker or more"),
        (["--ray-address", "auto"], "how many --workers"),
        (["--engine", "local", "--ray-address", "auto", "--workers", "1"], "without --engine ray"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["batch", "folder", ".", "-o", "out", "--engine", "ray", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_gpu_is_chosen_by_ray(tmp_path: Path) -> None:
    options = BatchOptions(str(tmp_path / "out"), engine="ray", workers=1)
    with pytest.raises(InputError, match="name the device cuda, not cuda:1"):
        run_batch(listed(tmp_path, "a"), options, WorkOptions(device="cuda:1"))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(main, ["batch", "folder", str(tmp_path), "-o", str(tmp_path / "o"), "--engine", "ray"])
    assert result.exit_code == 1
    assert "pip install 'facealign[ray]'" in result.stderr
