"""Servers on loopback that streams are read from: HTTP in several ways, and RTSP that sends an MPEG-TS over TCP."""

from __future__ import annotations

import http.server
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_TS_PACKET = 188


class HttpServer(http.server.ThreadingHTTPServer):
    """answers: path → what to do with a request. asked: how often each path was asked for."""

    daemon_threads, block_on_close = True, False

    def __init__(self, answers: dict[str, Callable[[Any], None]]) -> None:
        super().__init__(("127.0.0.1", 0), _HttpHandler)
        self.answers, self.asked = answers, Counter[str]()

    def url(self, path: str, user: str = "") -> str:
        """The address of a path."""
        return f"http://{user}127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is none."""


class _HttpHandler(http.server.BaseHTTPRequestHandler):
    server: HttpServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        if path in self.server.answers:
            self.server.answers[path](self)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def file(data: bytes, kind: str = "video/mp4") -> Callable[[Any], None]:
    """A file, with its length."""

    def answer(request: Any) -> None:
        _head(request, kind, length=len(data))
        request.wfile.write(data)

    return answer


def live(data: bytes, kind: str = "video/mp2t", *, parts: int = 20, pause_s: float = 0.02) -> Callable[[Any], None]:
    """The same without a length, bit by bit; then the connection ends."""

    def answer(request: Any) -> None:
        _head(request, kind)
        size = -(-len(data) // parts)
        for start in range(0, len(data), size):
            request.wfile.write(data[start : start + size])
            time.sleep(pause_s)

    return answer


def then_silent(first: Callable[[Any], None], seconds: float = 20.0) -> Callable[[Any], None]:
    """What another one sends, and then nothing, while the connection stays."""

    def answer(request: Any) -> None:
        first(request)
        request.server.silence.wait(seconds)

    return answer


def motion_jpeg(pictures: list[bytes], pause_s: float) -> Callable[[Any], None]:
    """Pictures one after the other, as webcams send them."""

    def answer(request: Any) -> None:
        _head(request, "multipart/x-mixed-replace; boundary=frame")
        for picture in pictures:
            request.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
            request.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture))
            time.sleep(pause_s)

    return answer


def redirect(place: str) -> Callable[[Any], None]:
    """Another place."""

    def answer(request: Any) -> None:
        request.send_response(302)
        request.send_header("Location", place)
        request.end_headers()

    return answer


def one_after_the_other(*answers: Callable[[Any], None]) -> Callable[[Any], None]:
    """Another answer to each request; the last one refuses them all."""
    left = list(answers)

    def answer(request: Any) -> None:
        if left:
            left.pop(0)(request)
        else:
            request.send_error(503)

    return answer


def _head(request: Any, kind: str, length: int | None = None) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    if length is not None:
        request.send_header("Content-Length", str(length))
    request.end_headers()


class RtspServer(socketserver.ThreadingTCPServer):
    """RTSP (RFC 2326) of the least: one MPEG-TS in RTP, interleaved with the answers, and then the connection ends."""

    daemon_threads, block_on_close, allow_reuse_address = True, False, True

    def __init__(self, transport_stream: bytes, pause_s: float = 0.005) -> None:
        super().__init__(("127.0.0.1", 0), _RtspHandler)
        self.stream, self.pause_s, self.plays = transport_stream, pause_s, 0

    def url(self, user: str = "") -> str:
        """The stream's address."""
        return f"rtsp://{user}127.0.0.1:{self.server_address[1]}/stream"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is none."""


class _RtspHandler(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        while request := self._request():
            method, headers = request
            if method == "DESCRIBE":
                text = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                )
                self._answer(headers, text, "Content-Type: application/sdp")
            elif method == "SETUP":
                self._answer(headers, "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1")
            elif method == "PLAY":
                self._answer(headers, "", "Session: 1")
                self.server.plays += 1
                self._play()
                self.connection.shutdown(socket.SHUT_WR)
                self.rfile.read()  # closed before the client has spoken to its end, it would lose what it has not read
                return
            else:
                self._answer(headers, "", "Public: DESCRIBE, SETUP, PLAY, TEARDOWN")

    def _request(self) -> tuple[str, dict[str, str]] | None:
        first, headers = self.rfile.readline().decode(), {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return (first.split()[0], headers) if first.strip() else None

    def _answer(self, request: dict[str, str], text: str, *headers: str) -> None:
        lines = ["RTSP/1.0 200 OK", f"CSeq: {request.get('cseq', '0')}", *headers, f"Content-Length: {len(text)}"]
        self.wfile.write(("\r\n".join(lines) + f"\r\n\r\n{text}").encode())

    def _play(self) -> None:
        size = 7 * _TS_PACKET
        for number, start in enumerate(range(0, len(self.server.stream), size)):
            data = self.server.stream[start : start + size]
            packet = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 900, 1) + data
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            time.sleep(self.server.pause_s)


@contextmanager
def serving(server: HttpServer | RtspServer) -> Iterator[Any]:
    """The server, at work in a thread."""
    server.silence = threading.Event()  # type: ignore[union-attr]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silence.set()  # type: ignore[union-attr]
        server.shutdown()
        thread.join()
        server.server_close()
