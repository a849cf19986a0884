"""Damaged clips: `video overlay` ends with rows or one line, never with a traceback, a signal, or without end.

`FUZZ_SEED=7 FUZZ_COUNT=2000 pytest tests/fuzz/test_fuzz_clips.py` tries others and more. Each input follows from its
number alone: `python tests/fuzz/test_fuzz_clips.py SEED NUMBER 1 FOLDER` runs one again and leaves it in FOLDER.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

SEED, COUNT = int(os.environ.get("FUZZ_SEED", "0")), int(os.environ.get("FUZZ_COUNT", "200"))
SECONDS, BYTES = 20, 2 << 30
KINDS: dict[str, dict[str, object]] = {
    "a.mp4": {"sound": "aac"},
    "a.mov": {"sound": "pcm_s16le"},
    "a.mkv": {"sound": "aac"},
    "a.webm": {"codec": "libvpx", "sound": "libopus"},
    "a.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "a.ts": {"sound": "aac"},
    "a.flv": {"sound": "aac"},
    "a.wmv": {"codec": "wmv2", "sound": "wmav2"},
    "a.mpg": {"codec": "mpeg2video", "sound": "mp2"},
    "a.gif": {"codec": "gif", "time_base": Fraction(1, 100), "ticks": range(0, 80, 10)},
    "a.h264": {},
    "a.ogv": {"codec": "libvpx", "sound": "libopus"},
}
OUTPUTS = (".mp4", ".mkv", ".mov", ".ts", ".webm")


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """A few accidents: bytes changed, ranges lost, doubled, emptied or moved, an end cut off."""
    for _ in range(int(rng.integers(1, 4))):
        size = max(len(data), 1)
        at, length = int(rng.integers(size)), int(rng.integers(1, 1 + min(size, 2 ** int(rng.integers(1, 13)))))
        kind = int(rng.integers(8))
        changed = bytearray(data)
        if kind <= 2:
            where = rng.integers(0, min(size, 2000) if kind == 0 else size, int(rng.integers(1, 40)))
            for i in where.tolist():
                changed[i : i + 1] = bytes([int(rng.integers(256))])
        elif kind == 3:
            changed[at : at + length] = bytes(length)
        elif kind == 4:
            changed[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"])
        elif kind == 5:
            del changed[at : at + length]
        elif kind == 6:
            changed[at:at] = changed[at : at + length]
        else:
            del changed[at:]
        data = bytes(changed)
    return data


def make_clips(folder: Path) -> list[Path]:
    """A sound clip of each kind."""
    from clips import noisy_pictures, write_clip

    return [write_clip(folder / name, noisy_pictures(8), **options) for name, options in KINDS.items()]  # type: ignore[arg-type]


def try_one(number: int, seed: int, clips: list[Path], folder: Path) -> None:
    """Raises AssertionError where the command does not end as it should."""
    from click.testing import CliRunner

    from facealign_cli.cli.main import main
    from facealign_cli.formats.base import get_format

    rng = np.random.default_rng([seed, number])
    clip = clips[number % len(clips)]
    path = folder / f"{number}{clip.suffix}"
    path.write_bytes(damage(clip.read_bytes(), rng))
    out, rows = folder / f"{number}.out{rng.choice(OUTPUTS)}", folder / f"{number}.csv"
    begin = time.process_time()
    result = CliRunner().invoke(main, ["video", "overlay", str(path), "-o", str(out), "--landmarks", str(rows)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 3), result.exit_code
    assert "Traceback" not in result.output
    assert time.process_time() - begin < SECONDS
    assert not list(folder.glob(".facealign*"))
    if result.exit_code == 1:
        assert not out.exists() and len(result.stderr.splitlines()) >= 1
        return
    records = list(get_format("csv").read(rows))
    times = [record.timestamp_s for record in records]
    assert records and [record.frame for record in records] == sorted({record.frame for record in records})
    assert all(a <= b for a, b in pairwise(times)) and times[0] >= 0, times  # CSV has microseconds at most
    assert (result.exit_code == 3) == any(record.error for record in records)
    for made in (out, rows, path):
        made.unlink()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the address space, as Linux has it")
def test_damaged_clips_end_well(tmp_path: Path) -> None:
    number, ends = 0, time.monotonic() + max(300, COUNT * 3)
    while number < COUNT and time.monotonic() < ends:
        command = [sys.executable, __file__, str(SEED), str(number), str(COUNT - number), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(300, COUNT * 3))
        tried = done.stdout.split()
        assert done.returncode == 0, f"seed {SEED}, input {tried[-1:]}: {done.returncode}\n{done.stderr[-2000:]}"
        number += len(tried)
    assert number == COUNT


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    seed, first, count, place = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    made = place / "whole"
    made.mkdir(parents=True, exist_ok=True)
    whole = make_clips(made)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    for i in range(first, first + count):
        print(i, flush=True)
        try_one(i, seed, whole, place)
