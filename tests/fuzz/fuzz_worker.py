"""Damages good files at random and has them read: run as a program, so that what kills it kills no test.

    python tests/fuzz/fuzz_worker.py KIND SEED COUNT

Prints one JSON document: the failures (a traceback; more than 20 s of processor time) with the number of the input that
makes each again, and the most memory that the process took. Before each input its number goes to stderr, so that the
last one is known after a crash.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from damage import damaged, damaged_json

CPU_LIMIT_S, MAX_BYTES = 20.0, 2 << 30

Reader = Callable[[Path], object]


def run(kind: str, seed: int, count: int, only: int | None = None) -> dict[str, object]:
    """Read `count` damaged inputs of a kind. Raises KeyError for a kind that nobody knows."""
    from facealign_cli.errors import FacealignError

    failures, before = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        kinds = importlib.import_module(f"kinds_{_ROOMS[kind]}").KINDS
        bases, read = kinds[kind](folder)
        for number in range(count) if only is None else [only]:
            rng = np.random.default_rng([seed, number])
            name, data = bases[int(rng.integers(len(bases)))]
            data = damaged_json(data, rng) if name.endswith(".json") and rng.random() < 0.6 else damaged(data, rng)
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
            sys.stderr.write(f"{number}\n")
            begin = time.process_time()
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    read(file)
            except FacealignError as error:
                if not str(error).strip() or len(str(error)) > 4000:
                    failures.append({"input": number, "what": f"an error of {len(str(error))} characters"})
            except BaseException:  # noqa: BLE001 - that is what is looked for
                failures.append({"input": number, "file": name, "what": traceback.format_exc(limit=-4)[-1500:]})
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if held > MAX_BYTES > before:
                failures.append({"input": number, "file": name, "what": f"{held >> 20} MiB"})
            before = held
            used = time.process_time() - begin
            if used > CPU_LIMIT_S:
                failures.append({"input": number, "file": name, "what": f"{used:.0f} s of processor time"})
    memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"failures": failures, "bytes": memory * 1024}


_ROOMS = {
    "pictures": "pictures",
    "boxes": "texts",
    "predictions": "texts",
    "evaluations": "texts",
    "records": "texts",
    "labels": "texts",
    "pts": "texts",
    "xml": "texts",
    "lists": "texts",
    "jobs": "batch",
    "models": "models",
    "registries": "models",
    "npz": "models",
    "checkpoints": "training",
    "packs": "training",
    "lasagne": "training",
}
KINDS = tuple(_ROOMS)


if __name__ == "__main__":
    kind, seed, count, *only = sys.argv[1:]
    print(json.dumps(run(kind, int(seed), int(count), int(only[0]) if only else None)))
