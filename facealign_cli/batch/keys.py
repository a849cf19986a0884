"""What stands for a picture in memory: 64 bits of its path, and sets of millions of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from facealign_cli.arrays import Bools, Keys
from facealign_cli.files.storage import is_url


def key_of(path: str) -> int:
    """A number of 64 bits that stands for a picture in memory, made of its path.

    Parts of the path that do not change where it leads do not count.

    Two of a million paths share theirs with a probability of 3e-8, two of 1000 million with 3 %.
    """
    as_it_is = is_url(path) or ".." in path or "\0" in path  # some versions of Python cut a path at its NUL there
    plain = path if as_it_is else os.path.normpath(path)
    return int.from_bytes(hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class KeySet:
    """A set of `key_of` numbers that takes about 8 bytes each: sorted arrays, merged when they are of a size."""

    def __init__(self, arrays: Iterable[Keys] = ()) -> None:
        keys = np.concatenate([np.zeros(0, np.uint64), *arrays])
        keys.sort()  # in its place: np.unique would hold three copies of what may be gigabytes
        first = np.ones(len(keys), bool)
        np.not_equal(keys[1:], keys[:-1], out=first[1:])
        keys = keys if first.all() else keys[first]
        self._sorted = [keys] if len(keys) else []

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._sorted)

    def add(self, keys: Keys) -> Bools:
        """Add (N,) keys, and return which of them are new, (N,) bool. Of equal keys, the first is new."""
        new = self.missing(keys)
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, return_index=True)[1]] = True
        new &= first
        self._insert(np.sort(keys[new]))
        return new

    def missing(self, keys: Keys) -> Bools:
        """Which of (N,) keys are not in the set, (N,) bool."""
        absent = np.ones(len(keys), bool)
        for known in self._sorted:
            places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            absent &= known[places] != keys
        return absent

    def _insert(self, keys: Keys) -> None:
        if not len(keys):
            return
        while self._sorted and len(self._sorted[-1]) <= 2 * len(keys):
            keys = np.sort(np.concatenate([self._sorted.pop(), keys]), kind="stable")
        self._sorted.append(keys)
