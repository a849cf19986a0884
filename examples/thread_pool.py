"""One Aligner for several threads: python examples/thread_pool.py PICTURE..."""

import sys
from concurrent.futures import ThreadPoolExecutor

from facealign_cli import Aligner, Face, InputError

aligner = Aligner(threads=1)  # threads within the network; the pool's come on top of it


def align(path: str) -> list[Face] | InputError:
    """The faces of a file, or why there are none."""
    try:
        return aligner.align(path)
    except InputError as error:
        return error


with ThreadPoolExecutor(4) as pool:
    for path, found in zip(sys.argv[1:], pool.map(align, sys.argv[1:]), strict=True):
        print(path, found)
