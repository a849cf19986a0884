"""From a checkpoint to the single ONNX graph: metadata written, compared with torch, then shipped."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facealign_cli.arrays import Image
from facealign_cli.errors import MissingDependency, ModelError
from facealign_cli.files.output import atomic_path
from facealign_cli.landmarks import MEAN_SHAPE, SCHEME
from facealign_cli.models.dan import METADATA_FORMAT, METADATA_FORMAT_SIGMA, METADATA_KEY, DanModel, GraphMetadata
from facealign_cli.training.folded import folded
from facealign_cli.training.network import Dan

OPSET = 18
TOLERANCE_PX = 0.01
"""The most that a landmark may differ between torch and ONNX Runtime, in crop pixels."""
CONFIDENCE_TOLERANCE = 1e-4
_DENORMAL = 1e-30


@dataclass(frozen=True)
class ExportReport:
    """path, and the largest differences found between torch and ONNX Runtime over the batch sizes compared.

    sigma_px: 0 where the model has none.
    """

    path: Path
    landmarks_px: float
    stage1_landmarks_px: float
    confidence: float
    sigma_px: float


class _Graph(nn.Module):
    """The contract's inputs and outputs around a Dan, or another module that gives a `DanOutput`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """(N, 1, S, S) uint8 → landmarks, stage1_landmarks, confidence and, where the model has it, sigma."""
        output = self.model(crop.float())
        sigma = () if output.sigma is None else (output.sigma,)
        return output.landmarks[-1], output.landmarks[0], torch.sigmoid(output.logit), *sigma


def export_model(
    model: Dan,
    path: Path,
    *,
    name: str,
    version: str,
    training_data: str = "",
    licence: str = "",
    figures: dict[str, float] | None = None,
    crops: Image | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write the graph, and only if ONNX Runtime agrees with torch through `DanModel`.

    crops: (M, 1, S, S) uint8 to compare on; noise where none are given. Raises ModelError above the tolerance.
    """
    metadata = GraphMetadata(
        name,
        version,
        SCHEME,
        len(model.stages),
        model.config.crop_size,
        model.config.crop_share,
        MEAN_SHAPE.tolist(),
        training_data,
        licence,
        figures or {},
        METADATA_FORMAT_SIGMA if model.config.stages[-1].sigma else METADATA_FORMAT,
    )
    return export_graph(model, path, metadata, crops=crops, overwrite=overwrite)


def export_graph(
    model: nn.Module,
    path: Path,
    metadata: GraphMetadata,
    *,
    crops: Image | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write any module that takes (N, 1, S, S) float crops and gives a `DanOutput`, compared as in `export_model`."""
    with atomic_path(path, overwrite) as temporary:
        write_graph(model, temporary, metadata)
        differences = compare(model, DanModel(temporary, device="cpu"), crops)
        allowed = (TOLERANCE_PX, TOLERANCE_PX, CONFIDENCE_TOLERANCE, TOLERANCE_PX)
        if not all(found <= most for found, most in zip(differences, allowed, strict=True)):  # NaN is refused too
            raise ModelError(
                f"the exported graph differs from torch by {differences[0]:.4f} px (stage 1: {differences[1]:.4f} px, "
                f"confidence: {differences[2]:.1e}, sigma: {differences[3]:.4f} px); allowed are {TOLERANCE_PX} px and "
                f"{CONFIDENCE_TOLERANCE}"
            )
    return ExportReport(Path(path), *differences)


def write_graph(model: nn.Module, path: Path, metadata: GraphMetadata) -> None:
    """Trace and write, without comparing. Weights too small for normal float32 become zero: they slow CPUs down."""
    onnx = _onnx()
    model = model.eval().cpu().float()
    size = metadata.crop_size
    dummy = torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor; see DESIGN.md
        torch.onnx.export(
            _Graph(folded(model)),
            (dummy,),
            str(path),
            input_names=["crop"],
            output_names=list(metadata.outputs),
            opset_version=OPSET,
            dynamic_axes={name: {0: "N"} for name in ("crop", *metadata.outputs)},
            dynamo=False,
        )
    graph = onnx.load(str(path))
    _flush_denormals(onnx, graph)
    _keep_batch(onnx, graph)
    entry = graph.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, metadata.to_json()
    graph.doc_string = f"facealign {metadata.name} {metadata.version}"
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _flush_denormals(onnx: Any, graph: Any) -> None:
    """Zero the weights too small for normal arithmetic, also those that folding batch norm has made."""
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            flushed = np.where(np.abs(values) < _DENORMAL, np.float32(0), values)
            tensor.CopyFrom(onnx.numpy_helper.from_array(flushed, tensor.name))


def _keep_batch(onnx: Any, graph: Any) -> None:
    """Reshapes that leave the batch dimension alone say so (0, as it came in) instead of having it worked out (-1).

    ONNX Runtime then knows that two tensors have the same shape, and adds the one up with the other's convolution.
    """
    shapes = {tensor.name: tensor for tensor in graph.graph.initializer}
    shapes |= {n.output[0]: n.attribute[0].t for n in graph.graph.node if n.op_type == "Constant"}
    known = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    dims = {value.name: value.type.tensor_type.shape.dim for value in (*known.value_info, *known.input)}
    for node in graph.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in shapes or node.input[0] not in dims:
            continue
        shape = onnx.numpy_helper.to_array(shapes[node.input[1]])
        rest = [dim.dim_value for dim in dims[node.input[0]][1:]]
        if shape[0] == -1 and all(rest) and np.prod(rest) == np.prod(shape[1:]):
            kept = np.concatenate([[0], shape[1:]]).astype(np.int64)
            shapes[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(kept, shapes[node.input[1]].name))


@torch.no_grad()
def compare(model: nn.Module, exported: DanModel, crops: Image | None = None) -> tuple[float, float, float, float]:
    """Largest difference of landmarks (px), stage 1 landmarks (px), confidence and sigma, in batches of 1, 5 and all.

    That of sigma is in px, or where sigma is above 1 px, its share.
    """
    size = exported.metadata.crop_size
    if crops is None:
        crops = np.random.default_rng(0).integers(0, 256, (8, 1, size, size), np.uint8)
    graph, worst = _Graph(model.eval()), np.zeros(4)
    for count in (1, 5, len(crops)):
        part = crops[:count]
        expected = [value.numpy() for value in graph(torch.from_numpy(part))]
        got = exported.predict(part)
        given = (got.landmarks, got.stage1_landmarks, got.confidence)
        found = [float(np.abs(a - b).max()) for a, b in zip(expected[:3], given, strict=True)]
        if len(expected) > 3:  # a radius is an exponential: its rounding grows with it
            found.append(float((np.abs(expected[3] - got.sigma) / np.maximum(got.sigma, 1)).max()))
        worst = np.maximum(worst, [*found, 0.0][:4])
    return float(worst[0]), float(worst[1]), float(worst[2]), float(worst[3])


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("exporting", "onnx", "train") from error
    module: ModuleType = onnx
    return module
