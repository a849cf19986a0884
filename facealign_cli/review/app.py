"""The review's web server: pages and JSON for one person on this machine, and nobody else.

Every address begins with a random token. A request is refused unless its Host is this server's, its Origin, where it
has one, too, and its body short. No address holds a path: pictures are numbers, and only files in the review's folder
are shown. The page may load nothing from elsewhere (Content-Security-Policy).
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np

from facealign_cli.aligner import Aligner
from facealign_cli.arrays import Image
from facealign_cli.boxes import BBox, BoxCalibration, Detection
from facealign_cli.errors import FacealignError, InputError, MissingDependency, OutputError
from facealign_cli.files.documents import parse_json
from facealign_cli.formats.codec import face_from_dict, face_to_dict
from facealign_cli.landmarks import CONTOURS, GROUPS, POINT_NAMES
from facealign_cli.review.pictures import Shown
from facealign_cli.review.session import STATES, Picture, Session, StaleError

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise MissingDependency("review", "starlette", "review") from error

MAX_BODY, MAX_READ = 2 << 20, 16 << 20
"""Bytes that a request may send (a hundred faces are less), and how many are read of a longer one before its answer."""

_ASSETS = {"": "index.html", "review.css": "review.css"} | {
    name: name for name in ("icon.svg", "review.js", "api.js", "view.js", "faces.js", "list.js")
}
_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _DrawnBoxes:
    """Stands where a detector would: the boxes are drawn by hand, around the points themselves."""

    name = "drawn"
    calibration = BoxCalibration()

    def detect(self, image: Image, source: str | None = None) -> list[Detection]:
        """No face: nothing is detected."""
        return []


def drawn_aligner(model: str | None, device: str, threads: int) -> Aligner:
    """An Aligner for boxes that are drawn by hand. Raises as `Aligner` does."""
    return Aligner(model, _DrawnBoxes(), device=device, threads=threads)


class _Json(JSONResponse):
    """JSON in ASCII: a name whose bytes are no UTF-8 has lone surrogates, which UTF-8 cannot hold."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ReviewServer:
    """Serves a session on 127.0.0.1.

    port: 0 takes a free one. make_aligner: places points in a box that somebody draws; called when first needed.
    Raises OutputError where the port is taken.
    """

    def __init__(self, session: Session, make_aligner: Callable[[], Aligner], port: int = 0) -> None:
        self.session, self._make_aligner = session, make_aligner
        self._aligner: Aligner | None = None
        self._server: Any = None
        self.token, self._shown = secrets.token_urlsafe(18), Shown()
        self.socket = socket.socket()
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("127.0.0.1", port))
            self.socket.listen(128)  # whoever opens the address before `run` waits for it
        except OSError as error:
            self.socket.close()
            raise OutputError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/{self.token}/"
        self._hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        self.app = Starlette(
            routes=[
                Route("/{token}/", self._guarded(self._asset)),
                Route("/{token}/static/{name}", self._guarded(self._asset)),
                Route("/{token}/api/pictures", self._guarded(self._list)),
                Route("/{token}/api/pictures/{number:int}", self._guarded(self._get)),
                Route("/{token}/api/pictures/{number:int}", self._guarded(self._put), methods=["PUT"]),
                Route("/{token}/api/pictures/{number:int}/place", self._guarded(self._place), methods=["POST"]),
                Route("/{token}/picture/{number:int}", self._guarded(self._picture)),
                Route("/{token}/thumbnail/{number:int}", self._guarded(self._thumbnail)),
            ],
            exception_handlers={404: _not_found, 405: _not_found},
        )
        self.app.router.redirect_slashes = False

    def run(self) -> None:
        """Serve until Ctrl-C, or until `stop`."""
        import uvicorn

        config = uvicorn.Config(
            self.app, log_level="error", lifespan="off", access_log=False, server_header=False, timeout_keep_alive=5
        )
        self._server = uvicorn.Server(config)
        try:
            self._server.run(sockets=[self.socket])
        finally:
            self.socket.close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        if self._server is not None:
            self._server.should_exit = True

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler behind every check, with errors as JSON and the headers that fence the page in."""

        async def guarded(request: Request) -> Response:
            try:
                self._check(request)
                response = await answer(request)
            except _Refused as error:  # the connection is closed, so that no more of a long body is taken
                response = _Json({"error": str(error)}, error.status, {"Connection": "close"})
            except StaleError as error:
                response = _Json({"error": str(error)}, 409)
            except OutputError as error:
                response = _Json({"error": str(error)}, 507)
            except FacealignError as error:
                response = _Json({"error": str(error)}, 422)
            response.headers.update(_HEADERS)
            return response

        return guarded

    def _check(self, request: Request) -> None:
        if request.headers.get("host", "") not in self._hosts:
            raise _Refused(403, "another host")
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            raise _Refused(403, "another origin")
        if not hmac.compare_digest(request.path_params["token"].encode(), self.token.encode()):
            raise _Refused(403, "no token, or another one: open the address that the command printed")

    async def _asset(self, request: Request) -> Response:
        name = _ASSETS.get(request.path_params.get("name", ""))
        if name is None:
            raise _Refused(404, "no such page")
        content = files("facealign_cli.review").joinpath("static", name).read_bytes()
        return Response(content, headers={"Content-Type": _TYPES[name.rpartition(".")[2]]})

    async def _list(self, _request: Request) -> Response:
        scheme = {"names": POINT_NAMES, "groups": GROUPS, "contours": CONTOURS}
        rows = [_summary(i, picture) for i, picture in enumerate(self.session.pictures)]
        return _Json({"scheme": scheme, "pictures": rows, "side_file": str(self.session.side_file)})

    def _found(self, request: Request) -> tuple[int, Picture]:
        number = request.path_params["number"]
        if number >= len(self.session.pictures):
            raise _Refused(404, "no such picture")
        return number, self.session.pictures[number]

    def _inside(self, picture: Picture) -> Picture:
        if not self.session.inside(picture):
            raise _Refused(403, f"{picture.name} lies outside of {self.session.root}")
        return picture

    async def _get(self, request: Request) -> Response:
        number, picture = self._found(request)
        self._inside(picture)
        if not picture.result.width and picture.result.status != "error":
            with contextlib.suppress(InputError):  # the page asks for the picture, too, and is told why there is none
                height, width = (await run_in_threadpool(self._shown.read, picture.path)).shape[:2]
                self.session.resized(number, width, height)
                picture = self.session.pictures[number]
        return _Json(_whole(number, picture))

    async def _put(self, request: Request) -> Response:
        number, _ = self._found(request)
        body = await _body(request)
        try:
            state, revision = body["state"], body["revision"]
            faces = [replace(face_from_dict(face, i), face_id=i) for i, face in enumerate(body["faces"])]
            if state not in STATES or not isinstance(revision, int) or len(faces) > 1000:
                raise ValueError("expected a state, a revision and up to 1,000 faces")
        except (KeyError, TypeError, ValueError) as error:
            raise _Refused(400, f"not a step: {error}") from error
        after = await run_in_threadpool(self.session.step, number, revision, state, faces)
        return _Json(_summary(number, after))

    async def _place(self, request: Request) -> Response:
        _, picture = self._found(request)
        body = await _body(request)
        try:
            box = BBox(*body["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            raise _Refused(400, f"not a box: {error}") from error
        face = await run_in_threadpool(self._face_in, self._inside(picture), box)
        return _Json(face)

    def _face_in(self, picture: Picture, box: BBox) -> dict[str, Any]:
        self._aligner = self._aligner or self._make_aligner()
        (face,) = self._aligner.align_boxes(self._shown.read(picture.path), [Detection(box)])
        if not np.isfinite(face.landmarks).all():
            raise InputError("the model found no points in this box")
        return face_to_dict(face)

    async def _picture(self, request: Request) -> Response:
        _, picture = self._found(request)
        size = picture.result.width, picture.result.height
        data = await run_in_threadpool(self._shown.picture, self._inside(picture).path, *size)
        return Response(data, headers={"Content-Type": "image/jpeg"})

    async def _thumbnail(self, request: Request) -> Response:
        _, picture = self._found(request)
        data = await run_in_threadpool(self._shown.thumbnail, self._inside(picture).path)
        return Response(data, headers={"Content-Type": "image/jpeg"})


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; no more of a long body is kept than the limit.

    A body that is too long is read to its end before it is refused: a connection that is closed earlier is reset, and
    the page would not see why. One that is longer by far is not waited for.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_READ:
        raise _Refused(413, f"more than {MAX_BODY} bytes")
    data, n_bytes = bytearray(), 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes <= MAX_BODY:
            data += part
        if n_bytes > MAX_READ:
            break
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise _Refused(415, "expected JSON")
    if n_bytes > MAX_BODY:
        raise _Refused(413, f"more than {MAX_BODY} bytes")
    try:
        value = parse_json(bytes(data))
    except ValueError as error:
        raise _Refused(400, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _Refused(400, "expected an object")
    return value


def _not_found(_request: Request, _error: Exception) -> Response:
    return _Json({"error": "no such page"}, 404, headers=_HEADERS)


def _summary(number: int, picture: Picture) -> dict[str, Any]:
    result = picture.result
    return {
        "number": number,
        "name": picture.name,
        "state": picture.state,
        "revision": picture.revision,
        "faces": len(result.faces),
        "score": round(picture.score, 3),
        "confidence": round(min((face.confidence for face in result.faces), default=0.0), 3),
        "error": result.error,
        "by": picture.by,
    }


def _whole(number: int, picture: Picture) -> dict[str, Any]:
    result = picture.result
    size = {"width": result.width, "height": result.height}
    return {**_summary(number, picture), **size, "faces": [face_to_dict(face) for face in result.faces]}
