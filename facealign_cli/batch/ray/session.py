"""Ray itself: connecting to it, or starting it, and keeping it quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from facealign_cli.errors import FacealignError, MissingDependency

_REACH_S = 10.0
_OBJECT_STORE_BYTES = 512 << 20


@dataclass(frozen=True)
class Cluster:
    """What is asked of Ray. address: of a cluster, or None to start one here for the run's time.

    workers: actors; each takes `cpus` processors and `gpus` GPUs. chunk_size: pictures that an actor works on at a
    time. file_rows: at which a file is written. timeout_s: after so long without a finished picture an actor ends
    itself; None: never.
    """

    address: str | None
    workers: int
    cpus: int
    gpus: int
    chunk_size: int
    file_rows: int
    timeout_s: float | None


def connect(cluster: Cluster) -> None:
    """Connect to the cluster, or start one, unless that is done. Raises FacealignError, MissingDependency."""
    ray = import_ray()
    if ray.is_initialized():
        return
    _check_reachable(cluster.address)
    here = {"num_cpus": cluster.workers * cluster.cpus, "object_store_memory": _OBJECT_STORE_BYTES}
    with _environment(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal"), _no_stderr():
        try:
            ray.init(
                address=cluster.address or "local",
                include_dashboard=None if cluster.address else False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **({} if cluster.address else here),
            )
        except Exception as error:  # Ray raises a bare one where it does not start in time
            raise FacealignError(
                f"Ray at {cluster.address or 'this machine'}: {first_line(error)} (a cluster with tokens wants "
                "RAY_AUTH_MODE=token and its token here, too)"
            ) from error


def import_ray() -> Any:
    """The package. Raises MissingDependency."""
    with _environment(RAY_ENABLE_AUTO_CONNECT="0"):  # else a job that is shut down would start a cluster of its own
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingDependency("--engine ray", "ray[data]", "ray") from error
    return ray


def _check_reachable(address: str | None) -> None:
    """Raise FacealignError if nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return  # "auto", or a scheme: Ray knows where that is
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise FacealignError(f"Ray at {address}: {first_line(error)}") from error


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for a while; what the user has set stays."""
    fresh = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            del os.environ[name]


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what Ray's C++ writes to stderr as it starts from the terminal; what goes wrong is raised all the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray Data's messages from the terminal; its log files have them.

    And three warnings: 2.60's of its own settings; of `max_restarts`, which has no other way in (setup.cfg: < 2.64);
    and of a write without any rows, when all workers died.
    """
    known = r"`(use_\w+|ray_remote_args)` is deprecated|The maximum number of concurrent tasks for 'Write'"
    handlers = [h for h in logging.getLogger("ray.data").handlers if isinstance(h, logging.StreamHandler)]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=known)
            yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def first_line(error: BaseException) -> str:
    """An error's first line: Ray's go on for pages."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
