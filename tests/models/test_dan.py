"""DanModel runs graphs that keep the contract and says of the others what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from linear_graph import METADATA, SIZE, WEIGHT, Build, graph
from onnx import TensorProto, helper, numpy_helper

from facealign_cli.errors import InputError, ModelError
from facealign_cli.landmarks import MEAN_SHAPE
from facealign_cli.models.dan import DanModel, GraphMetadata


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, SIZE, SIZE), np.uint8)


class TestPredict:
    @pytest.mark.parametrize("count", [1, 5, 16, 17, 40])
    def test_equals_the_arithmetic(self, build: Build, count: int) -> None:
        prediction = DanModel(build(), device="cpu").predict(crops(count))
        flat = crops(count).reshape(count, -1).astype(np.float32)
        np.testing.assert_allclose(prediction.landmarks, (flat @ WEIGHT).reshape(-1, 68, 2), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(prediction.stage1_landmarks, prediction.landmarks / 2, rtol=1e-6)
        np.testing.assert_allclose(prediction.confidence, 1 / (1 + np.exp(-flat.mean(axis=1) / 100)), rtol=1e-5)

    def test_batch_size_does_not_matter(self, build: Build) -> None:
        path = build()
        whole, parts = (DanModel(path, batch_size=size).predict(crops(7)) for size in (7, 3))
        np.testing.assert_allclose(whole.landmarks, parts.landmarks, rtol=1e-5, atol=1e-5)

    def test_no_crops(self, build: Build) -> None:
        prediction = DanModel(build()).predict(crops(0))
        assert prediction.landmarks.shape == prediction.stage1_landmarks.shape == (0, 68, 2)
        assert prediction.confidence.shape == (0,)
        assert prediction.landmarks.dtype == prediction.confidence.dtype == np.float32

    @pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT])
    @pytest.mark.parametrize("given", [np.uint8, np.float32, np.float64, np.int64])
    def test_any_number_type(self, build: Build, dtype: int, given: type) -> None:
        model = DanModel(build(dtype=dtype))
        expected = model.predict(crops(3)).landmarks
        np.testing.assert_array_equal(model.predict(crops(3).astype(given)).landmarks, expected)

    def test_floats_beyond_a_byte_are_clipped(self, build: Build) -> None:
        model = DanModel(build())
        wild = np.array([-9.0, 300.0, 99.6], np.float32).repeat(SIZE * SIZE).reshape(3, 1, SIZE, SIZE)
        tame = np.array([0, 255, 100], np.uint8).repeat(SIZE * SIZE).reshape(3, 1, SIZE, SIZE)
        np.testing.assert_array_equal(model.predict(wild).landmarks, model.predict(tame).landmarks)

    def test_without_channel_axis_and_not_contiguous(self, build: Build) -> None:
        model = DanModel(build())
        np.testing.assert_array_equal(model.predict(crops(3)[:, 0]).landmarks, model.predict(crops(3)).landmarks)
        turned = model.predict(crops(3)[..., ::-1]).landmarks
        np.testing.assert_array_equal(turned, model.predict(crops(3)[..., ::-1].copy()).landmarks)

    @pytest.mark.parametrize(
        "shape", [(2, 3, SIZE, SIZE), (2, 1, SIZE, SIZE + 1), (SIZE, SIZE), (0, 1, 5, 5), (1, SIZE, 4)]
    )
    def test_wrong_shape(self, build: Build, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"expected crops of shape \(N, 1, 12, 12\), got"):
            DanModel(build()).predict(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize(
        ("given", "words"),
        [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (None, "object"), (True, "bool"), ("1", "<U1")],
    )
    def test_what_are_no_grey_values(self, build: Build, given: object, words: str) -> None:
        """NaN became black, in silence but for a warning of NumPy's."""
        with pytest.raises(InputError, match=f"expected crops of grey values, 0 to 255, got {words}"):
            DanModel(build()).predict(np.full((1, 1, SIZE, SIZE), given))

    def test_arguments_that_are_none(self, build: Build) -> None:
        with pytest.raises(InputError, match="batch_size: expected a whole number, 1 or more, got 0"):
            DanModel(build(), batch_size=0)
        with pytest.raises(InputError, match="path: expected a path, got NoneType"):
            DanModel(None)  # type: ignore[arg-type]

    def test_what_it_says_of_itself(self, build: Build) -> None:
        model = DanModel(build({"figures": {"nme": 0.05}}), device="cpu")
        assert model.name == "linear 7"
        assert model.provider == "CPUExecutionProvider"
        assert (model.frame.size, model.frame.share) == (SIZE, 0.5)
        assert model.metadata.figures == {"nme": 0.05}
        np.testing.assert_array_equal(model.frame.mean_shape, MEAN_SHAPE)


class TestForeignFiles:
    @pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 20])
    def test_no_onnx(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.onnx: (not an ONNX model that can be loaded|the file is empty$)"):
            DanModel(tmp_path / "bad.onnx")

    def test_cut_short(self, build: Build) -> None:
        path = build()
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(ModelError, match=r"model\.onnx: not an ONNX model"):
            DanModel(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"none\.onnx: No such file"):
            DanModel(tmp_path / "none.onnx")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="directory"):
            DanModel(tmp_path)

    def test_onnx_of_something_else(self, tmp_path: Path) -> None:
        onnx.save(graph(), str(tmp_path / "other.onnx"))
        with pytest.raises(ModelError, match=r"other\.onnx: an ONNX model, but not one of facealign's"):
            DanModel(tmp_path / "other.onnx")


class TestMetadata:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Expecting value"),
            ("{", "metadata that facealign cannot use"),
            ("[]", "cannot use: Expected `object`, got `array`"),
            ("null", "cannot use: Expected `object`, got `null`"),
        ],
    )
    def test_no_json_object(self, build: Build, text: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            DanModel(build(text))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"scheme": "wflw-98"}, "scheme: expected ibug-68, got 'wflw-98'"),
            (
                {"format": "facealign-graph/3"},
                "format: expected facealign-graph/1 or facealign-graph/2, got 'facealign-graph/3'",
            ),
            ({"stages": 0}, "stages: expected 1 to 99, got 0"),
            ({"stages": 10**9}, "stages: expected 1 to 99"),
            ({"name": "a\x1b[31mb"}, r"model\.onnx: .*name: expected up to 200 characters in one line"),
            ({"version": "1" * 300}, "version: expected up to 200 characters"),
            ({"licence": "x" * (1 << 20)}, "more than 1048576"),
            ({"stages": "two"}, "cannot use"),
            ({"crop_size": 4}, "crop frame needs"),
            ({"crop_size": "12"}, "cannot use"),
            ({"crop_share": 1.5}, "crop frame needs"),
            ({"crop_share": float("nan")}, "NaN is no JSON value"),
            ({"mean_shape": MEAN_SHAPE[:67].tolist()}, r"mean_shape: expected 68 finite pairs, got shape \(67, 2\)"),
            ({"mean_shape": [[float("nan"), 0]] * 68}, "NaN is no JSON value"),
            ({"mean_shape": [[1, 2]] * 67 + [[1]]}, "cannot use"),
            ({"mean_shape": "round"}, "cannot use"),
            ({"mean_shape": None}, "mean_shape"),
            ({"mean_shape": [[1, 2]] * 68}, "mean_shape: its points have no extent"),
            ({"crop_size": 1_000_000}, "crop_size: expected 2048 or less"),
        ],
    )
    def test_wrong_value(self, build: Build, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            DanModel(build(change))

    @pytest.mark.parametrize("key", ["name", "version", "scheme", "stages", "crop_size", "crop_share", "mean_shape"])
    def test_missing_value(self, build: Build, key: str) -> None:
        with pytest.raises(ModelError, match=f"cannot use: .*{key}"):
            DanModel(build(without=(key,)))

    def test_round_trip(self) -> None:
        metadata = GraphMetadata(**METADATA, licence="MIT", figures={"nme": 0.1})
        assert GraphMetadata.from_json(metadata.to_json()) == metadata


class TestInterface:
    def test_crop_size_unlike_the_metadata(self, build: Build) -> None:
        with pytest.raises(ModelError, match=r"crop is \['N', 1, 16, 16\], but the metadata says \(N, 1, 12, 12\)"):
            DanModel(build(side=16))

    def test_fixed_batch(self, build: Build) -> None:
        with pytest.raises(ModelError, match=r"crop is \[1, 1, 12, 12\], but the metadata says \(N, 1, 12, 12\)"):
            DanModel(build(batch=1))

    def test_input_of_another_name(self, build: Build) -> None:
        with pytest.raises(ModelError, match="expected one input, crop, uint8 or float32"):
            DanModel(build(crop="image"))

    def test_input_of_another_type(self, build: Build) -> None:
        with pytest.raises(ModelError, match="expected one input, crop, uint8 or float32"):
            DanModel(build(dtype=TensorProto.INT64))

    @pytest.mark.parametrize("missing", ["landmarks", "stage1_landmarks", "confidence"])
    def test_missing_output(self, build: Build, missing: str) -> None:
        outputs = {"landmarks": ["N", 68, 2], "stage1_landmarks": ["N", 68, 2], "confidence": ["N"]}
        del outputs[missing]
        with pytest.raises(ModelError, match=f"no output {missing}$"):
            DanModel(build(outputs=outputs))

    @pytest.mark.parametrize(
        ("name", "shape"), [("landmarks", ["N", 136]), ("stage1_landmarks", ["N", 98, 2]), ("confidence", ["N", 2])]
    )
    def test_output_of_another_shape(self, build: Build, name: str, shape: list[Any]) -> None:
        """Shapes that the graph only claims: they are compared before anything runs."""
        path = build()
        model = onnx.load(str(path))
        (output,) = [o for o in model.graph.output if o.name == name]
        output.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        for node in model.graph.node:  # an operator whose result's shape nobody can infer
            if name in node.output:
                node.output[0] = "before"
        model.graph.node.append(helper.make_node("Reshape", ["before", "claimed"], [name]))
        side = [0 if d == "N" else d for d in shape]
        model.graph.initializer.append(numpy_helper.from_array(np.array(side), "claimed"))
        for node in model.graph.node:
            for i, value in enumerate(node.input):
                if value == name:
                    node.input[i] = "before"
        onnx.save(model, str(path))
        with pytest.raises(ModelError, match=f"{name} is "):
            DanModel(path)


class _Session:
    """Gives the same value for all landmarks, and the same confidence for all crops."""

    def __init__(self, value: float, last: float | None = None, confidence: float = 0.5) -> None:
        self.value, self.last, self.confidence = value, value if last is None else last, confidence

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        count = len(feed["crop"])
        shapes = ((count, 68, 2), (count, 68, 2), (count,), (count, 68))
        outputs = [np.full(shape, self.value, np.float32) for shape in shapes[: len(names)]]
        for output in outputs:
            output[-1] = self.last
        outputs[2][:] = self.confidence
        return outputs


class TestNumbersThatAreNoPixels:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1e6, -3e38])
    def test_they_are_refused(self, build: Build, value: float) -> None:
        model = DanModel(build())
        for session in (_Session(value), _Session(1, value)):
            model._session = session  # type: ignore[assignment]
            with pytest.raises(ModelError, match="it gave landmarks not within"):
                model.predict(crops(3))

    @pytest.mark.parametrize("value", [0, 1e6, -7e5])
    def test_large_ones_are_taken(self, build: Build, value: float) -> None:
        model = DanModel(build())
        model._session = _Session(value)  # type: ignore[assignment]
        assert (model.predict(crops(3)).landmarks == value).all()

    @pytest.mark.parametrize("confidence", [-0.001, 1.001])
    def test_a_confidence_is_a_share(self, build: Build, confidence: float) -> None:
        model = DanModel(build())
        model._session = _Session(1, confidence=confidence)  # type: ignore[assignment]
        with pytest.raises(ModelError, match="it gave confidence not within 0 to 1"):
            model.predict(crops(3))

    def test_what_comes_of_padding_does_not_matter(self, build: Build) -> None:
        model = DanModel(build()).padded_to(4)
        model._session = _Session(1, np.nan)  # type: ignore[assignment]
        assert (model.predict(crops(3)).landmarks == 1).all()
        with pytest.raises(ModelError, match="it gave landmarks not within"):
            model.predict(crops(4))


class TestOutputs:
    """What a graph gives is looked at each time: its shapes and names say nothing of its values."""

    @staticmethod
    def changed(path: Path, name: str, op: str, *more: Any, kind: int = TensorProto.FLOAT, **attributes: Any) -> Path:
        """The graph with one more operator before an output."""
        model = onnx.load(str(path))
        for node in model.graph.node:
            node.output[:] = ["before" if value == name else value for value in node.output]
            node.input[:] = ["before" if value == name else value for value in node.input]
        constants = [numpy_helper.from_array(np.asarray(value), f"more{i}") for i, value in enumerate(more)]
        model.graph.initializer.extend(constants)
        inputs = ["before", *(constant.name for constant in constants)]
        model.graph.node.append(helper.make_node(op, inputs, [name], **attributes))
        for output in model.graph.output:
            if output.name == name:
                output.type.tensor_type.elem_type = kind
        onnx.save(model, str(path))
        return path

    @pytest.mark.parametrize(
        ("name", "factor"),
        [
            ("landmarks", np.nan),
            ("stage1_landmarks", np.inf),
            ("landmarks", 1e30),
            ("confidence", -1),
            ("confidence", 9),
        ],
    )
    def test_values_that_no_face_has(self, build: Build, name: str, factor: float) -> None:
        model = DanModel(self.changed(build(), name, "Mul", np.float32(factor)))
        with pytest.raises(ModelError, match=rf"model\.onnx: it gave {name} not within"):
            model.predict(crops(2))

    def test_sigma_below_zero(self, build: Build) -> None:
        path = build({"format": "facealign-graph/2"})
        model = onnx.load(str(path))
        nodes = [
            helper.make_node("ReduceMax", ["landmarks"], ["most"], axes=[2], keepdims=0),
            helper.make_node("Abs", ["most"], ["some"]),
            helper.make_node("Neg", ["some"], ["sigma"]),
        ]
        model.graph.node.extend(nodes)
        model.graph.output.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 68]))
        onnx.save(model, str(path))
        with pytest.raises(ModelError, match="it gave sigma not within 0 to"):
            DanModel(path).predict(crops(2))

    @pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
    def test_floats_of_another_length_become_float32(self, build: Build, kind: int) -> None:
        expected = DanModel(build()).predict(crops(2))
        got = DanModel(self.changed(build(), "landmarks", "Cast", kind=kind, to=kind)).predict(crops(2))
        assert got.landmarks.dtype == np.float32
        np.testing.assert_allclose(got.landmarks, expected.landmarks, rtol=1e-3)

    def test_integers_are_refused(self, build: Build) -> None:
        kind = TensorProto.INT64
        with pytest.raises(ModelError, match="it gave int64"):
            DanModel(self.changed(build(), "landmarks", "Cast", kind=kind, to=kind)).predict(crops(2))


def test_weights_in_another_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(graph(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(
        ModelError, match=r"m\.onnx: it keeps its weights in another file, which is not read here; onnx"
    ):
        DanModel(path)
