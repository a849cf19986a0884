"""DanModel runs on the device that was asked for, and says why when it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from linear_graph import Build

from facealign_cli import runtime
from facealign_cli.errors import DeviceError, InputError, ModelError
from facealign_cli.models.dan import DanModel
from facealign_cli.runtime import create_session, provider_of

onnxruntime = runtime.import_onnxruntime()


class TestDevices:
    @pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0", "cuda:0 "])
    def test_unknown_name(self, build: Build, device: str) -> None:
        with pytest.raises(InputError, match=r"unknown device .*; known: auto, cpu, cuda, cuda:N"):
            DanModel(build(), device=device)

    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_cpu(self, build: Build, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [runtime.CPU])
        assert DanModel(build(), device=device).provider == "CPUExecutionProvider"

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_cuda_without_support_says_what_to_install(
        self, build: Build, device: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [runtime.CPU])
        with pytest.raises(DeviceError, match=f"device {device}: .*-m pip install onnxruntime-gpu"):
            DanModel(build(), device=device)

    def test_threads(self, build: Build) -> None:
        session = create_session(build(), "cpu", threads=2)
        assert session.get_session_options().intra_op_num_threads == 2
        assert create_session(build(), "cpu").get_session_options().intra_op_num_threads == 1

    def test_from_bytes(self, build: Build) -> None:
        assert provider_of(create_session(build().read_bytes())) in (runtime.CPU, runtime.CUDA)
        with pytest.raises(ModelError, match="the model: not an ONNX model"):
            create_session(b"nothing")


class TestCudaThatFails:
    """ONNX Runtime lists CUDA, but there is no GPU, no driver, or another version of it."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What providers sessions were asked for. A session that cannot have CUDA falls back to the CPU in silence."""
        session, asked = onnxruntime.InferenceSession, []

        def falling_back(content: bytes, options: Any, providers: list[Any], **rest: Any) -> Any:
            asked.append(providers)
            return session(content, options, providers=[runtime.CPU], **rest)

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [runtime.CUDA, runtime.CPU])
        monkeypatch.setattr(onnxruntime, "InferenceSession", falling_back)
        return asked

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_by_name_is_an_error(self, build: Build, asked: list[Any], device: str) -> None:
        with pytest.raises(DeviceError, match=f"device {device}: .*could not start it"):
            DanModel(build(), device=device)

    def test_number(self, build: Build, asked: list[Any]) -> None:
        with pytest.raises(DeviceError):
            DanModel(build(), device="cuda:3")
        assert asked == [[(runtime.CUDA, {"device_id": 3}), runtime.CPU]]

    def test_auto_goes_on_and_says_so(self, build: Build, asked: list[Any]) -> None:
        assert DanModel(build(), device="auto").provider == "CPUExecutionProvider"
        assert asked == [[(runtime.CUDA, {"device_id": 0}), runtime.CPU]]

    @pytest.fixture
    def raising(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As for a device number that is too large: the provider raises from within the session's making."""
        make = onnxruntime.InferenceSession._create_inference_session

        def fail(self: Any, providers: Any, *rest: Any) -> None:
            if providers != [runtime.CPU]:
                raise RuntimeError("CUDA failure 101: invalid device ordinal\nand a long tail")
            make(self, providers, *rest)

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [runtime.CUDA, runtime.CPU])
        monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)

    def test_error_by_name(self, build: Build, raising: None, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(DeviceError, match=r"device cuda:9: CUDA failure 101: invalid device ordinal$"):
            DanModel(build(), device="cuda:9")
        assert capfd.readouterr().out == "", "results go to stdout, nothing else"

    def test_error_with_auto(self, build: Build, raising: None, capfd: pytest.CaptureFixture[str]) -> None:
        assert DanModel(build(), device="auto").provider == "CPUExecutionProvider"
        assert capfd.readouterr().out == ""
