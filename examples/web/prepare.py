"""Copies what the page needs into its folder `vendor`, which Git ignores: run it once, then `python serve.py`.

    python examples/web/prepare.py [--model NAME|FILE]

- onnxruntime-web, one version, fetched by npm and checked by its SHA-256;
- the landmark model's graph as it is, and the detector's with its fixed image size made free;
- settings.json: every number that detection and cropping need, from the Python code, so that none is written twice.

It uses more of facealign than its public names, and so belongs to the version beside which it lies.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import facealign_cli
from facealign_cli.aligner import MIN_CONFIDENCE
from facealign_cli.detectors import DetectorOptions, yunet
from facealign_cli.landmarks import CONTOURS, MEAN_SHAPE, SCHEME
from facealign_cli.models.dan import DanModel
from facealign_cli.models.registry import load_model
from facealign_cli.onnx_sizes import free_image_size
from facealign_cli.placing import HARDLY, LOOK_AGAIN, TURNS
from facealign_cli.records import DOUBTFUL

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parents[1] / "docs" / "astronaut.jpg"
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
MODEL_FILE = "landmarks.onnx"


def main() -> None:
    """Fill the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="NAME|FILE", help="a shipped model or an .onnx file of facealign's")
    model = load_model(parser.parse_args().model, device="cpu")
    vendor = HERE / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    vendor.mkdir()
    fetch_runtime(vendor)
    shutil.copyfile(model.path, vendor / MODEL_FILE)
    (vendor / "detector.onnx").write_bytes(free_image_size(yunet.weights_file().read_bytes()))
    (vendor / "settings.json").write_text(json.dumps(settings(model)), encoding="utf-8")
    shutil.copyfile(SAMPLE, vendor / "sample.jpg")
    print(f"{vendor}: {RUNTIME}, {model.name}, yunet; now: python {HERE / 'serve.py'}")


def fetch_runtime(vendor: Path) -> None:
    """Take two files out of the package that npm fetches; nothing is installed and no script of a package runs."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is missing: install Node.js, which brings it along")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", RUNTIME]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"npm could not fetch {RUNTIME}: {done.stderr.strip() or 'it does not say why'}")
        package = Path(folder) / done.stdout.split()[-1]
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != RUNTIME_SHA256:
            sys.exit(f"{RUNTIME} is not the package this page was tested with: its SHA-256 is {found}")
        with tarfile.open(package) as archive:
            for name in RUNTIME_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    sys.exit(f"{RUNTIME} has a folder or a link where the file {name} was expected")
                (vendor / name).write_bytes(member.read())


def settings(model: DanModel) -> dict[str, Any]:
    """What the JavaScript must know of the model, the detector and the scheme."""
    metadata, edges = model.metadata, yunet.YunetDetector.calibration
    return {
        "version": facealign_cli.__version__,
        "scheme": SCHEME,
        "runtime": RUNTIME,
        "model": model.name,
        "model_file": MODEL_FILE,
        "crop_size": metadata.crop_size,
        "crop_share": metadata.crop_share,
        "mean_shape": metadata.mean_shape,
        "init_shape": MEAN_SHAPE.tolist(),
        "min_confidence": MIN_CONFIDENCE,
        "doubtful": DOUBTFUL,
        "look_again": LOOK_AGAIN,
        "hardly": HARDLY,
        "turns": TURNS,
        "contours": [{"points": points, "closed": closed} for points, closed in CONTOURS],
        "detector": {
            "name": yunet.YunetDetector.name,
            "calibration": {side: getattr(edges, side) for side in ("left", "top", "right", "bottom")},
            "min_face": DetectorOptions().min_face,
            "score": yunet.SCORE,
            "nms_overlap": yunet.NMS_OVERLAP,
            "agrees": yunet.AGREES,
            "strides": yunet.STRIDES,
            "smallest": yunet.SMALLEST,
            "largest": yunet.LARGEST,
            "next_look": yunet.NEXT_LOOK,
            "too_small": yunet.TOO_SMALL,
            "tile": yunet.TILE,
            "overlap": yunet.OVERLAP,
            "five_points": yunet.MEAN_POINTS.tolist(),
        },
    }


if __name__ == "__main__":
    main()
