"""examples/service.py on loopback: what it answers, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from facealign_cli import Aligner
from facealign_cli.formats.codec import from_dict

uvicorn = pytest.importorskip("uvicorn", reason="need pip install -e '.[review]'")
pytest.importorskip("starlette", reason="need pip install -e '.[review]'")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), EXAMPLES / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Running:
    """The service on a free port, with limits that a test can reach."""

    def __init__(self) -> None:
        self.module = example("service.py")
        self.module.MAX_BYTES, self.module.MAX_PIXELS = 2 << 20, 3_000_000
        self.module.MAX_REQUESTS, self.module.BODY_SECONDS = 2, 1.0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(self.module.application(2), log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def send(self, body: bytes, method: str = "POST", path: str = "/faces") -> tuple[int, dict]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body)
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        return response.status, content

    def begin(self, claimed: int) -> socket.socket:
        """A client that says how much it sends, and sends nothing yet."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        client.sendall(f"POST /faces HTTP/1.1\r\nHost: x\r\nContent-Length: {claimed}\r\n\r\n".encode())
        return client


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    running = Running()
    running.thread.start()
    yield running
    running.server.should_exit = True
    running.thread.join(timeout=20)
    running.socket.close()


@pytest.fixture(scope="module")
def picture(astronaut: np.ndarray) -> bytes:
    return cv2.imencode(".png", astronaut[40:220, 130:310])[1].tobytes()


def test_the_faces_are_those_of_the_library(service: Running, picture: bytes) -> None:
    status, record = service.send(picture)
    assert status == 200 and record["status"] == "ok" and record["width"] == 180
    (face,) = from_dict(record).faces
    (expected,) = Aligner().align(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=0.001)


def test_no_face_is_no_error(service: Running) -> None:
    status, record = service.send(cv2.imencode(".png", np.full((90, 90), 80, np.uint8))[1].tobytes())
    assert status == 200 and record["status"] == "no_face" and record["faces"] == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 422, "empty"),
        (b"no picture at all", 422, "picture"),
        (None, 422, "cut short"),
        (cv2.imencode(".png", np.zeros((2000, 2000), np.uint8))[1].tobytes(), 422, "more than the limit of 3 million"),
        (bytes(2 << 20), 422, "picture"),
        (bytes((2 << 20) + 1), 413, "up to 2 MiB"),
    ],
)
def test_what_is_refused(service: Running, picture: bytes, body: bytes | None, status: int, message: str) -> None:
    found, answer = service.send(picture[:5000] if body is None else body)
    assert found == status and message in answer["error"]
    assert service.send(picture)[0] == 200


def test_other_ways_and_places(service: Running, picture: bytes) -> None:
    assert service.send(picture, "PUT")[0] == 405
    assert service.send(picture, path="/elsewhere")[0] == 404


def test_a_body_longer_than_it_said_at_first(service: Running) -> None:
    """In chunks, nobody says how much is to come."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=60)
    parts, chunked = [bytes(1 << 20)] * 2 + [b"x"], {"Transfer-Encoding": "chunked"}
    connection.request("POST", "/faces", iter(parts), chunked, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413 and "2 MiB" in json.loads(response.read())["error"]
    connection.close()


def test_a_slow_client_is_told_and_the_others_go_on(service: Running, picture: bytes) -> None:
    with service.begin(1000) as slow:
        begin = time.monotonic()
        assert service.send(picture)[0] == 200
        answer = slow.recv(4096)
        assert b"408" in answer.splitlines()[0]
        assert time.monotonic() - begin < 30


def test_too_many_at_once(service: Running, picture: bytes) -> None:
    with service.begin(1000) as one, service.begin(1000) as other:
        end = time.monotonic() + 0.8
        answers = []
        while 503 not in answers and time.monotonic() < end:
            answers.append(service.send(picture)[0])
        assert 503 in answers
        assert all(b"408" in client.recv(4096) for client in (one, other))
    assert service.send(picture)[0] == 200


def test_a_client_that_goes_away(service: Running, picture: bytes) -> None:
    for _ in range(5):  # more than may be there at once
        service.begin(1000).close()
        time.sleep(0.05)
    assert service.send(picture)[0] == 200
