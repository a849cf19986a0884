"""The held-out split of the training faces: fixed, by photo, and derived from names alone.

A tenth of the photos is held out: those whose SHA-1 of "dataset/photo" is divisible by ten. All faces of a photo
fall on the same side; so do rough labels of the same photo in another folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

HELD_OUT_SHARE = 10
"""One photo in so many is held out."""

_SEVERAL_FACES_A_PHOTO = ("afw", "helen", "ytf", "caltech", "lfw")


def photo_key(dataset: str, stem: str) -> str:
    """The photo that a face comes from: "afw/1051618982" for `1051618982_1` in AFW and HELEN, else the whole stem.

    So in `caltech`. In `lfw` and `ytf` it is the person: `Name_Surname_42` is a frame of one of several clips of them.
    In `fgnet` too: `001a02` is person 001 at the age of 2.

    A mirrored copy, `NAME_mirror` in the organisers' files, comes from the photo of NAME.
    """
    stem = stem.removesuffix("_mirror")
    photo = re.sub(r"_\d+$", "", stem) if dataset in _SEVERAL_FACES_A_PHOTO else stem
    if dataset == "fgnet":
        photo = stem[:3]
    return f"{dataset}/{photo}"


def is_held_out(key: str) -> bool:
    """Whether the photo belongs to the held-out split and must not be trained on."""
    return photo_number(key) % HELD_OUT_SHARE == 0


def photo_to_hold_out(photos: Iterable[str]) -> str | None:
    """Of a small set, in which no photo is held out by its name: the one whose number is least.

    A training needs faces that it does not see. photos: the keys of the photos with labels made by hand. None where
    some are held out, or there is but one photo.
    """
    keys = set(photos)
    if len(keys) < 2 or any(is_held_out(key) for key in keys):
        return None
    return min(keys, key=photo_number)


def photo_number(key: str) -> int:
    """The number from which the split follows, the SHA-1 of the photo's key."""
    return int(hashlib.sha1(key.encode()).hexdigest(), 16)
