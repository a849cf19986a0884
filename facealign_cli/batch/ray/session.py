"""Connects to Ray, or starts it, and keeps it quiet."""

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
    """What is asked of Ray.

    address: the address of a cluster; None starts one on this machine until the run ends. workers: how many actors
    there are; each takes `cpus` processors and `gpus` GPUs. chunk_size: how many pictures an actor works on at a time.
    file_rows: how many rows a file has. timeout_s: an actor that finishes no picture for so long ends itself; None
    means never.
    """

    address: str | None
    workers: int
    cpus: int
    gpus: int
    chunk_size: int
    file_rows: int
    timeout_s: float | None


def connect(cluster: Cluster) -> None:
    """Connect to the cluster, or start one, unless that was done before. Raises FacealignError, MissingDependency."""
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
    """The package ray. Raises MissingDependency if it is not installed."""
    with _environment(RAY_ENABLE_AUTO_CONNECT="0"):  # else a job that is shut down would start a cluster of its own
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingDependency("--engine ray", "ray[data]", "ray") from error
    return ray


def _check_reachable(address: str | None) -> None:
    """Raise FacealignError if nothing answers at HOST:PORT. Ray itself would go on trying for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return  # "auto", or a scheme: Ray knows where that is
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise FacealignError(f"Ray at {address}: {first_line(error)}") from error


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables while the context lasts, except those that the user has set."""
    fresh = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            del os.environ[name]


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Hide what Ray's C++ code writes to stderr while it starts. Errors are raised all the same."""
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
    """Keep Ray Data's messages off the terminal; they are in its log files.

    Three warnings are hidden, too: that of Ray 2.60 about its own settings; that about `max_restarts`, which cannot be
    given in another way (so setup.cfg asks for < 2.64); and that about writing no rows, after all workers died.
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
    """The first line of an error. Ray's errors are pages long."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
