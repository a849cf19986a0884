"""Files appear whole or not at all, and replace nothing unasked."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from facealign_cli.errors import OutputError
from facealign_cli.files import output
from facealign_cli.files.output import (
    atomic_path,
    atomic_write,
    check_output,
    make_folder,
    safe_stem,
    safe_tree,
    write_bytes,
)


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".facealign")]


def test_writes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as stream:
        stream.write(b"one")
        assert not (tmp_path / "a.txt").exists()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"one"


def test_the_new_file_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_refuses_to_replace_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with pytest.raises(OutputError, match=r"a\.txt exists already"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), atomic_write(tmp_path / "a") as stream:
        stream.write(b"mine")
        (tmp_path / "a").write_bytes(b"theirs")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error), atomic_write(tmp_path / "a", overwrite=True) as stream:
        stream.write(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_the_disk_is_full(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a: the disk is full"), atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_body_are_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        open(tmp_path / "input").close()


@pytest.mark.parametrize(
    ("name", "text"),
    [("no/a", "does not exist"), ("file/a", "not a folder"), ("folder", "is a folder"), ("a\0b", "null")],
)
def test_says_why_a_place_cannot_be_written(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=text):
        check_output(tmp_path / name)
    with pytest.raises(OutputError, match=text):
        write_bytes(tmp_path / name, b"", overwrite=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            write_bytes(tmp_path / "a", b"")
    finally:
        tmp_path.chmod(0o700)


def test_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_devices_and_pipes_are_written_directly(tmp_path: Path) -> None:
    write_bytes(os.devnull, b"gone")
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join()
    assert got == [b"through"]


def test_a_path_for_other_writers_keeps_its_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / ("n" * 240 + ".h5")) as temporary:
        assert temporary.suffix == ".h5"
        temporary.write_bytes(b"x")
    assert not leftovers(tmp_path)


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError), atomic_path(tmp_path / "a"):
        pass


def test_make_folder(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot make"):
        make_folder(tmp_path / "file" / "b")


@pytest.mark.parametrize("letter", ["é", "日", "😀", "a", "\udcff"])
def test_long_names_are_cut_between_characters(letter: str) -> None:
    for shift in range(4):
        name = "x" * shift + letter * 300
        for cut in (safe_stem(f"{name}.jpg"), *safe_tree(f"folder/{name}.jpg").split("/"), safe_tree(name * 9)):
            assert len(os.fsencode(cut)) <= 200
            assert set(cut.partition("-")[2] or cut) <= {letter, *"xfolder.jpg"}
        assert safe_tree(f"folder/{name}.jpg").endswith(f"{letter}.jpg")


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("a\\b\\c.jpg", "a/b/c.jpg"),
        (".\\a/b.jpg", "a/b.jpg"),
        ("C:\\a\\b.jpg", "_root/_drive_C/a/b.jpg"),
        ("\\a\\b.jpg", "_root/a/b.jpg"),
    ],
)
def test_trees_are_mirrored_on_windows(monkeypatch: pytest.MonkeyPatch, source: str, tree: str) -> None:
    monkeypatch.setattr(output, "_ON_WINDOWS", True)
    assert safe_tree(source) == tree


def test_trees_of_two_sources_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_ON_WINDOWS", True)
    sources = ["C:\\a\\b", "D:\\a\\b", "\\_drive_C\\a\\b", "_root\\_drive_C\\a\\b"]
    sources += ["C:a\\b", "C_\\a\\b", "\\\\host\\a\\b"]
    trees = [safe_tree(source) for source in sources]
    assert len({tree.casefold() for tree in trees}) == len(sources)
    assert not any(part in ("", "..") or ":" in part or "\\" in part for tree in trees for part in tree.split("/"))


@pytest.mark.parametrize("name", ["CON", "nul", "Aux.tar.gz", "com1", "LPT9 ", "COM³", "conin$"])
def test_names_of_devices(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert safe_stem(f"{name}.jpg").startswith("_")
    folder, last = safe_tree(f"{name}/{name}.jpg").split("/")
    assert folder.startswith("_")
    assert last[12:14] == "-_"
    check_output(tmp_path / name)
    monkeypatch.setattr(output, "_ON_WINDOWS", True)
    with pytest.raises(OutputError, match="is the name of a device"):
        check_output(tmp_path / name)
    check_output(tmp_path / f"x{name}.json")
