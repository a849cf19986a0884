"""`facealign batch folder` on thousands of pictures: complete? flat memory? how fast? what does kill -9 cost?

    python benchmarks/batch.py ../shared/data/300w [--pictures 5000] [--kills 10] [--work FOLDER] [--ray]
    python benchmarks/batch.py ../shared/data/300w --against CHECKOUT [--pictures 5000] [--rounds 2] [--workers 1 2]

Makes a folder from 300-W pictures: 1 % damaged in five ways, 2 % without a face, two of 50 megapixels. Then measures
and prints a Markdown table: one worker, two, a shell loop over `facealign detect image` (on a sample), two workers
killed by `kill -9` at random moments and resumed each time, the rows compared with those of the undisturbed run.
With --ray: only Ray, started here, beside local, two workers each, on the same pictures.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import outcome
import pyarrow.parquet as pq

from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.run import run_batch
from facealign_cli.batch.sources import Sources

COMMAND = [sys.executable, "-m", "facealign_cli"]
CORE = ("decode", "detect", "align")
SAMPLE = 20


def main() -> None:
    """Parse, make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--work", type=Path, help="where to put the pictures and rows [default: a temporary folder]")
    parser.add_argument("--against", type=Path, help="another checkout: the same job by both, turn about; nothing else")
    parser.add_argument("--rounds", type=int, default=2, help="of --against")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of --against")
    parser.add_argument("--ray", action="store_true", help="compare the engine ray with local, and nothing else")
    outcome.add_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        pictures = make_pictures(options.data, folder / "pictures", options.pictures)
        rows = [("pictures", f"{pictures['all']}, {pictures['damaged']} of them damaged")]
        if options.against:
            rows += measure_against(folder, options.against.resolve(), options.rounds, options.workers)
        else:
            rows += measure_ray(folder) if options.ray else measure(folder, pictures, options.kills)
    outcome.hand_over(outcome.pairs(rows), options)


def make_pictures(data: Path, folder: Path, count: int) -> dict[str, int]:
    """The folder's pictures, by hard work rather than links: each its own file. Returns how many of each kind."""
    sources = sorted(data.rglob("*.jpg"))
    if not sources:
        raise SystemExit(f"{data}: no pictures")
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, int] = defaultdict(int)
    for i in range(count):
        source = sources[i * 7919 % len(sources)]
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        kind = "large" if i in (count // 3, 2 * count // 3) else "damaged" if i % 100 == 50 else "picture"
        kind = "empty" if kind == "picture" and i % 50 == 7 else kind
        path.write_bytes(_content(kind, source, i))
        kinds[kind] += 1
    return {**kinds, "all": count}


def _content(kind: str, source: Path, number: int) -> bytes:
    data = source.read_bytes()
    if kind == "damaged":
        ways = (b"", data[: len(data) // 2], b"no picture", data[:3] + bytes(500), data[: data.rfind(b"\xff\xd9")])
        return ways[number // 100 % len(ways)]
    if kind == "picture":
        return data
    if kind == "empty":
        image = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_CUBIC)
    else:
        image = cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), (8660, 5774))
    return bytes(cv2.imencode(".jpg", image)[1])


def measure(folder: Path, pictures: dict[str, int], kills: int) -> list[tuple[str, str]]:
    """(what, measured) for the table."""
    two, memory = timed_run(folder, "two", workers=2)
    one, _ = timed_run(folder, "one", workers=1)
    loop_s = shell_loop(folder)
    whole = rows_of(folder / "two")
    counts = two.counts
    cpu_s = two.cpu_s()
    total_s = sum(cpu_s.values())
    killed, n_kills = killed_run(folder, kills, two.elapsed_s)
    complete = len({row[0] for row in whole}) == counts.pictures == pictures["all"]
    return [
        ("every picture has its rows, none twice", _yes(complete and len(whole) == len(set(whole)))),
        ("failed, all of them damaged ones", f"{counts.failed} of {pictures['damaged']}"),
        ("without a face", str(counts.no_face)),
        ("one worker", f"{one.per_second:.1f} pictures/s"),
        ("two workers", f"{two.per_second:.1f} pictures/s: {two.per_second / one.per_second:.2f} times one"),
        ("two workers give the rows of one", _yes(whole == rows_of(folder / "one"))),
        (f"shell loop over `detect image` ({SAMPLE} pictures)", f"{1 / loop_s:.2f} pictures/s"),
        ("batch over shell loop, one worker", f"{one.per_second * loop_s:.1f} times"),
        ("processor time by stage", ", ".join(f"{stage} {s / total_s:.1%}" for stage, s in cpu_s.items())),
        ("outside decode, detection and network", f"{1 - sum(cpu_s[stage] for stage in CORE) / total_s:.1%}"),
        ("one worker, processor time a picture", by_thread(one)),
        ("memory per worker: first tenth, last tenth, most", memory),
        (f"killed {n_kills} times and resumed: the same rows", _yes(killed == whole)),
    ]


def by_thread(one: Progress) -> str:
    """Milliseconds a picture of each thread in a run with one worker, and what two workers can be on two cores.

    One worker's pictures go through its main thread one after the other; what the other threads do, they do meanwhile,
    on the second core. Two workers share the two cores with all of it.
    """
    stages, worker_s = one.cpu_s(), sum(usage.cpu_s for usage in one.usage.workers.values())
    reading_s = stages["read"] + stages["decode"]
    seconds = (worker_s - reading_s, reading_s, one.own_cpu_s)
    main, reading, parent = (1e3 * s / one.done for s in seconds)
    most = 2 * main / (main + reading + parent)
    threads = f"main thread {main:.2f} ms, reading ahead {reading:.2f} ms, giving out {parent:.2f} ms"
    return f"{threads}: two workers on two cores at most {most:.2f} times"


def measure_against(folder: Path, other: Path, rounds: int, numbers: list[int]) -> list[tuple[str, str]]:
    """(what, measured) of this checkout and another one: pictures a second, and a second of processor time."""
    here = Path(__file__).resolve().parents[1]
    rates: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, checkout in (("other", other), ("this", here)):
            for workers in numbers:
                rates[name, workers].append(command_run(checkout, folder, name, workers))
    rows = []
    for workers in numbers:
        wall, cpu = (
            [this[i] / then[i] for this, then in zip(rates["this", workers], rates["other", workers], strict=True)]
            for i in (0, 1)
        )
        shown = {name: ", ".join(f"{rate[0]:.1f}" for rate in rates[name, workers]) for name in ("other", "this")}
        rows += [
            (f"{workers} worker(s), other, pictures/s", shown["other"]),
            (f"{workers} worker(s), this, pictures/s", shown["this"]),
            (f"{workers} worker(s), this over other", ", ".join(f"{ratio:.2f}" for ratio in wall)),
            (f"{workers} worker(s), this over other, by processor time", ", ".join(f"{ratio:.2f}" for ratio in cpu)),
        ]
    for workers in numbers[1:]:
        over = [
            more[0] / first[0] for more, first in zip(rates["this", workers], rates["this", numbers[0]], strict=True)
        ]
        rows.append((f"{workers} workers over {numbers[0]}, this", ", ".join(f"{ratio:.2f}" for ratio in over)))
    same = damaged_of(folder / "other") == damaged_of(folder / "this")
    return [*rows, ("the same pictures failed, or were read with a warning", _yes(same))]


def command_run(checkout: Path, folder: Path, name: str, workers: int) -> tuple[float, float]:
    """Pictures a second, and pictures a second of processor time, of the command of a checkout; its start included."""
    out = folder / name
    command = [*COMMAND, "batch", "folder", str(folder / "pictures"), "-o", str(out), "--recursive", "--restart"]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--workers", str(workers)], cwd=checkout, stderr=subprocess.PIPE, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr.decode())
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pictures = len({row["source"] for row in sources_of(out)})
    return pictures / seconds, pictures / cpu_s


def sources_of(out: Path) -> list[dict[str, str | None]]:
    """Source, status and warning of every row; version 0.1 had no warnings."""
    tables = [pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))]
    names = ("source", "status", "warning")
    return [row for table in tables for row in table.select([n for n in names if n in table.column_names]).to_pylist()]


def damaged_of(out: Path) -> set[str | None]:
    """The pictures whose rows say that they failed, or were read with a warning."""
    return {row["source"] for row in sources_of(out) if row["status"] == "error" or row.get("warning")}


def measure_ray(folder: Path) -> list[tuple[str, str]]:
    """(what, measured) of Ray beside local. An engine's start: its job of a single picture, by the same clock."""
    one = (str(next((folder / "pictures").rglob("*.jpg"))),)
    everything = (str(folder / "pictures"),)
    rows, rates = [], {}
    for engine in ("local", "ray"):
        start_s = engine_run(folder, f"{engine}-one", one, engine).elapsed_s
        whole = engine_run(folder, engine, everything, engine)
        rates[engine] = whole.per_second, (whole.done - 1) / (whole.elapsed_s - start_s)
        rows += [
            (f"{engine}, two workers, with their start", f"{rates[engine][0]:.1f} pictures/s"),
            (f"{engine}: a job of one picture", f"{start_s:.1f} s"),
            (f"{engine}, two workers, without that", f"{rates[engine][1]:.1f} pictures/s"),
        ]
    with_start, without = (ray / local for ray, local in zip(rates["ray"], rates["local"], strict=True))
    return [
        *rows,
        ("Ray over local: with start, without", f"{with_start:.0%}, {without:.0%}"),
        ("Ray gives the rows of local", _yes(rows_of(folder / "ray") == rows_of(folder / "local"))),
    ]


def engine_run(folder: Path, name: str, places: tuple[str, ...], engine: str) -> Progress:
    """A run with two workers; for Ray, on a cluster started for it."""
    job = BatchOptions(str(folder / name), workers=2, engine=engine, timeout_s=None)
    return run_batch(Sources(places, recursive=True), job)


def timed_run(folder: Path, name: str, workers: int) -> tuple[Progress, str]:
    """An undisturbed run, and its workers' memory in words."""
    series: dict[int, list[int]] = defaultdict(list)

    def watch(progress: Progress) -> None:
        for pid, usage in progress.usage.workers.items():
            series[pid].append(usage.memory_bytes >> 20)

    job = BatchOptions(str(folder / name), workers=workers)
    progress = run_batch(Sources((str(folder / "pictures"),), recursive=True), job, report=watch)
    return progress, "; ".join(_memory(values) for values in series.values())


def _memory(values: list[int]) -> str:
    tenth = max(1, len(values) // 10)
    return f"{np.median(values[:tenth]):.0f}, {np.median(values[-tenth:]):.0f}, {max(values)} MiB"


def shell_loop(folder: Path) -> float:
    """Seconds per picture of one `facealign detect image` after the other."""
    paths = sorted((folder / "pictures").rglob("*.jpg"))[8 : 8 + SAMPLE]
    begin = time.perf_counter()
    for path in paths:
        subprocess.run([*COMMAND, "detect", "image", str(path)], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) / len(paths)


def killed_run(folder: Path, kills: int, whole_s: float) -> tuple[list[tuple[object, ...]], int]:
    """The rows of a job killed again and again, and how often it was killed before it was done."""
    rng, out = random.Random(0), folder / "killed"
    command = [*COMMAND, "batch", "folder", str(folder / "pictures"), "-o", str(out), "--recursive", "--workers", "2"]
    done = 0
    for _ in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            process.wait(1 + rng.uniform(0, 2 * whole_s / (kills + 1)))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    return rows_of(out), done


def rows_of(out: Path) -> list[tuple[object, ...]]:
    """All rows but their timings, sorted."""
    rows = []
    for path in sorted(out.glob("part-*.parquet")):
        table = pq.read_table(path)
        names = [name for name in table.column_names if not name.endswith("_ms")]
        rows += [tuple(map(str, row.values())) for row in table.select(names).to_pylist()]
    return sorted(rows)


def _yes(fact: bool) -> str:
    return "yes" if fact else "NO"


if __name__ == "__main__":
    main()
