"""YuNet with bad files, and with a stand-in network that has YuNet's outputs: a face wherever it is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facealign_cli.detectors import create_detector
from facealign_cli.errors import InputError, ModelError


def bright_network(path: Path) -> Path:
    """cls and obj: brightness of each 8, 16, 32 px cell; the box: one cell's size about its corner."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, outputs, constants = [], [], []

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(onnx.numpy_helper.from_array(values, name))
        return name

    shape = constant("shape", np.array([1, -1, 1], np.int64))
    for stride in (8, 16, 32):
        mean = constant(f"mean_{stride}", np.full((1, 3, stride, stride), 1 / (765 * stride**2), np.float32))
        nodes.append(helper.make_node("Conv", ["input", mean], [f"map_{stride}"], strides=[stride, stride]))
        for name in ("cls", "obj"):
            nodes.append(helper.make_node("Reshape", [f"map_{stride}", shape], [f"{name}_{stride}"]))
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", kind, [1, None, 1]))
        for name, width in (("bbox", 4), ("kps", 10)):
            zeros = constant(f"zeros_{name}_{stride}", np.zeros((1, 1, width), np.float32))
            nodes.append(helper.make_node("Mul", [f"cls_{stride}", zeros], [f"{name}_{stride}"]))
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", kind, [1, None, width]))
    inputs = [helper.make_tensor_value_info("input", kind, [1, 3, 640, 640])]
    graph = helper.make_graph(nodes, "bright", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 12)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=7).SerializeToString())
    return path


@pytest.mark.parametrize("min_face", [12, 40])
def test_boxes_come_back_in_the_picture_s_pixels(tmp_path: Path, min_face: int) -> None:
    detector = create_detector("yunet", model_file=bright_network(tmp_path / "y.onnx"), min_face=min_face, score=0.9)
    image = np.zeros((640, 640), np.uint8)
    image[256:512, 128:384] = 255
    found = detector.detect(image)
    assert found
    assert all(0.9 <= d.score <= 1 for d in found if d.score is not None)
    for bbox in (d.bbox for d in found):
        centre = (bbox.x1 + bbox.x2) / 2, (bbox.y1 + bbox.y2) / 2
        assert 127 <= centre[0] <= 384
        assert 255 <= centre[1] <= 512
        cell = bbox.size * 10 / min_face  # the network sees the picture shrunk so that min_face is 10 px
        assert min(abs(cell - stride) for stride in (8, 16, 32)) < 0.1
    assert detector.detect(np.zeros((10, 10, 3), np.uint8)) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_max_faces(tmp_path: Path) -> None:
    detector = create_detector("yunet", model_file=bright_network(tmp_path / "y.onnx"), max_faces=3)
    assert len(detector.detect(np.full((320, 320, 3), 255, np.uint8))) == 3


def test_needs_a_model_file() -> None:
    with pytest.raises(InputError, match=r"needs a model file: face_detection_yunet_2023mar\.onnx"):
        create_detector("yunet")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        create_detector("yunet", model_file=tmp_path / "y.onnx")


@pytest.mark.parametrize("content", [b"", b"no network at all"])
def test_corrupt_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "y.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"y\.onnx"):
        create_detector("yunet", model_file=tmp_path / "y.onnx")


def test_another_network(astronaut: np.ndarray) -> None:
    from facealign_cli.detectors.mtcnn import model_folder

    with pytest.raises(ModelError, match=r"onet\.onnx"):
        create_detector("yunet", model_file=model_folder() / "onet.onnx").detect(astronaut)
