"""The review's server: what it serves, and what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign_cli.errors import OutputError
from facealign_cli.formats.codec import face_to_dict
from facealign_cli.records import FrameResult

pytest.importorskip("starlette", reason="Starlette is not installed (extra review)")


def ask(served, path: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, bytes, dict]:
    """(status, body, headers) of a request below the token."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if data is not None else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, path[1:] if path.startswith("//") else f"/{served.token}/{path}", data, given)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())


def step(served, face, number: int = 0, revision: int = 0, **changes) -> dict:
    return {"state": "accepted", "revision": revision, "faces": [face_to_dict(face())], **changes}


def test_the_page_and_its_parts(rows, serve) -> None:
    served = serve(rows(0.9))
    status, page, headers = ask(served, "")
    assert status == 200 and b"static/review.js" in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    for name in ("review.js", "api.js", "view.js", "faces.js", "list.js", "review.css", "icon.svg"):
        status, content, _ = ask(served, f"static/{name}")
        assert status == 200 and content
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in content


def test_pictures_and_faces(rows, serve) -> None:
    served = serve(rows(0.9, 0.2))
    listed = json.loads(ask(served, "api/pictures")[1])
    assert [row["score"] for row in listed["pictures"]] == [0.8, 0.1]
    whole = json.loads(ask(served, "api/pictures/0")[1])
    assert (whole["width"], whole["height"], len(whole["faces"][0]["landmarks"])) == (320, 240, 68)
    for path, height in (("picture/0", 240), ("thumbnail/0", 72)):
        status, data, headers = ask(served, path)
        assert status == 200 and headers["content-type"] == "image/jpeg"
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[0] == height


def test_a_size_that_the_rows_do_not_know(rows, serve) -> None:
    served = serve([replace(rows(0.9)[0], width=0, height=0)])
    whole = json.loads(ask(served, "api/pictures/0")[1])
    assert (whole["width"], whole["height"]) == (320, 240)
    assert served.session.pictures[0].result.width == 320


def test_steps(rows, serve, face) -> None:
    served = serve(rows(0.9))
    status, row, _ = ask(served, "api/pictures/0", "PUT", step(served, face))
    assert status == 200 and json.loads(row)["revision"] == 1
    status, error, _ = ask(served, "api/pictures/0", "PUT", step(served, face))
    assert status == 409 and b"old state" in error
    assert ask(served, "api/pictures/0", "PUT", step(served, face, revision=1, faces=[]))[0] == 200
    assert [p.revision for p in served.session.pictures] == [2]


def test_a_box_becomes_a_face(rows, serve) -> None:
    served = serve(rows(0.9))
    status, answer, _ = ask(served, "api/pictures/0/place", "POST", {"bbox": [50, 50, 150, 160]})
    assert status == 200
    points = np.array(json.loads(answer)["landmarks"])
    assert points.min() > 40 and points.max() < 170


def test_the_models_own_points(rows, serve, monkeypatch) -> None:
    """The shipped model, as the command uses it."""
    from facealign_cli.review.app import drawn_aligner

    aligner = drawn_aligner(None, "cpu", 1)
    assert aligner.detector.name == "drawn"
    assert aligner.align(np.zeros((60, 60, 3), np.uint8)) == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {"Host": "evil.example"}, 403),
        ("", {"Host": "127.0.0.1:1"}, 403),
        ("api/pictures", {"Origin": "http://evil.example"}, 403),
        ("api/pictures", {"Origin": "null"}, 403),
        ("//wrong-token/", {}, 403),
        ("//wrong-token/api/pictures", {}, 403),
        ("//", {}, 404),
        ("//favicon.ico", {}, 404),
        ("static/../../app.py", {}, 404),
        ("static/..%2f..%2fapp.py", {}, 404),
        ("static/%2e%2e/app.py", {}, 404),
        ("static//etc/passwd", {}, 404),
        ("static/app.py", {}, 404),
        ("picture/99", {}, 404),
        ("picture/-1", {}, 404),
        ("picture/..%2f..%2fetc%2fpasswd", {}, 404),
        ("picture/99999999999999999999999999", {}, 404),
        ("api/pictures/9", {}, 404),
    ],
)
def test_refused(rows, serve, path: str, headers: dict, status: int) -> None:
    served = serve(rows(0.9))
    got, content, answered = ask(served, path, **headers)
    assert got == status
    assert b"root:" not in content and b"import" not in content
    assert "content-security-policy" in answered


def test_localhost_and_the_own_origin_are_served(rows, serve) -> None:
    served = serve(rows(0.9))
    own = f"localhost:{served.port}"
    assert ask(served, "api/pictures", Host=own, Origin=f"http://{own}")[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"a": NaN}', 400),
        (b"[" * 100_000, 400),
        ({}, 400),
        ({"state": "done", "revision": 0, "faces": []}, 400),
        ({"state": "open", "revision": "0", "faces": []}, 400),
        ({"state": "open", "revision": 0, "faces": {}}, 200),  # no faces
        ({"state": "open", "revision": 0, "faces": [1]}, 422),
        ({"state": "open", "revision": 0, "faces": [{}]}, 422),
        (b"x" * (3 << 20), 413),
    ],
)
def test_bad_steps(rows, serve, body: object, status: int) -> None:
    served = serve(rows(0.9))
    got, _, _ = ask(served, "api/pictures/0", "PUT", body)
    assert got == status
    assert served.session.pictures[0].revision == (status == 200)


def test_other_kinds_of_content_and_methods(rows, serve, face) -> None:
    """A form of another page cannot send JSON, even if it knew the token."""
    served = serve(rows(0.9))
    body = json.dumps(step(served, face)).encode()
    assert ask(served, "api/pictures/0", "PUT", body, Content_Type="text/plain")[0] == 415
    assert ask(served, "api/pictures/0", "DELETE")[0] in (404, 405)
    assert ask(served, "api/pictures/0/place", "GET")[0] in (404, 405)
    assert ask(served, "api/pictures/0/place", "POST", {"bbox": [5, 5, 5, 9]})[0] == 400


def test_a_gigabyte_is_refused_before_it_is_sent(rows, serve) -> None:
    served = serve(rows(0.9))
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        head = (
            f"PUT /{served.token}/api/pictures/0 HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {1 << 30}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_gigabyte_in_pieces_is_cut_off(rows, serve) -> None:
    """Without a length: what was sent until the limit is all that is held."""
    served = serve(rows(0.9))
    sent = 0
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        head = (
            f"PUT /{served.token}/api/pictures/0 HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        try:
            while sent < 1 << 30:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    assert sent < 64 << 20
    assert ask(served, "api/pictures")[0] == 200


def test_fifty_requests_at_once(rows, serve, face) -> None:
    """Each of fifty pictures gets its step, while pictures are asked for, too."""
    served = serve(rows(*[0.9] * 50))
    answers: list[int] = []

    def work(number: int) -> None:
        answers.append(ask(served, f"thumbnail/{number}")[0])
        answers.append(ask(served, f"api/pictures/{number}", "PUT", step(served, face))[0])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 100
    assert [p.revision for p in served.session.pictures] == [1] * 50
    lines = served.session.side_file.read_bytes().splitlines()
    assert len(lines) == 51 and all(json.loads(line) for line in lines)


def test_pictures_outside_of_the_folder_are_not_shown(rows, serve, tmp_path: Path) -> None:
    inside = rows(0.9)[0]
    cv2.imwrite(str(tmp_path / "secret.jpg"), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    names = ["secret.jpg", "photos/../secret.jpg", "photos/link.jpg"]
    outside = [replace(inside, source=str(tmp_path / name)) for name in names]
    served = serve([inside, *outside, replace(inside, source="/etc/passwd")])
    numbers = {picture.name: i for i, picture in enumerate(served.session.pictures)}
    for name, number in numbers.items():
        expected = 200 if name == inside.source else 403
        for path in (f"picture/{number}", f"thumbnail/{number}", f"api/pictures/{number}"):
            assert ask(served, path)[0] == expected, (name, path)
        assert ask(served, f"api/pictures/{number}/place", "POST", {"bbox": [1, 1, 99, 99]})[0] == expected


def test_a_picture_that_cannot_be_read(rows, serve, tmp_path: Path) -> None:
    bad = tmp_path / "photos" / "bad.jpg"
    results = [*rows(0.9), FrameResult(str(bad), "no_face")]
    bad.write_bytes(b"\xff\xd8\xff damaged")
    served = serve(results)
    number = next(i for i, p in enumerate(served.session.pictures) if p.name == str(bad))
    status, content, _ = ask(served, f"picture/{number}")
    assert status == 422 and b"bad.jpg" in content
    assert ask(served, f"picture/{1 - number}")[0] == 200


def test_a_full_disk_is_said_and_the_state_stays(rows, serve, face, monkeypatch) -> None:
    served = serve(rows(0.9))

    def full(_record: object) -> None:
        raise OutputError("cannot write work.jsonl: the disk is full")

    monkeypatch.setattr(served.session, "_append", full)
    status, content, _ = ask(served, "api/pictures/0", "PUT", step(served, face))
    assert status == 507 and b"disk is full" in content
    assert served.session.pictures[0].revision == 0


def test_a_port_that_is_taken(rows, serve) -> None:
    from facealign_cli.review.app import ReviewServer

    served = serve(rows(0.9))
    with pytest.raises(OutputError, match=r"cannot listen on 127\.0\.0\.1"):
        ReviewServer(served.session, None, served.port)  # type: ignore[arg-type]


def test_a_picture_that_was_replaced_is_not_shown_below_its_old_points(rows, serve) -> None:
    results = rows(0.9, 0.8)
    served = serve(results)
    assert ask(served, "picture/0")[0] == 200
    for result, (height, width) in zip(results, [(600, 200), (240, 320)], strict=True):
        cv2.imwrite(result.source, np.full((height, width, 3), 255, np.uint8))
    by_name = {picture.name: i for i, picture in enumerate(served.session.pictures)}
    status, content, _ = ask(served, f"picture/{by_name[results[0].source]}")
    assert status == 422 and b"it has 200 x 600 pixels, but its faces were found in 320 x 240" in content
    status, content, _ = ask(served, f"picture/{by_name[results[1].source]}")
    assert status == 200 and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).min() > 250


def test_a_name_that_is_no_utf8(rows, serve) -> None:
    (result,) = rows(0.9)
    served = serve([replace(result, source=str(Path(result.source).with_name("\udcff.jpg")))])
    status, content, _ = ask(served, "api/pictures")
    assert status == 200
    assert json.loads(content)["pictures"][0]["name"].endswith("\udcff.jpg")


def test_what_cannot_be_read_and_has_no_size_can_be_skipped(serve, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    served = serve([FrameResult(str(tmp_path / "photos" / "gone.jpg"), "no_face")])
    assert ask(served, "api/pictures/0")[0] == 200
    status, content, _ = ask(served, "picture/0")
    assert status == 422 and b"gone.jpg: no such file" in content
    skip = {"state": "skipped", "revision": 0, "faces": []}
    assert ask(served, "api/pictures/0", "PUT", skip)[0] == 200


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(serve, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    os.mkfifo(tmp_path / "photos" / "pipe.jpg")
    served = serve([FrameResult(str(tmp_path / "photos" / "pipe.jpg"), "no_face")])
    for path in ("picture/0", "thumbnail/0"):
        status, content, _ = ask(served, path)
        assert status == 422 and b"pipe.jpg: is not a file" in content
    assert ask(served, "api/pictures/0")[0] == 200
