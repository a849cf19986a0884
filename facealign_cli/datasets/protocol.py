"""The sets of the 300-W protocol: which folders they are made of and how many faces each holds.

Source: Sagonas et al., "300 Faces in-the-Wild Challenge" (2013, 2016), and the split that Ren et al., "Face
Alignment at 3000 FPS" (CVPR 2014) introduced and everyone has used since.
"""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath

FOLDER_SIZES: dict[str, int] = {
    "lfpw/testset": 224,
    "helen/testset": 330,
    "ibug": 135,
    "300W/01_Indoor": 300,
    "300W/02_Outdoor": 300,
    "lfpw/trainset": 811,
    "helen/trainset": 2000,
    "afw": 337,
}
"""Folder → annotated faces, in the order in which they are shown."""

TRAINING_FOLDERS = ("lfpw/trainset", "helen/trainset", "afw")

TEST_SETS: dict[str, tuple[str, ...]] = {
    "full": ("lfpw/testset", "helen/testset", "ibug"),
    "common": ("lfpw/testset", "helen/testset"),
    "challenging": ("ibug",),
    "private": ("300W/01_Indoor", "300W/02_Outdoor"),
}
"""Name of a test set → its folders."""


TEST_FOLDERS = frozenset(folder for folders in TEST_SETS.values() for folder in folders)
"""The folders on which no model is trained."""


def protocol_folder(folder: PurePath) -> str | None:
    """The protocol's name of a folder, by the end of its path and whatever its case; None for another folder."""
    parts = [part.lower() for part in folder.parts]
    for name in FOLDER_SIZES:
        wanted = name.lower().split("/")
        if parts[-len(wanted) :] == wanted:
            return name
    return None


def folder_of(name: str, image_path: PurePath) -> str:
    """The folder under which a sample is shown: the protocol's name, else its own below the root, "" at the root."""
    own = PurePosixPath(name).parent.as_posix()
    return protocol_folder(image_path.parent) or ("" if own == "." else own)


def expected_size(folders: tuple[str, ...]) -> int | None:
    """How many faces the protocol has in these folders; None where it does not know one of them."""
    sizes = [FOLDER_SIZES.get(folder) for folder in folders]
    return None if None in sizes else sum(size or 0 for size in sizes)


def sets_of(present: set[str]) -> dict[str, tuple[str, ...]]:
    """The sets to show for these folders, name → folders.

    First the test sets that have a folder here, or where there is none, "all"; then every folder that is no set itself.
    """
    sets = {name: folders for name, folders in TEST_SETS.items() if present & set(folders)}
    ordered = [folder for folder in FOLDER_SIZES if folder in present] + sorted(present - set(FOLDER_SIZES))
    if not sets and (len(present) > 1 or present == {""}):
        sets["all"] = tuple(ordered)
    single = {folders[0] for folders in sets.values() if len(folders) == 1}
    return sets | {folder or "(root)": (folder,) for folder in ordered if folder not in single}


def title_of(name: str, folders: tuple[str, ...], n: int, *, held_out: bool = False, count: bool = True) -> str:
    """What a set of `n` faces may be called: by its name alone only if it is the whole set.

    held_out: of folders that are no test sets, only held-out faces are wanted. count: with the numbers of faces.
    """
    expected = expected_size(folders)
    if held_out and not TEST_FOLDERS.issuperset(folders):
        return f"{name} (held-out)"
    if name == "all" or expected in (None, n):
        return name
    numbers = f": {n} of {expected}" if count else ""
    return f"{name} ({'incomplete' if n < (expected or 0) else 'too many'}{numbers})"
