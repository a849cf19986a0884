"""Smaller and faster variants of an exported graph: static int8 (QDQ), and float16 storage of the weights.

What becomes int8: convolutions with enough input channels, the ReLUs, residual additions and pools between them, large
dense layers, and stacks of small ones. What a dense layer gives is float again: pixels do not fit into 256 steps.
Connection layers, small layers and convolutions of few channels stay in float: int8 kernels are slower there. Weights
have 7 bits and, but for stacks of matrices, a scale for each output channel; activations are unsigned 8 bits over the
range that training crops show. float16 storage keeps the arithmetic in float32: ONNX Runtime casts the weights once,
when it loads the graph.

A variant is compared with its origin, through `DanModel`, on held-out faces, and refused where it is worse than stated.
"""

from __future__ import annotations

import fnmatch
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facealign_cli.arrays import Image
from facealign_cli.errors import InputError, MissingDependency, ModelError
from facealign_cli.files.output import atomic_path, check_output
from facealign_cli.models.dan import METADATA_KEY, DanModel, GraphMetadata
from facealign_cli.runtime import import_quantization
from facealign_cli.training.figures import named_figures, stage_errors
from facealign_cli.training.pack import Pack, crops_in_frame

TOLERANCE = {"int8": 0.1, "float16": 0.01}
"""By how many percentage points the held-out inter-pupil NME of any stage may rise."""
MIN_CHANNELS = 4
"""Convolutions with fewer input channels stay in float: measured, an int8 stem of one channel takes four times a float
one's time, one of four channels half of it."""
MIN_DENSE_WEIGHTS = 2**16
"""Dense layers with fewer weights stay in float: making their input int8 takes the time that is won."""
MIN_DENSE_INPUTS = 64
"""Products that add up fewer numbers stay in float: they are no layers, but points times a matrix, as in the warp."""
FLOAT_NODES = ("*/sigma/*",)
"""Patterns of node names that stay in float: ONNX Runtime would make this layer's weights float again in every run."""
MIN_FLOAT16_WEIGHTS = 1024
_DENSE = ("Gemm", "MatMul")
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class VariantReport:
    """A variant beside its origin, on the held-out faces.

    origin, name: the two models'. layers: convolutions and dense layers quantised, or tensors stored as float16.
    before, after: mean inter-pupil NME, fractions, after stage 1 and after the last stage. moved_px, moved_most_px:
    mean and largest distance between the two's landmarks, crop pixels. confidence: the largest difference.
    figures: `after` as `train export` states it.
    """

    path: Path
    origin: str
    name: str
    layers: int
    faces: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    moved_px: float
    moved_most_px: float
    confidence: float
    bytes_before: int
    bytes_after: int
    figures: dict[str, float]


def quantize_int8(
    path: Path,
    output: Path,
    pack: Pack,
    *,
    crops: int = 64,
    keep_float: Sequence[str] = (),
    tolerance: float | None = None,
    overwrite: bool = False,
) -> VariantReport:
    """Write the int8 variant of a graph.

    pack: its finely labelled training faces calibrate (`crops` of them, evenly taken), its held-out faces compare.
    keep_float: patterns (`fnmatch`) of node names that stay in float besides the usual ones. tolerance: percentage
    points, by default `TOLERANCE`. Raises InputError for a pack without such faces or a pattern that matches nothing,
    ModelError for another kind of file, a graph with nothing to quantise, or one that came out worse.
    """
    calibration = _calibration_crops(pack, DanModel(path, device="cpu"), crops)

    def convert(prepared: Path, written: Path) -> int:
        return _write_int8(prepared, written, calibration, keep_float)

    return _variant(path, output, pack, "int8", convert, tolerance, overwrite)


def store_float16(
    path: Path, output: Path, pack: Pack, *, tolerance: float | None = None, overwrite: bool = False
) -> VariantReport:
    """Write the variant whose large weights are stored as float16. Arguments and errors: as `quantize_int8`."""
    return _variant(path, output, pack, "float16", _write_float16, tolerance, overwrite)


def _variant(  # noqa: PLR0917 - one caller a kind
    path: Path,
    output: Path,
    pack: Pack,
    kind: str,
    convert: Callable[[Path, Path], int],
    tolerance: float | None,
    overwrite: bool,
) -> VariantReport:
    check_output(output, overwrite)
    origin, held_out = DanModel(path, device="cpu"), pack.select(pack.held_out & pack.labelled)
    if not len(held_out):
        raise InputError(
            "the pack has no held-out faces with labels to compare on: give one that `train pack` wrote of them"
        )
    with atomic_path(output, overwrite) as temporary:
        layers = convert(path, temporary)
        _describe(temporary, replace(origin.metadata, name=f"{origin.metadata.name}-{kind}", figures={}))
        report = _compare(origin, DanModel(temporary, device="cpu"), held_out, output, layers)
        _refuse_worse(report, TOLERANCE[kind] if tolerance is None else tolerance)
        _describe(temporary, replace(origin.metadata, name=report.name, figures=report.figures))
    return replace(report, bytes_after=Path(output).stat().st_size)


def _compare(origin: DanModel, variant: DanModel, held_out: Pack, output: Path, layers: int) -> VariantReport:
    crops, truth = crops_in_frame(held_out, origin.frame)
    a, b = origin.predict(crops), variant.predict(crops)
    before, after = (stage_errors((p.stage1_landmarks, p.landmarks), truth) for p in (a, b))
    moved = np.linalg.norm(a.landmarks - b.landmarks, axis=2)
    return VariantReport(
        path=Path(output),
        origin=origin.metadata.name,
        name=variant.metadata.name,
        layers=layers,
        faces=len(crops),
        before=before,
        after=after,
        moved_px=float(moved.mean()),
        moved_most_px=float(moved.max()),
        confidence=float(np.abs(a.confidence - b.confidence).max()),
        bytes_before=origin.path.stat().st_size,
        bytes_after=variant.path.stat().st_size,
        figures=named_figures({1: after[0], origin.metadata.stages: after[1]}),
    )


def _refuse_worse(report: VariantReport, tolerance: float) -> None:
    worst = 100 * max(b - a for a, b in zip(report.before, report.after, strict=True))
    if worst > tolerance:
        raise ModelError(
            f"{report.name} is worse by {worst:.3f} percentage points of inter-pupil NME on {report.faces} held-out "
            f"faces; allowed are {tolerance:g}: keep more layers in float, or calibrate on more crops"
        )


def _calibration_crops(pack: Pack, model: DanModel, count: int) -> Image:
    usable = np.flatnonzero(~pack.held_out & ~pack.rough & pack.labelled)
    if not len(usable):
        raise InputError("the pack has no finely labelled training faces to calibrate on")
    mask = np.zeros(len(pack), bool)
    mask[usable[np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(int)]] = True
    return crops_in_frame(pack.select(mask), model.frame)[0]


def _write_int8(path: Path, written: Path, calibration: Image, keep_float: Sequence[str]) -> int:
    onnx, quantization = _packages()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quantization.shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        nodes = nodes_to_quantize(model, keep_float)
        layers = [node for node in nodes if node.op_type in ("Conv", *_DENSE)]
        if not layers:
            raise ModelError(f"{path}: no layer that can be quantised")
        quantization.quantize_static(
            str(prepared),
            str(written),
            _Reader(calibration.astype(onnx.helper.tensor_dtype_to_np_dtype(_input_type(model)))),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # 7 bits: on CPUs without VNNI, sums of 8-bit products saturate, and landmarks move
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_quantize=[node.name for node in nodes],
            extra_options={
                "OpTypesToExcludeOutputQuantization": list(_DENSE),
                "TensorQuantOverrides": _one_scale_for_stacks(model, layers, quantization.QuantType.QInt8),
            },
        )
    return len(layers)


def _input_type(model: Any) -> int:
    """The type of the graph's one input, as ONNX counts them: crops are uint8 or float32."""
    result: int = model.graph.input[0].type.tensor_type.elem_type
    return result


def nodes_to_quantize(model: Any, keep_float: Sequence[str] = ()) -> list[Any]:
    """The nodes of a prepared ONNX graph that become int8; see the module's docstring for which and why.

    Raises InputError for a pattern of `keep_float` that no node's name matches.
    """
    names = [node.name for node in model.graph.node]
    for pattern in keep_float:
        if not fnmatch.filter(names, pattern):
            raise InputError(f"--keep-float {pattern}: no such node")
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    chosen, tensors = [], set[str]()
    for node in model.graph.node:  # in the order of computation
        kept = any(fnmatch.fnmatchcase(node.name, pattern) for pattern in (*FLOAT_NODES, *keep_float))
        if not kept and (_is_layer(node, weights) or _passes_on(node, tensors)):
            chosen.append(node)
            tensors.update(node.output if node.op_type not in _DENSE else ())
    return chosen


def _is_layer(node: Any, weights: dict[str, tuple[int, ...]]) -> bool:
    shape = weights.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type == "Conv":
        return len(shape) == 4 and shape[1] >= MIN_CHANNELS
    if node.op_type not in _DENSE or len(shape) < 2 or int(np.prod(shape)) < MIN_DENSE_WEIGHTS:
        return False
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return shape[-1 if transposed else -2] >= MIN_DENSE_INPUTS


def _one_scale_for_stacks(model: Any, layers: Sequence[Any], int8: Any) -> dict[str, list[dict[str, Any]]]:
    """For the quantiser: stacks of matrices (the local head's 68) have one scale; ONNX Runtime takes no more."""
    stacks = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 3}
    override = [{"quant_type": int8, "reduce_range": True}]
    return {node.input[1]: override for node in layers if node.op_type == "MatMul" and node.input[1] in stacks}


def _passes_on(node: Any, tensors: set[str]) -> bool:
    """Between int8 layers: everything that comes in is int8 already."""
    return node.op_type in ("Relu", "Add", "MaxPool") and all(name in tensors for name in node.input)


class _Reader:
    """One (1, S, S) crop at a time, as the calibrator asks for them; what has `get_next` is a CalibrationDataReader."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops: Iterator[np.ndarray] = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the graph; None after the last."""
        crop = next(self.crops, None)
        return None if crop is None else {"crop": crop[None]}


def _write_float16(path: Path, written: Path) -> int:
    onnx = _packages()[0]
    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_FLOAT16_WEIGHTS or np.abs(values).max() > _FLOAT16_MAX:
            continue
        stored = f"{tensor.name}:float16"
        casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], stored, to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
    if not casts:
        raise ModelError(f"{path}: no weights large enough to store as float16")
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(written))
    return len(casts)


def _describe(path: Path, metadata: GraphMetadata) -> None:
    """Set the graph's metadata, drop domains that no node uses, and check that only standard operators are left."""
    onnx = _packages()[0]
    model = onnx.load(str(path))
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if foreign:
        raise ModelError(f"{metadata.name}: operators of {', '.join(sorted(foreign))}, which not every runtime has")
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    model.doc_string = f"facealign {metadata.name} {metadata.version}"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


class _quiet:
    """The quantiser announces on the root logger what it would like; nothing of it concerns the user."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)


def _packages() -> tuple[Any, Any]:
    try:
        import onnx

        quantization = import_quantization()
    except ImportError as error:
        raise MissingDependency("quantising", error.name or "onnx", "train") from error
    return onnx, quantization
