"""The page of examples/web in headless Chromium: the landmarks that Python places, on the same pictures."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli import Aligner, Face, read_image, read_results
from tests.browser import launched, until

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE_PX = 0.02
"""The networks' input is the same to the bit; WebAssembly's sums differ in the last digits."""


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page's folder, made ready as a user does it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine, which fetches onnxruntime-web")
    top = tmp_path_factory.mktemp("web")
    folder = shutil.copytree(ROOT / "examples" / "web", top / "examples" / "web", ignore=lambda *_: ["vendor"])
    (top / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "astronaut.jpg", top / "docs")
    done = run([sys.executable, "prepare.py"], folder)
    if "npm could not fetch" in done.stderr and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera shows: the astronaut, 320 x 240, as Y4M."""
    picture = cv2.resize(read_image(ROOT / "docs" / "astronaut.jpg")[:384], (320, 240), interpolation=cv2.INTER_AREA)
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    frame = b"FRAME\n" + cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes()
    path.write_bytes(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n" + 5 * frame)
    return path


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[object]:
    with launched(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ) as browser:
        yield browser


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    server = subprocess.Popen([sys.executable, "serve.py", "--port", "0"], cwd=site, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(timeout=10)
    server.stdout.close()


class Visits:
    """Opens the page; `complaints` are its errors, and what it asked of other servers."""

    def __init__(self, browser, url: str) -> None:
        self._browser, self._url, self.complaints = browser, url, []

    def __call__(self, query: str = "", width: int = 1280, height: int = 800):
        page = self._browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("request", self._note_request)
        page.goto(self._url + query)
        until(page, "document.querySelector('#state').textContent.startsWith('Ready')", 120)
        return page

    def _note_request(self, request) -> None:
        if not request.url.startswith((self._url, "blob:", "data:")):
            self.complaints.append(request.url)


@pytest.fixture(scope="module")
def visits(url: str, browser) -> Visits:
    return Visits(browser, url)


@pytest.fixture
def visit(visits: Visits) -> Iterator[Visits]:
    """Opens another page, which must neither complain nor ask another server."""
    yield visits
    assert not visits.complaints


@pytest.fixture(scope="module")
def open_page(visits: Visits):
    return visits()


@pytest.fixture
def page(open_page, visit: Visits):
    """A page that other tests have used, too."""
    return open_page


def shown(page, path: Path) -> str:
    """The text of the JSON of a picture that is chosen in the page."""
    page.set_input_files("#file", path)
    until(page, f"document.querySelector('#state').textContent.includes('in {path.name}')", 120)
    page.locator("#details").evaluate("(details) => { details.open = true; }")
    until(page, f"document.querySelector('#json').textContent.includes('{path.name}')")
    return page.locator("#json").text_content()


def assert_same(text: str, expected: list[Face], folder: Path) -> None:
    """The document of a page has Python's faces; facealign reads it."""
    (folder / "faces.json").write_text(text, encoding="utf-8")
    (result,) = read_results(folder / "faces.json")
    assert len(result.faces) == len(expected)
    for face, other in zip(result.faces, expected, strict=True):
        np.testing.assert_allclose(face.landmarks, other.landmarks, atol=TOLERANCE_PX)
        np.testing.assert_allclose(face.bbox.xyxy, other.bbox.xyxy, atol=TOLERANCE_PX)
        assert face.confidence == pytest.approx(other.confidence, abs=0.002)
        assert (face.sigma is None) == (other.sigma is None)
        if other.sigma is not None:
            np.testing.assert_allclose(face.sigma, other.sigma, atol=TOLERANCE_PX)


def of_astronaut(folder: Path, kind: str) -> Path:
    """Pictures that take different ways through detection and crop."""
    path, picture = folder / f"{kind}.png", read_image(ROOT / "docs" / "astronaut.jpg")
    if kind in ("leaning", "on its head"):  # the latter is tried from other turns
        lying = kind == "leaning"
        turn = cv2.getRotationMatrix2D((225, 130), 38, 1.0) if lying else cv2.getRotationMatrix2D((256, 256), 180, 1.0)
        border = cv2.BORDER_REFLECT if lying else cv2.BORDER_CONSTANT
        picture = cv2.warpAffine(picture, turn, (512, 512), borderMode=border)
    elif kind == "large":  # looked at in tiles; the crop is averaged down
        picture = cv2.resize(np.hstack([picture, picture[:, ::-1]]), (3000, 1700), interpolation=cv2.INTER_CUBIC)
    elif kind == "small":
        picture = cv2.resize(picture[20:220, 130:330], (83, 91), interpolation=cv2.INTER_AREA)
    elif kind == "transparent":
        alpha = np.tile(np.linspace(60, 255, 512).astype(np.uint8), (512, 1))
        picture = np.dstack([picture, alpha])
    cv2.imwrite(str(path), picture)
    return path


@pytest.mark.long
@pytest.mark.parametrize("kind", ["leaning", "large", "on its head", "small"])
def test_python_places_the_same_landmarks(page, tmp_path: Path, kind: str) -> None:
    path = of_astronaut(tmp_path, kind)
    expected = Aligner().align(path)
    assert expected
    chin, nose = expected[0].landmarks[[8, 27], 1]
    assert (chin < nose) == (kind == "on its head")
    assert_same(shown(page, path), expected, tmp_path)


def test_a_transparent_picture(page, tmp_path: Path) -> None:
    """The browser blends with other roundings, so that it is only nearly the same."""
    path = of_astronaut(tmp_path, "transparent")
    (expected,) = Aligner().align(path)
    ((face,),) = [result["faces"] for result in json.loads(shown(page, path))["results"]]
    np.testing.assert_allclose(face["landmarks"], expected.landmarks, atol=0.2)


def test_pictures_one_after_the_other(page, tmp_path: Path, shared_data: Path) -> None:
    aligner = Aligner()
    for path in [ROOT / "docs" / "astronaut.jpg", shared_data / "photos" / "pyfeat_multi_face.jpg"]:
        assert_same(shown(page, path), aligner.align(path), tmp_path)
    assert page.locator("#faces tbody tr").count() == 5


def test_the_camera_noted_the_orientation(page, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "lying.jpg"
    with image.open(ROOT / "docs" / "astronaut.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # to be shown after a quarter turn clockwise
        picture.rotate(90).save(path, quality=92, exif=exif)
    expected = Aligner().align(path)
    assert len(expected) == 1
    assert_same(shown(page, path), expected, tmp_path)


def test_a_model_that_says_sigma(visit, site: Path, tmp_path: Path) -> None:
    """Outputs are taken by name, so another model needs no other page."""
    spec = importlib.util.spec_from_file_location("prepare", site / "prepare.py")
    assert spec is not None and spec.loader is not None
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    vendor, model = site / "vendor", prepare.load_model("dan-large", device="cpu")
    before = (vendor / "settings.json").read_text()
    try:
        (vendor / "settings.json").write_text(json.dumps(prepare.settings(model) | {"model_file": "large.onnx"}))
        shutil.copy(model.path, vendor / "large.onnx")
        expected = Aligner(model).align(ROOT / "docs" / "astronaut.jpg")
        assert expected[0].sigma is not None
        assert_same(shown(visit(), ROOT / "docs" / "astronaut.jpg"), expected, tmp_path)
    finally:
        (vendor / "settings.json").write_text(before)


def test_threads_and_times_are_shown(page, visit) -> None:
    assert page.evaluate("crossOriginIsolated")
    assert int(page.locator("#threads").text_content()) == min(page.evaluate("navigator.hardwareConcurrency"), 4)
    shown(page, ROOT / "docs" / "astronaut.jpg")
    milliseconds = [float(page.locator(name).text_content().split()[0]) for name in ("#face-ms", "#detect-ms")]
    assert all(value > 0 for value in milliseconds)
    assert visit("?threads=1").locator("#threads").text_content() == "1"


def test_the_camera(page, camera: Path, tmp_path: Path) -> None:
    page.get_by_role("button", name="Camera").click()
    until(page, "document.querySelector('#state').textContent.startsWith('1 face in camera')", 60)
    page.locator("#details").evaluate("(details) => { details.open = true; }")
    page.get_by_role("button", name="Stop camera").click()
    (result,) = json.loads(page.locator("#json").text_content())["results"]
    frame = np.frombuffer(camera.read_bytes()[-320 * 240 * 3 // 2 :], np.uint8).reshape(360, 320)
    (expected,) = Aligner().align(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420))
    scale = result["width"] / 320  # the page asks for 640 x 480
    found = (np.array(result["faces"][0]["landmarks"]) + 0.5) / scale - 0.5
    assert np.linalg.norm(found - expected.landmarks, axis=1).mean() < 1.5
    assert page.get_by_role("button", name="Camera").is_visible()


def test_what_is_no_picture(page, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    page.set_input_files("#file", path)
    until(page, "document.querySelector('#state').classList.contains('failed')")
    assert "notes.png is not a picture" in page.locator("#state").text_content()
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 120), 80, np.uint8))
    assert json.loads(shown(page, tmp_path / "grey.png"))["results"][0]["status"] == "no_face"
    assert "No face in grey.png" in page.locator("#state").text_content()


def test_a_telephone(visit) -> None:
    page = visit(width=390, height=844)
    shown(page, ROOT / "docs" / "astronaut.jpg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator("button:visible, .button:visible").all():
        assert button.bounding_box()["height"] >= 44


def test_without_the_folder_vendor(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "web" / "serve.py", tmp_path)
    done = run([sys.executable, "serve.py"], tmp_path)
    assert done.returncode == 1 and "prepare.py first" in done.stderr
