"""`facealign detect image`: run the command, reopen its output through the library, compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from facealign_cli.cli.main import main
from facealign_cli.files.pictures import read_image
from facealign_cli.formats.base import get_format
from facealign_cli.formats.json import json_schema
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.metrics import nme
from facealign_cli.runtime import import_onnxruntime

# Marked by eye on the 512×512 picture, enlarged nine times with a grid over it.
BY_EYE = {
    8: (222, 177.5),
    17: (189.5, 90),
    21: (213, 92),
    22: (237.5, 92.5),
    26: (262, 95.5),
    30: (224, 127),
    31: (215, 130.5),
    33: (224, 133.5),
    35: (233, 131),
    36: (192.5, 101.5),
    37: (197, 97.5),
    38: (204.5, 97.5),
    39: (211, 103),
    40: (205, 104.5),
    41: (198, 103),
    42: (236, 104.5),
    43: (241.5, 100),
    44: (250, 99.5),
    45: (258, 104),
    46: (251, 106.5),
    47: (242, 106),
    48: (202.5, 139.5),
    51: (222.5, 139.5),
    54: (245, 141),
    57: (222.5, 154),
    62: (223, 143),
    66: (223, 148.5),
}


@pytest.fixture
def picture(tmp_path: Path, astronaut: np.ndarray) -> Path:
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), astronaut)
    return path


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["detect", "image", *map(str, args)], input=stdin)


def results_of(result: Result) -> list[dict]:
    document = json.loads(result.stdout)
    jsonschema.validate(document, json_schema())
    return document["results"]


def landmarks_of(result: Result) -> np.ndarray:
    (record,) = results_of(result)
    (face,) = record["faces"]
    return np.array(face["landmarks"])


def test_one_picture_to_a_pipe_is_json(picture: Path) -> None:
    result = run(picture)
    assert result.exit_code == 0
    landmarks = landmarks_of(result)
    assert landmarks.shape == (N_LANDMARKS, 2)
    (record,) = results_of(result)
    assert (record["source"], record["width"], record["height"]) == (str(picture), 512, 512)
    assert record["provider"] == "CPUExecutionProvider"
    assert record["faces"][0]["confidence"] > 0.9


def test_the_landmarks_are_where_a_person_would_put_them(picture: Path) -> None:
    landmarks = landmarks_of(run(picture))
    outer_eyes = np.linalg.norm(np.subtract(BY_EYE[36], BY_EYE[45]))
    distances = [np.linalg.norm(landmarks[i] - point) for i, point in BY_EYE.items()]
    assert np.mean(distances) / outer_eyes < 0.04


@pytest.mark.parametrize("name", ["json", "csv", "openface"])
def test_each_format_holds_the_same_faces(picture: Path, tmp_path: Path, name: str) -> None:
    expected = landmarks_of(run(picture))
    out = tmp_path / "out.dat"
    assert run(picture, "-o", out, "--format", name).exit_code == 0
    (record,) = get_format(name).read(out)
    np.testing.assert_allclose(record.faces[0].landmarks, expected, atol=0.002)


def test_the_format_follows_from_the_name(picture: Path, tmp_path: Path) -> None:
    assert run(picture, "-o", tmp_path / "faces.csv").exit_code == 0
    assert (tmp_path / "faces.csv").read_text().startswith("source,status")
    assert run(picture, "-o", tmp_path / "faces.xyz").exit_code == 2


def test_a_dash_is_standard_output(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert landmarks_of(run(picture, "-o", "-")).shape == (N_LANDMARKS, 2)
    assert run(picture, "-o", "-", "--format", "csv").stdout.startswith("source,status")
    assert run(picture, "-o", "-", "--format", "pts").exit_code == 2
    assert not Path("-").exists()


def test_pts_goes_into_a_folder(picture: Path, tmp_path: Path) -> None:
    assert run(picture, "-o", tmp_path / "out", "--format", "pts").exit_code == 0
    (record,) = get_format("pts").read(tmp_path / "out")
    np.testing.assert_allclose(record.faces[0].landmarks, landmarks_of(run(picture)), atol=0.002)
    assert run(picture, "--format", "pts").exit_code == 2


def test_bad_pictures_are_recorded_and_the_others_go_on(picture: Path, tmp_path: Path) -> None:
    data = picture.read_bytes()
    bad = {"empty.jpg": b"", "truncated.png": data[: len(data) // 2], "text.jpg": b"not a picture"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / "empty.jpg", tmp_path / "truncated.png", picture, tmp_path / "text.jpg", tmp_path / "no.jpg"]
    result = run(*paths)
    assert result.exit_code == 3
    records = results_of(result)
    assert [record["status"] for record in records] == ["error", "error", "ok", "error", "error"]
    assert all(record["error"] in result.stderr for record in records if record["status"] == "error")


def test_a_picture_that_the_format_cannot_hold_is_told(picture: Path, tmp_path: Path) -> None:
    odd, out = picture.rename(tmp_path / "a\x01.png"), tmp_path / "masks"
    result = run(odd, "--format", "masks", "-o", out)
    assert result.exit_code == 3
    assert r"a\x01.png: its name has characters that the format cannot hold" in result.stderr
    assert not list(out.iterdir())
    assert run(odd, "--format", "csv").exit_code == 0


def test_too_many_pixels_is_a_recorded_failure(picture: Path) -> None:
    result = run(picture, "--max-pixels", "100k")
    assert result.exit_code == 3
    assert "limit" in results_of(result)[0]["error"]


def test_a_picture_without_a_face_is_done(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300), 127, np.uint8))
    result = run(tmp_path / "grey.png")
    assert result.exit_code == 0
    (record,) = results_of(result)
    assert (record["status"], record["faces"], record["width"], record["height"]) == ("no_face", [], 300, 200)


def test_standard_input(picture: Path) -> None:
    result = run("-", stdin=picture.read_bytes())
    assert result.exit_code == 0
    np.testing.assert_array_equal(landmarks_of(result), landmarks_of(run(picture)))
    assert run("-", "-", stdin=picture.read_bytes()).exit_code == 2


def test_grey_alpha_16_bit_and_unicode_names(picture: Path, tmp_path: Path, astronaut: np.ndarray) -> None:
    expected = landmarks_of(run(picture))
    variants = {
        "grau-größe-顔.png": cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY),
        "alpha.png": cv2.cvtColor(astronaut, cv2.COLOR_BGR2BGRA),
        "deep.png": astronaut.astype(np.uint16) * 257,
    }
    for name, image in variants.items():
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        error = nme(landmarks_of(run(tmp_path / name))[None], expected[None], "inter-ocular")[0]
        assert error < 0.01, name


def test_exif_rotation_gives_landmarks_of_the_upright_picture(
    picture: Path, tmp_path: Path, astronaut: np.ndarray
) -> None:
    jpeg = cv2.imencode(".jpg", cv2.rotate(astronaut[:, 30:], cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    orientation_6 = bytes.fromhex("0112 0003 00000001 0006 0000")
    exif = b"Exif\0\0MM\0\x2a" + bytes.fromhex("00000008 0001") + orientation_6 + bytes(4)
    rotated = tmp_path / "rotated.jpg"
    rotated.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    result = run(rotated)
    (record,) = results_of(result)
    assert (record["width"], record["height"]) == (482, 512)
    expected = landmarks_of(run(picture)) - [30, 0]
    assert nme(landmarks_of(result)[None], expected[None], "inter-ocular")[0] < 0.02


def test_boxes_from_a_file(picture: Path, tmp_path: Path) -> None:
    landmarks = landmarks_of(run(picture))
    box = [*landmarks.min(axis=0), *landmarks.max(axis=0)]
    (tmp_path / "boxes.json").write_text(json.dumps({"astronaut.png": box}))
    result = run(picture, "--boxes", tmp_path / "boxes.json")
    assert nme(landmarks_of(result)[None], landmarks[None], "inter-ocular")[0] < 0.02
    assert results_of(result)[0]["detector"] == "boxes"
    assert run(picture, "--boxes", tmp_path / "boxes.json", "--detector", "mtcnn").exit_code == 2
    assert run(picture, "--detector", "boxes").exit_code == 2


def test_a_picture_without_a_box_is_recorded(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text("{}")
    result = run(picture, "--boxes", tmp_path / "boxes.json")
    assert result.exit_code == 3
    assert "astronaut.png" in results_of(result)[0]["error"]


def test_overlay_of_one_and_of_several(picture: Path, tmp_path: Path, astronaut: np.ndarray) -> None:
    assert run(picture, "--overlay", tmp_path / "drawn.png").exit_code == 0
    drawn = read_image(tmp_path / "drawn.png")
    assert drawn.shape == astronaut.shape
    changed = (drawn != astronaut).any(axis=2)
    assert changed[60:180, 170:270].mean() > 0.05
    assert not changed[300:].any()
    (tmp_path / "b").mkdir()
    copy = shutil.copy(picture, tmp_path / "b" / "astronaut.png")
    assert run(picture, copy, "--overlay", tmp_path / "all").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["astronaut-2.jpg", "astronaut.jpg"]


def test_nothing_is_overwritten_unasked(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.json"
    out.write_text("mine")
    result = run(picture, "-o", out)
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    assert out.read_text() == "mine"
    assert run(picture, "-o", out, "--overwrite").exit_code == 0
    assert json.loads(out.read_text())["schema"] == "facealign/2"


def test_max_faces_and_min_face(picture: Path, tmp_path: Path, astronaut: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([astronaut, astronaut]))
    assert len(results_of(run(tmp_path / "two.png"))[0]["faces"]) == 2
    assert len(results_of(run(tmp_path / "two.png", "--max-faces", 1))[0]["faces"]) == 1
    assert results_of(run(picture, "--min-face", 300))[0]["status"] == "no_face"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--detector", "viola"], 2, "yunet, mtcnn, dlib-hog"),
        (["--model", "dan-huge"], 2, "dan-light"),
        (["--device", "tpu"], 2, "auto, cpu, cuda"),
        (["--model", "missing.onnx"], 1, "missing.onnx"),
        (["--detector", "haar"], 1, "haar"),
        (["--overlay", "drawn.xyz"], 1, ".xyz"),
        (["-o", "no/such/folder/faces.json"], 1, "no/such/folder"),
    ],
)
def test_wrong_requests_say_what_is_wrong(picture: Path, args: list[str], code: int, text: str) -> None:
    result = run(picture, *args)
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stdout == ""


def test_a_gpu_that_is_not_there_is_an_error_not_the_cpu(picture: Path) -> None:
    if "CUDAExecutionProvider" in import_onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA support")
    result = run(picture, "--device", "cuda")
    assert result.exit_code == 1
    assert "onnxruntime-gpu" in result.stderr


def test_interrupted_keeps_what_is_done(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facealign_cli import aligner

    real = aligner.read_picture

    def read(path: str, **options: object) -> object:
        if path == "second.png":
            raise KeyboardInterrupt
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(aligner, "read_picture", read)
    result = run(picture, "second.png", picture, "-o", tmp_path / "faces.json")
    assert result.exit_code == 130
    assert [record.source for record in get_format("json").read(tmp_path / "faces.json")] == [str(picture)]


def test_head_pose(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.json"
    assert run(picture, "-o", out, "--pose").exit_code == 0
    (record,) = get_format("json").read(out)
    pose = record.faces[0].pose
    assert pose is not None and pose.translation_mm[2] > 200
    far = tmp_path / "far.json"
    assert run(picture, "-o", far, "--pose", "--focal", 3000).exit_code == 0
    other = get_format("json").read(far)[0].faces[0].pose
    assert other is not None and other.translation_mm[2] > 3 * pose.translation_mm[2]
    assert run(picture, "-o", out, "--focal", 3000).exit_code == 2


class TestSigma:
    def test_csv_has_it_on_demand(self, picture: Path, tmp_path: Path) -> None:
        """dan-large says how far each point may be off; JSON has it always, CSV with --sigma."""
        for name, options in (("a.csv", ["--sigma"]), ("b.csv", []), ("c.json", [])):
            command = ["detect", "image", str(picture), "--model", "dan-large", "-o", str(tmp_path / name), *options]
            assert CliRunner().invoke(main, command).exit_code == 0
        read = [get_format(n[2:]).read(tmp_path / n)[0].faces[0] for n in ("a.csv", "b.csv", "c.json")]
        assert read[1].sigma is None
        assert read[0].sigma is not None
        np.testing.assert_array_equal(read[0].sigma, read[2].sigma)
        size = float(np.ptp(read[0].landmarks, axis=0).mean())
        assert ((read[0].sigma > 0.002 * size) & (read[0].sigma < 0.1 * size)).all()

    def test_a_format_without_a_place_for_it(self, picture: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(
            main, ["detect", "image", str(picture), "--format", "openface", "--sigma", "-o", str(tmp_path / "a.txt")]
        )
        assert result.exit_code == 2
        assert "has no place for it" in result.output


def test_a_picture_without_a_face_says_what_may_help(tmp_path: Path, astronaut: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.rot90(astronaut, 2))
    result = run(tmp_path / "a.png")
    assert results_of(result)[0]["status"] == "no_face"
    assert "No face is reported in the picture; if heads lie on their side" in result.stderr
    assert "--any-roll may help" in result.stderr
    helped = run(tmp_path / "a.png", "--any-roll")
    assert landmarks_of(helped)[8, 1] < landmarks_of(helped)[27, 1]  # the chin is above the nose
    assert "any-roll" not in helped.stderr
    assert "any-roll" not in run(tmp_path / "a.png", "--any-roll", "--score", 0.99).stderr
    assert run(tmp_path / "a.png", "--any-roll", "--boxes", tmp_path / "a.png").exit_code == 2


def test_faces_of_little_confidence_are_told_and_can_be_seen(
    tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(astronaut, None, fx=3, fy=1))
    common = (tmp_path / "a.png", "--score", 0.2)  # YuNet finds the wide face; no landmarks fit it
    result = run(*common)
    assert results_of(result)[0]["faces"] == []
    assert "with a confidence below 0.5; --min-confidence 0 shows all." in result.stderr
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    faces = results_of(run(*common, "--min-confidence", 0))[0]["faces"]
    assert faces
    assert all(face["confidence"] < 0.5 for face in faces)
    assert "Left out" not in run(*common, "--min-confidence", 0).stderr
