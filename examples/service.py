"""An HTTP service: POST a picture, get its faces as JSON. Needs pip install 'facealign[review]' (Starlette, uvicorn).

    python examples/service.py [--port 8000] [--workers 2]
    curl --data-binary @photo.jpg http://127.0.0.1:8000/faces

It listens on this machine alone and asks nobody who they are: put a proxy with TLS and a login in front of it. Every
request is bounded in bytes, pixels and time, and there is only so much work at once, so that memory stays bounded, too.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from facealign_cli import Aligner, FrameResult, InputError, decode_image

MAX_BYTES = 20 << 20  # of a picture's file
MAX_PIXELS = 50_000_000
MAX_REQUESTS = 16  # at once, waiting ones too; more are told to come back later
BODY_SECONDS = 20.0  # in which a client has to send its picture


class Service:
    """Places landmarks for several requests at once. workers: pictures that are worked on at a time."""

    def __init__(self, aligner: Aligner, workers: int) -> None:
        self._aligner, self._pool, self._requests = aligner, ThreadPoolExecutor(workers), 0

    async def faces(self, request: Request) -> Response:
        """One record, as `facealign detect image` writes it into `results`."""
        if self._requests >= MAX_REQUESTS:
            raise HTTPException(503, "too many requests at once: try again later", {"Retry-After": "1"})
        self._requests += 1
        try:
            data = await asyncio.wait_for(self._body(request), BODY_SECONDS)
            record = await asyncio.get_running_loop().run_in_executor(self._pool, self._record, data)
        except TimeoutError:
            raise HTTPException(408, f"the picture did not arrive within {BODY_SECONDS:g} s") from None
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        finally:
            self._requests -= 1
        return JSONResponse(record)

    @staticmethod
    async def _body(request: Request) -> bytes:
        """What is too long is read to its end all the same, and dropped: else the client would not read the answer."""
        data, length = bytearray(), 0
        async for part in request.stream():
            length += len(part)
            if length <= MAX_BYTES:
                data += part
        if length > MAX_BYTES:
            raise HTTPException(413, f"a picture may have up to {MAX_BYTES >> 20} MiB")
        return bytes(data)

    def _record(self, data: bytes) -> dict[str, Any]:
        image = decode_image(data, max_pixels=MAX_PIXELS)
        height, width = image.shape[:2]
        model, detector = self._aligner.model, self._aligner.detector
        used = {"model": model.name, "provider": model.provider, "detector": detector.name}
        faces = self._aligner.align(image)
        return FrameResult.of_faces("picture", faces, width=width, height=height, **used).to_dict()


def application(workers: int) -> Starlette:
    """The service with the default model and detector."""

    def refused(_request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    route = Route("/faces", Service(Aligner(), workers).faces, methods=["POST"])
    return Starlette(routes=[route], exception_handlers={HTTPException: refused})


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--workers", type=int, default=2, help="pictures worked on at a time")
    given = parser.parse_args()
    uvicorn.run(application(given.workers), host="127.0.0.1", port=given.port, limit_concurrency=4 * MAX_REQUESTS)


if __name__ == "__main__":
    main()
