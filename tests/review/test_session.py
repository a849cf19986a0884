"""The work of a review: order, steps, the side file, and what is exported."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facealign_cli.errors import FormatError, InputError, OutputError
from facealign_cli.formats.base import get_format
from facealign_cli.records import FrameResult, LeftOut
from facealign_cli.review.proposals import read_proposals
from facealign_cli.review.session import Session, StaleError, default_side_file, need_of


def make(rows, tmp_path: Path, **options) -> Session:
    return Session(rows, tmp_path / "photos", tmp_path / "work.jsonl", **options)


def names(session: Session) -> list[str]:
    return [Path(picture.name).stem for picture in session.pictures]


def test_the_worst_come_first(rows, tmp_path: Path) -> None:
    results = rows(0.9, 0.1, 0.4)
    results.append(FrameResult(str(tmp_path / "photos" / "none.jpg"), "no_face"))
    results.append(FrameResult.of_error(str(tmp_path / "photos" / "bad.jpg"), "damaged"))
    assert names(make(results, tmp_path)) == ["p001", "p002", "bad", "none", "p000"]


def test_disagreement_counts_as_a_share_of_the_face(rows, tmp_path: Path, face) -> None:
    results = rows(0.95, 0.9)
    shape = results[0].faces[0].landmarks
    extent = (shape.max(axis=0) - shape.min(axis=0)).max()
    moved = replace(results[0].faces[0], landmarks=shape + np.array([0.3 * extent, 0]))
    other = replace(results[0], faces=(face(9), moved))
    assert need_of(results[0], replace(other, faces=(moved,))) == pytest.approx(0.3)
    assert need_of(results[0], other) == pytest.approx(0.3)  # the nearest face counts
    assert need_of(results[0], replace(other, faces=(moved, replace(face(), face_id=1)))) == pytest.approx(0.05)
    assert need_of(results[0], replace(results[0], status="no_face", faces=())) == 1
    assert names(make(results, tmp_path, other=[replace(other, faces=(moved,))])) == ["p000", "p001"]
    assert names(make(results, tmp_path)) == ["p001", "p000"]


def test_steps_are_kept_and_gone_on_from(rows, tmp_path: Path, face) -> None:
    results = rows(0.9, 0.8)
    session = make(results, tmp_path, by="ann")
    session.open()
    moved = replace(face(), landmarks=face().landmarks + 1, visible=np.arange(68) != 3)
    assert session.step(0, 0, "open", [moved]).revision == 1
    session.step(0, 1, "accepted", [moved, face(1)])
    session.step(1, 0, "skipped", [])
    session.close()
    again = make(results, tmp_path)
    first, second = again.pictures
    assert (first.state, first.revision, first.by, len(first.result.faces)) == ("accepted", 2, "ann", 2)
    np.testing.assert_array_equal(first.result.faces[0].landmarks, moved.landmarks)
    np.testing.assert_array_equal(first.result.faces[0].visible, moved.visible)
    assert (second.state, second.result.status) == ("skipped", "no_face")
    lines = (tmp_path / "work.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[1])["result"]["source"] == "p001.jpg"  # known by its place in the folder


@pytest.mark.parametrize("left", [0, 20, 200])
def test_a_side_file_that_another_program_cuts_is_written_again(rows, tmp_path: Path, face, left: int) -> None:
    session = make(rows(0.9, 0.8), tmp_path)
    session.open()
    session.step(0, 0, "accepted", [face()])
    with (tmp_path / "work.jsonl").open("r+b") as stream:
        stream.truncate(left)
    session.step(1, 0, "skipped", [])
    session.close()
    assert [picture.state for picture in make(rows(0.9, 0.8), tmp_path).pictures] == ["accepted", "skipped"]


def test_a_picture_that_stands_twice_has_all_of_its_faces(rows, tmp_path: Path, face) -> None:
    one, other = rows(0.9, 0.8)
    far = replace(face(), landmarks=face().landmarks + 150)
    again = [replace(one, faces=(far,)), replace(one, faces=(face(),)), replace(one, source="clip.mp4", frame=7)]
    get_format("json").write(tmp_path / "rows.json", [one, other, *again])
    lost: list[LeftOut] = []
    proposals = read_proposals(tmp_path / "rows.json", left_out=lost.append)
    assert [len(result.faces) for result in proposals] == [2, 1]
    assert [(item.name, item.reason) for item in lost] == [
        (f"{one.source}#0", "the same face stands there already"),
        ("clip.mp4, frame 7", "a frame of a clip, and pictures are reviewed"),
    ]


def test_the_folder_may_lie_elsewhere(rows, tmp_path: Path, face, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second person has the same folder under another path."""
    results = rows(0.9)
    session = make(results, tmp_path)
    session.open()
    session.step(0, 0, "accepted", [face()])
    session.close()
    (tmp_path / "photos").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    there = [replace(results[0], source="moved/p000.jpg")]
    again = Session(there, Path("moved"), tmp_path / "work.jsonl")
    assert again.pictures[0].state == "accepted"
    assert again.pictures[0].result.source == "moved/p000.jpg"


def test_an_old_state_is_no_ground_to_build_on(rows, tmp_path: Path, face) -> None:
    session = make(rows(0.9), tmp_path)
    session.open()
    session.step(0, 0, "open", [face()])
    with pytest.raises(StaleError):
        session.step(0, 0, "accepted", [])
    assert session.pictures[0].state == "open"
    session.close()


def test_fifty_threads_lose_nothing(rows, tmp_path: Path, face) -> None:
    session = make(rows(*[0.9] * 10), tmp_path)
    session.open()
    refused = []

    def work(number: int) -> None:
        for _ in range(20):
            revision = session.pictures[number].revision
            try:
                session.step(number, revision, "open", [face()])
            except StaleError:
                refused.append(number)

    threads = [threading.Thread(target=work, args=(i % 10,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.close()
    assert sum(p.revision for p in session.pictures) + len(refused) == 1000
    again = make(rows(*[0.9] * 10), tmp_path)
    assert [p.revision for p in again.pictures] == [p.revision for p in session.pictures]


@pytest.mark.parametrize("torn", [b'{"state": "acc', b"\xff\xfe\x00"])
def test_a_torn_last_line_is_passed_over(rows, tmp_path: Path, face, torn: bytes) -> None:
    results = rows(0.9)
    session = make(results, tmp_path)
    session.open()
    session.step(0, 0, "accepted", [face()])
    session.close()
    with open(tmp_path / "work.jsonl", "ab") as stream:
        stream.write(torn)
    again = make(results, tmp_path)
    assert again.pictures[0].revision == 1
    again.open()
    again.step(0, 1, "skipped", [])
    again.close()
    assert make(results, tmp_path).pictures[0].state == "skipped"


def test_one_review_at_a_time(rows, tmp_path: Path) -> None:
    results = rows(0.9)
    first, second = make(results, tmp_path), make(results, tmp_path)
    first.open()
    with pytest.raises(InputError, match="in use: another review"):
        second.open()
    first.close()
    second.open()
    second.close()


@pytest.mark.parametrize("text", ["{}\n", "[]\n", "x\n", '{"format": "other/1"}\n'])
def test_what_is_no_side_file_is_not_touched(rows, tmp_path: Path, text: str) -> None:
    (tmp_path / "work.jsonl").write_text(text)
    with pytest.raises(FormatError, match="not the side file of a review"):
        make(rows(0.9), tmp_path)
    assert (tmp_path / "work.jsonl").read_text() == text


def test_steps_of_other_pictures_are_counted(rows, tmp_path: Path, face) -> None:
    results = rows(0.9, 0.8)
    session = make(results, tmp_path)
    session.open()
    session.step(0, 0, "accepted", [face()])
    session.close()
    assert make(results, tmp_path).unknown_steps == 0
    assert make(results[:1], tmp_path).unknown_steps == 1


def test_nothing_to_review(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to review"):
        make([FrameResult("v.mp4", "no_face", frame=1)], tmp_path)


def test_without_the_side_file_no_step_is_taken(rows, tmp_path: Path, face) -> None:
    session = make(rows(0.9), tmp_path)
    with pytest.raises(OutputError, match="not open"):
        session.step(0, 0, "accepted", [face()])
    assert session.pictures[0].state == "open"


def test_what_is_exported(rows, tmp_path: Path, face) -> None:
    results = [*rows(0.9, 0.8, 0.7), FrameResult.of_error(str(tmp_path / "photos" / "x.jpg"), "damaged")]
    session = make(results, tmp_path)
    session.open()
    for number, picture in enumerate(session.pictures):
        if picture.name.endswith("p000.jpg"):
            session.step(number, 0, "accepted", [face(0, 0.4)])
        if picture.name.endswith("p001.jpg"):
            session.step(number, 0, "skipped", [face()])
    session.close()
    (accepted,) = session.results()
    assert accepted.source.endswith("p000.jpg") and accepted.faces[0].confidence == 1  # a person has said so
    assert [Path(r.source).stem for r in session.results(("accepted", "open"))] == ["p000", "p002"]


def test_folders_and_rows(rows, tmp_path: Path) -> None:
    """Pictures without points are there, too: a face can be added."""
    from facealign_cli.formats.base import get_format

    results = rows(0.9, 0.8)
    folder = tmp_path / "photos"
    assert [len(r.faces) for r in read_proposals(folder)] == [0, 0]
    get_format("pts").write(folder, results[:1])
    assert [(Path(r.source).stem, len(r.faces)) for r in read_proposals(folder)] == [("p000", 1), ("p001", 0)]
    get_format("json").write(tmp_path / "rows.json", results)
    assert len(read_proposals(tmp_path / "rows.json")) == 2
    assert default_side_file(folder) == folder / "facealign-review.jsonl"
    assert default_side_file(tmp_path / "rows.json") == tmp_path / "rows.json.review.jsonl"


def test_a_deleted_side_file_is_written_anew(rows, tmp_path: Path, face) -> None:
    results = rows(0.9, 0.8)
    session = make(results, tmp_path)
    session.open()
    session.step(0, 0, "accepted", [face()])
    (tmp_path / "work.jsonl").unlink()
    session.step(1, 0, "skipped", [])
    session.close()
    assert [p.state for p in make(results, tmp_path).pictures] == ["accepted", "skipped"]


def test_another_file_in_place_of_the_side_file_is_not_touched(rows, tmp_path: Path, face) -> None:
    session = make(rows(0.9), tmp_path)
    session.open()
    (tmp_path / "work.jsonl").rename(tmp_path / "moved.jsonl")
    (tmp_path / "work.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="another file has taken the place"):
        session.step(0, 0, "accepted", [face()])
    session.close()
    assert (tmp_path / "work.jsonl").read_text() == "mine"
    assert session.pictures[0].revision == 0
