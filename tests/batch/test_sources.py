"""Which pictures are found, whatever their folders and names are like."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facealign_cli.batch import sources as sources_module
from facealign_cli.batch.sources import Sources
from facealign_cli.errors import FormatError, InputError, MissingDependency
from facealign_cli.files.storage import Entry, LocalStorage
from facealign_cli.formats.base import write_results
from facealign_cli.records import FrameResult


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(
    *places: object, told: list[str] | None = None, noted: list[str] | None = None, **options: object
) -> list[str]:
    sources = Sources(tuple(map(str, places)), **options)  # type: ignore[arg-type]
    sources.check()
    return sorted(sources.paths(*((lines if lines is not None else []).append for lines in (told, noted))))


def names(paths: list[str], root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in paths]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tree(tmp_path, "a.jpg", "B.PNG", "notes.txt", ".hidden.jpg", "sub/c.jpg", "sub/deep/d.webp", ".git/e.jpg")


def test_a_folder(folder: Path) -> None:
    assert names(found(folder), folder) == ["B.PNG", "a.jpg"]
    assert names(found(folder, recursive=True), folder) == ["B.PNG", "a.jpg", "sub/c.jpg", "sub/deep/d.webp"]
    assert names(found(folder, recursive=True, glob="*.txt"), folder) == ["notes.txt"]
    assert found(folder / "notes.txt") == [str(folder / "notes.txt")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "sub/c.jpg"]),
        ("*/*.jpg", ["sub/c.jpg"]),
        ("sub/**", ["sub/c.jpg", "sub/deep/d.webp"]),
        ("[aB].???", ["B.PNG", "a.jpg"]),
        ("[!a].*", ["B.PNG"]),
        ("nothing*", []),
        ("[z-a]*.jpg", []),
        ("[]*.jpg", []),
        ("[", []),
        ("[a-]*.jpg", ["a.jpg"]),
        ("[!z-a].*", ["B.PNG", "a.jpg"]),
    ],
)
def test_globs(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(found(folder / pattern), folder) == expected


def test_a_glob_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("*.jpg") == ["a.jpg"]
    assert found("su*/*.jpg") == ["sub/c.jpg"]


class BackslashStorage(LocalStorage):
    """Files whose paths have backslashes, as on Windows."""

    def kind(self, path: str) -> str:
        return super().kind(path.replace("\\", "/"))

    def scan(self, folder: str) -> Iterator[Entry]:
        for entry in super().scan(folder.replace("\\", "/")):
            yield Entry(entry.path.replace("/", "\\"), entry.is_folder, entry.identity)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_globs_with_either_separator(folder: Path, monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    monkeypatch.setattr(sources_module, "storage_for", lambda _: BackslashStorage())
    monkeypatch.setattr(os, "sep", "\\")
    root = str(folder).replace("/", separator)
    for pattern, expected in (("sub/*.jpg", ["sub/c.jpg"]), ("*/**", ["sub/c.jpg", "sub/deep/d.webp"])):
        paths = found(f"{root}{separator}{pattern.replace('/', separator)}")
        assert [path.replace("\\", "/") for path in paths] == [f"{folder}/{name}" for name in expected]
    monkeypatch.chdir(folder)
    assert found("*.jpg") == ["a.jpg"]


def test_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    tree(tmp_path, "a[1].jpg")
    assert found(tmp_path / "a[1].jpg") == [str(tmp_path / "a[1].jpg")]


def test_pictures_only_further_down_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    assert found(tree(tmp_path, "x/a.jpg"), told=told) == []
    assert "1 folders; --recursive looks into them" in told[0]


def test_a_loop_of_links(folder: Path) -> None:
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "self.jpg").symlink_to("self.jpg")
    told: list[str] = []
    noted: list[str] = []
    assert len(found(folder, recursive=True, told=told, noted=noted)) == 5  # self.jpg is one that cannot be read
    assert told == []
    assert noted[1:] == [
        "1 link to folders not followed, since what they lead to is read anyway, or lies above: "
        f"{folder / 'sub' / 'loop'}"
    ]


@pytest.mark.parametrize("how", ["{}", "{}/**", "file://{}"])
def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path, how: str) -> None:
    """What else lies above was not meant."""
    source = tree(tmp_path, "upper/other.jpg", "upper/src/a.jpg", "upper/src/sub/b.jpg", "last.jpg") / "upper" / "src"
    for name, target in (("up", source.parent), ("sub/top", "/"), ("sub/self", source)):
        (source / name).symlink_to(target)
    noted: list[str] = []
    paths = found(how.format(source), recursive=True, noted=noted)
    assert [path.rpartition("src/")[2] for path in paths] == ["a.jpg", "sub/b.jpg"]
    assert noted[0].startswith("3 links to folders not followed, since what they lead to is read anyway, or lies above")


def test_every_folder_is_read_once_by_the_name_that_is_no_link(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tree(tmp_path_factory.mktemp("other"), "in/y.jpg", "z.jpg")
    for name, target in (("0", "sub"), ("1", other / "in"), ("2", other), ("3", other)):
        (folder / name).symlink_to(target)
    (other / "back").symlink_to(folder)
    noted: list[str] = []
    assert names(found(folder, recursive=True, noted=noted), folder) == [
        "1/y.jpg",
        "2/z.jpg",
        "B.PNG",
        "a.jpg",
        "sub/c.jpg",
        "sub/deep/d.webp",
    ]
    assert noted[1].startswith("3 links to folders not followed")


@pytest.mark.parametrize("deep", [True, False])
def test_a_link_to_a_picture_counts_where_the_picture_itself_is_not_found(
    folder: Path, deep: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tree(tmp_path_factory.mktemp("other"), "z.jpg")
    for name, target in (
        ("again.jpg", "a.jpg"),
        ("below.jpg", "sub/c.jpg"),
        ("hidden.jpg", ".git/e.jpg"),
        ("named.jpg", "notes.txt"),
        ("other.jpg", other / "z.jpg"),
        ("gone.jpg", "nothing.jpg"),
        ("sub/up.jpg", "../a.jpg"),
    ):
        (folder / name).symlink_to(target)
    noted: list[str] = []
    paths = names(found(folder, recursive=deep, noted=noted), folder)
    expected = {"B.PNG", "a.jpg", "hidden.jpg", "named.jpg", "other.jpg", "gone.jpg"}
    assert set(paths) == expected | ({"sub/c.jpg", "sub/deep/d.webp"} if deep else {"below.jpg"})
    count = "3 links" if deep else "1 link"
    assert noted[1].startswith(f"{count} passed over, since the files that they lead to are taken: ")
    assert names(found(folder / "*.jpg"), folder) == sorted(
        ["a.jpg", "below.jpg", "hidden.jpg", "named.jpg", "other.jpg", "gone.jpg"]
    )


def test_links_behind_a_url_of_local_files_are_known_as_those_of_a_path(folder: Path) -> None:
    pytest.importorskip("fsspec", reason="URLs need fsspec: pip install 'facealign[cloud]'")
    (folder / "again.jpg").symlink_to("a.jpg")
    url, noted = folder.as_uri(), list[str]()
    assert found(url, noted=noted) == [f"{url}/B.PNG", f"{url}/a.jpg"]
    assert noted[1].endswith(f"since the files that they lead to are taken: {url}/again.jpg")
    assert found(f"{url}/*.jpg") == [f"{url}/a.jpg"]
    for place, skip in ((url, str(folder / "sub")), (str(folder), f"{url}/sub")):
        assert len(found(place, recursive=True, skip=(skip,))) == 2


def test_a_linked_folder_is_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tree(tmp_path_factory.mktemp("other"), "z.jpg")
    (folder / "link").symlink_to(other)
    assert "link/z.jpg" in names(found(folder, recursive=True), folder)


def test_a_folder_without_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    told: list[str] = []
    assert names(found(folder, recursive=True, told=told), folder) == ["B.PNG", "a.jpg"]
    assert told == [f"{folder}/sub: no permission: nothing in this folder was read"]


def test_odd_names(tmp_path: Path) -> None:
    odd = ["new\nline.jpg", "-dash.jpg", "=eq.jpg", "<script>.jpg", "caf\udcff.jpg"]
    for name in odd:
        Path(tmp_path, name).touch()
    assert names(found(tmp_path), tmp_path) == sorted(odd)


def test_skipped_folders(folder: Path) -> None:
    assert names(found(folder, recursive=True, skip=(f"{folder}/sub/deep",)), folder) == ["B.PNG", "a.jpg", "sub/c.jpg"]


def test_what_is_made_does_not_come_back_as_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree(tmp_path, "src/a.jpg", "src/sub/b.jpg"))
    (tmp_path / "link").symlink_to("src")
    refused = [
        (".", ".", False),
        ("src", ".", False),  # what is made of src/a.jpg would be ./src/a.jpg.jpg
        ("src/*.jpg", ".", False),
        ("src/**/*.jpg", "src", False),
        ("src", "src", True),
        ("src", "src/sub/..", True),
        ("link", ".", False),  # goes to ./link, which is ./src
    ]
    fine = [
        ("src", "src", False),  # goes to src/src, which is not looked into
        ("src", "src/drawn", True),  # is passed over
        ("src/*.jpg", "src", False),
        ("src", "drawn", True),
        ("src/a.jpg", ".", False),
    ]
    for place, folder, deep in refused:
        with pytest.raises(InputError, match="name a folder apart"):
            Sources(place, recursive=deep).check_apart([folder])
    for place, folder, deep in fine:
        Sources(place, recursive=deep).check_apart([folder])


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, nulls, table, parquet = (tmp_path / name for name in ("l.txt", "n", "t.csv", "p.parquet"))
    lines.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\n../b.jpg\n/c\xff.jpg")
    nulls.write_bytes(b"new\nline\0b\0")
    table.write_text('id,Path\n1,a.jpg\n2,"x,\ny.jpg"\n3,\n')
    pq.write_table(pa.table({"k": [1, 2], "url": ["s3://a", None]}), parquet)
    assert found(lists=(str(lines),)) == ["../b.jpg", "/c\udcff.jpg", "a.jpg"]
    assert found(lists=(str(nulls),), null=True) == ["b", "new\nline"]
    assert found(lists=(str(table),)) == ["a.jpg", "x,\ny.jpg"]
    assert found(lists=(str(table),), column="id") == ["1", "2", "3"]
    assert found(lists=(str(parquet),)) == ["s3://a"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\ny")))
    assert found("-") == ["x", "y"]


@pytest.mark.parametrize("first", ["img/a.JPG", "clip.mp4", "s3://bucket/a", "there", "a;b.jpg", "name"])
def test_a_single_column_without_a_name_loses_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("there", "a;b.jpg", "image"):
        Path(file).touch()
    for begin, rest in (("", ["b.jpg"]), ("", []), ("\ufeff", [])):
        Path("list.csv").write_text(begin + "\n".join([first, *rest]), "utf-8")
        assert found(lists=("list.csv",)) == sorted([*([] if first == "name" else [first]), *rest])
        assert found(lists=("list.csv",), column=first) == rest
    Path("list.csv").write_text("image\nb.jpg\n")
    assert found(lists=("list.csv",)) == ["b.jpg"]


@pytest.mark.parametrize("fmt", ["csv", "parquet"])
def test_a_table_of_faces_names_its_pictures(tmp_path: Path, fmt: str) -> None:
    odd = ["-a.jpg", "=b.jpg", r"c\udcff.jpg", "d\udcff.jpg"]
    write_results(tmp_path / f"rows.{fmt}", [FrameResult(name, "no_face") for name in odd])
    assert found(lists=(str(tmp_path / f"rows.{fmt}"),)) == odd


def test_a_long_list_is_not_cut(tmp_path: Path) -> None:
    paths = sorted(f"{i:06d}{'x' * (i % 50)}.jpg" for i in range(9000))
    (tmp_path / "l").write_text("\n".join(paths))
    assert found(lists=(str(tmp_path / "l"),)) == paths


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"a,b\n1,2\n", "no column path"),
        ("p.parquet", b"PAR1", "not a Parquet file"),
        ("l.txt", b"a\0b\n", "--null"),
        ("t.csv", b"path;x\na.jpg;1\n", "separated by semicolons or tabs; save it with commas"),
        ("t.csv", b"img/0001\nimg/0002\n", "first line 'img/0001' may be .* say --column img/0001; .* a line 'path'"),
        ("t.csv", b"a.heic\nb.heic\n", "first line 'a.heic' may be the column's name or a path"),
        ("l.txt", "a.jpg\n".encode("utf-16"), "the list is in UTF-16: save it as UTF-8"),
    ],
)
def test_lists_that_will_not_do(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=words):
        found(lists=(str(tmp_path / name),))


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for sources in (Sources(("-",)), Sources(lists=("-",))):
        with pytest.raises(InputError, match=r"standard input .* is closed"):
            list(sources.paths(str))


def test_what_is_not_there() -> None:
    for sources in (Sources(("/nowhere",)), Sources((), ("/nowhere*",))):
        with pytest.raises(InputError, match="no such file"):
            sources.check()
    with pytest.raises(InputError, match="once"):
        Sources(("-",), ("-",)).check()


def test_a_url_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependency, match=r"facealign\[cloud\]"):
        Sources(("s3://bucket/a",)).check()


def test_a_password_in_a_list_goes_nowhere(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nsftp://me:hunter2@host/b.jpg\nsftp://me@host/c.jpg\n")
    told: list[str] = []
    paths = list(Sources(lists=(str(tmp_path / "list.txt"),)).paths(told.append))
    assert paths == ["a.jpg", "sftp://me@host/c.jpg"]
    assert len(told) == 1 and told[0].startswith("sftp://me:***@host/b.jpg: left out") and "hunter2" not in told[0]
