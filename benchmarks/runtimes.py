"""A landmark graph in other runtimes: does it run, how far off are its landmarks, how long does a face take?

    pip install openvino MNN tract ncnn pnnx
    python examples/web/prepare.py && pip install playwright      # for the browser; it takes the machine's Chromium
    python benchmarks/runtimes.py [--model NAME|FILE] [--rounds 15] [-o FILE.md]

The landmarks are compared with those of ONNX Runtime on the CPU, on 32 crops of one face, its box moved, scaled and
turned; distances are crop pixels (a face is 80 high). Every runtime has one thread, and the rounds are interleaved.
Milliseconds are the processor's time, in the browser the clock's, of the fastest round, since whatever else the machine
does only adds to them; they stand beside their ratio to ONNX Runtime's. A runtime that is not installed, or does not
take the graph, says so in its row.
"""

from __future__ import annotations

import argparse
import base64
import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import outcome

from facealign_cli.models.check import face_of, perturbed_crops
from facealign_cli.models.registry import load_model, model_file

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "examples" / "web"
SETTINGS = WEB / "vendor" / "settings.json"
BATCHES = (1, 8)
CROPS = 32

Predict = Callable[[np.ndarray], tuple[np.ndarray, float]]
"""From (N, 1, S, S) uint8 crops to (N, 68, 2) landmarks, and the seconds that it took."""


class NotToBeHadError(Exception):
    """Why a runtime cannot be tried, or does not take the graph."""


@dataclass(frozen=True)
class Place:
    """Where a loader works. folder: for files of its own. until_the_end: closes what it opened."""

    folder: Path
    until_the_end: ExitStack


def timed(predict: Callable[[np.ndarray], Any]) -> Predict:
    """With the seconds of the processor that a call takes: those of the process, since others may be at work, too."""

    def run(crops: np.ndarray) -> tuple[np.ndarray, float]:
        begin = time.process_time()
        landmarks = predict(crops)
        seconds = time.process_time() - begin
        return np.array(landmarks, np.float32).reshape(-1, 68, 2), seconds

    return run


def onnx_runtime(graph: Path, batch: int, _place: Place) -> Predict:
    """The package's own way."""
    model = load_model(graph, device="cpu", batch_size=batch)
    return timed(lambda crops: model.predict(crops).landmarks)


def openvino(graph: Path, _batch: int, _place: Place) -> Predict:
    """It reads ONNX itself."""
    module = needs("openvino")
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = module.Core().compile_model(str(graph), "CPU", options)
    return timed(lambda crops: compiled({"crop": crops})["landmarks"])


def mnn(graph: Path, _batch: int, place: Place) -> Predict:
    """Alibaba's runtime for telephones; its own converter takes ONNX."""
    needs("MNN")
    expr, nn = (importlib.import_module(f"MNN.{name}") for name in ("expr", "nn"))
    target = place.folder / "graph.mnn"
    arguments = ["-f", "ONNX", "--modelFile", str(graph), "--MNNModel", str(target), "--bizCode", "facealign"]
    converted([sys.executable, "-m", "MNN.tools.mnnconvert", *arguments], target, place)
    net = nn.load_module_from_file(str(target), ["crop"], ["landmarks"])

    def predict(crops: np.ndarray) -> Any:
        crops = crops.copy()  # MNN reads a view's memory from its beginning
        return net.forward([expr.const(crops, list(crops.shape), expr.NCHW, expr.uint8)])[0].read().copy()

    return timed(predict)


def tract(graph: Path, batch: int, _place: Place) -> Predict:
    """A runtime in Rust, small enough to be linked into a program; with one batch size only."""
    module = needs("tract")
    loaded = module.onnx().load(str(graph))
    size = load_model(graph, device="cpu").metadata.crop_size
    loaded.set_input_fact(0, f"{batch},1,{size},{size},u8")
    runnable = loaded.into_model().into_runnable()
    return timed(lambda crops: runnable.run([np.ascontiguousarray(crops)])[0].to_numpy())


def ncnn(graph: Path, batch: int, place: Place) -> Predict:
    """Tencent's runtime for telephones, by way of pnnx; until now it lacks layers for our graphs."""
    module, pnnx = needs("ncnn"), shutil.which("pnnx", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if pnnx is None:
        raise NotToBeHadError("not installed: pip install pnnx")
    copy, target = place.folder / "graph.onnx", place.folder / "graph.ncnn.param"
    shutil.copyfile(graph, copy)
    size = load_model(graph, device="cpu").metadata.crop_size
    converted([pnnx, str(copy), f"inputshape=[{batch},1,{size},{size}]u8"], target, place)
    layers = {line.split()[0] for line in target.read_text().splitlines()[2:]}
    lacking = sorted(layer for layer in layers if module.layer_to_index(layer) < 0)
    raise NotToBeHadError(
        f"it has no {', '.join(lacking)}" if lacking else "it has all layers by now: this benchmark needs its code"
    )


def web(graph: Path, _batch: int, place: Place) -> Predict:
    """onnxruntime-web in headless Chromium, from the folder of examples/web."""
    browser, url = chromium(place.until_the_end)
    page = browser.new_page()
    page.goto(url + "vendor/settings.json")
    page.evaluate(_LOAD, base64.b64encode(graph.read_bytes()).decode())

    def predict(crops: np.ndarray) -> tuple[np.ndarray, float]:
        data = base64.b64encode(crops.tobytes()).decode()
        milliseconds, landmarks = page.evaluate(_RUN, [data, list(crops.shape)])
        return np.array(landmarks, np.float32).reshape(-1, 68, 2), milliseconds / 1000

    return predict


@functools.cache
def chromium(until_the_end: ExitStack) -> tuple[Any, str]:
    """A browser, and the address of the page of examples/web. Raises NotToBeHadError."""
    sync_api = needs("playwright.sync_api", "playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or not SETTINGS.is_file():
        raise NotToBeHadError("needs Chromium and python examples/web/prepare.py")
    command = [sys.executable, str(WEB / "serve.py"), "--port", "0"]
    server = until_the_end.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    until_the_end.callback(server.terminate)
    url = next(iter(server.stdout or ()), "").strip()
    if not url:
        raise NotToBeHadError("examples/web/serve.py ended before it said its address")
    started = until_the_end.enter_context(sync_api.sync_playwright())
    browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
    until_the_end.callback(browser.close)
    return browser, url


_LOAD = """async (graph) => {
    const ort = window.ort = await import('/vendor/ort.wasm.bundle.min.mjs');
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { wasm: '/vendor/ort-wasm-simd-threaded.wasm' };
    window.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    window.session = await ort.InferenceSession.create(bytes(graph), { executionProviders: ['wasm'] });
}"""
_RUN = """async ([crops, dims]) => {
    const feeds = { crop: new ort.Tensor('uint8', bytes(crops), dims) };
    const begin = performance.now();
    const { landmarks } = await session.run(feeds, ['landmarks']);
    return [performance.now() - begin, [...landmarks.data]];
}"""


def needs(module: str, package: str | None = None) -> Any:
    """The module. Raises NotToBeHadError."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotToBeHadError(f"not installed: pip install {package or module}") from None


def converted(command: list[str], target: Path, place: Place) -> None:
    """Run a converter. Raises NotToBeHadError with the end of what it says if its file does not come about."""
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False, timeout=300)
    if not target.is_file():
        raise NotToBeHadError(f"its converter fails: {(done.stderr or done.stdout).strip()[-200:]}")


@dataclass(eq=False)
class Row:
    """A runtime with a graph. seconds: by the number of faces at a time, a value a round. why: it is not there."""

    name: str
    graph: Path
    load: Callable[[Path, int, Place], Predict]
    package: str
    predicts: dict[int, Predict] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    distance: np.ndarray | None = None
    why: str = ""

    def prepare(self, place: Path, until_the_end: ExitStack, crops: np.ndarray, expected: np.ndarray) -> None:
        """Load the graph for each batch size, and compare its landmarks; in `why` if that fails."""
        try:
            for batch in BATCHES:
                folder = place / f"{self.name}-{self.graph.stem}-{batch}".replace(" ", "-")
                folder.mkdir()
                predict = self.predicts[batch] = self.load(self.graph, batch, Place(folder, until_the_end))
                found = [predict(crops[i : i + batch])[0] for i in range(0, len(crops), batch)]
                self.distance = np.linalg.norm(np.concatenate(found) - expected, axis=2)
                self.seconds[batch] = []
        except NotToBeHadError as error:
            self.why = str(error)
        except Exception as error:  # noqa: BLE001 - whatever another runtime throws belongs into its row
            self.why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]:.160}"

    def text(self, reference: Row) -> str:
        """A line of the table."""
        version = version_of(self.package)
        if self.why or self.distance is None:
            return f"| {self.name} | {version} | {self.graph.stem} | {self.why} | | |"
        off = f"{self.distance.max():.4f} ({self.distance.mean():.4f})"
        fastest = {batch: min(self.seconds[batch]) for batch in BATCHES}
        cells = [f"{1000 * s / n:.2f} ({s / min(reference.seconds[n]):.2f})" for n, s in fastest.items()]
        return f"| {self.name} | {version} | {self.graph.stem} | {off} | {' | '.join(cells)} |"


def version_of(package: str) -> str:
    """Of an installed package, or of the one that the page has."""
    if package == "onnxruntime-web":
        return json.loads(SETTINGS.read_text())["runtime"].rpartition("@")[2] if SETTINGS.is_file() else "–"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "–"


def rows_of(graph: Path, int8: Path | None) -> list[Row]:
    """What is tried; the first one is what the others are compared with."""
    rows = [Row("ONNX Runtime, CPU", graph, onnx_runtime, "onnxruntime")]
    if int8 is not None:
        rows.append(Row("ONNX Runtime, CPU", int8, onnx_runtime, "onnxruntime"))
    rows.append(Row("onnxruntime-web", graph, web, "onnxruntime-web"))
    if int8 is not None:
        rows.append(Row("onnxruntime-web", int8, web, "onnxruntime-web"))
        rows.append(Row("OpenVINO", int8, openvino, "openvino"))
    others = [
        ("OpenVINO", openvino, "openvino"),
        ("MNN", mnn, "MNN"),
        ("tract", tract, "tract"),
        ("ncnn", ncnn, "ncnn"),
    ]
    return rows + [Row(name, graph, load, package) for name, load, package in others]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dan-light")
    parser.add_argument("--int8", default="dan-light-int8", help="its int8 variant; '' leaves it out")
    parser.add_argument("--rounds", type=int, default=15)
    outcome.add_options(parser)
    args = parser.parse_args()
    graph = model_file(args.model)
    picture, box = face_of(ROOT / "docs" / "astronaut.jpg")
    crops = perturbed_crops(load_model(graph, device="cpu").frame, picture, box, CROPS)
    expected = load_model(graph, device="cpu").predict(crops).landmarks
    rows = rows_of(graph, model_file(args.int8) if args.int8 else None)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as until_the_end:
        for row in rows:
            row.prepare(Path(folder), until_the_end, crops, expected)
        for _ in range(args.rounds):
            for row in rows:
                for batch in row.seconds:
                    row.seconds[batch].append(row.predicts[batch](crops[:batch])[1])
    heads = [f"ms a face, {batch} at a time (ratio)" for batch in BATCHES]
    lines = [
        f"| runtime | version | graph | px at most (mean) | {' | '.join(heads)} |",
        "| --- " * 4 + "| ---: " * 2 + "|",
    ]
    text = "\n".join([*lines, *(row.text(rows[0]) for row in rows)]) + "\n"
    outcome.hand_over(text, args)


if __name__ == "__main__":
    main()
