"""The graph that the tests of models run: it keeps the contract, and its landmarks are the crop times a matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facealign_cli.landmarks import MEAN_SHAPE

SIZE = 12
METADATA: dict[str, Any] = {
    "name": "linear",
    "version": "7",
    "scheme": "ibug-68",
    "stages": 2,
    "crop_size": SIZE,
    "crop_share": 0.5,
    "mean_shape": MEAN_SHAPE.tolist(),
}
WEIGHT = np.random.default_rng(0).normal(0, 0.01, (SIZE * SIZE, 136)).astype(np.float32)
Build = Callable[..., Path]


def graph(
    side: int = SIZE,
    dtype: int = TensorProto.UINT8,
    crop: str = "crop",
    outputs: dict[str, list[Any]] | None = None,
    batch: Any = "N",
) -> onnx.ModelProto:
    """landmarks = the crop times a matrix, stage1_landmarks half of that, confidence a sigmoid of the crop's mean."""
    weight = np.resize(WEIGHT, (side * side, 136))
    nodes = [
        helper.make_node("Cast", [crop], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["grey"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], ["landmarks"]),
        helper.make_node("Mul", ["landmarks", "half"], ["stage1_landmarks"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "hundredth"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["confidence"]),
    ]
    constants = {
        "weight": weight,
        "shape": np.array([-1, 68, 2]),
        "half": np.float32(0.5),
        "hundredth": np.float32(0.01),
    }
    outputs = outputs or {"landmarks": [batch, 68, 2], "stage1_landmarks": [batch, 68, 2], "confidence": [batch]}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info(crop, dtype, [batch, 1, side, side])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
