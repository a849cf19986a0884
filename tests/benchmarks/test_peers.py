"""The benchmarks' own logic; what they measure needs data and peers that the tests do not have."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facealign_cli.landmarks import MEAN_SHAPE


@pytest.fixture
def peers(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("peers")


@pytest.fixture
def worker(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("peer_worker")


@pytest.fixture
def speed(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("speed")


def test_mesh_map_is_68_vertices_each_once(worker: ModuleType) -> None:
    assert len(worker.MESH_TO_68) == len(set(worker.MESH_TO_68)) == 68
    assert min(worker.MESH_TO_68) >= 0 and max(worker.MESH_TO_68) < 468


def test_box_options(worker: ModuleType) -> None:
    box = (10.0, 20.0, 30.0, 60.0)
    assert worker.as_given(box) == box
    assert worker.square(2.0)(box) == (-10.0, 10.0, 50.0, 70.0)
    assert worker.moved((-0.5, 0.0, 0.5, 0.25))(box) == (0.0, 20.0, 40.0, 70.0)


def test_overlap(worker: ModuleType) -> None:
    assert worker.overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert worker.overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert worker.overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0


def test_cut_stays_on_the_picture(worker: ModuleType) -> None:
    image = np.arange(30, dtype=np.uint8).reshape(5, 6, 1)
    crop, left, top = worker.cut(image, (-3, 2, 4, 99))
    assert (left, top) == (0, 2)
    assert np.array_equal(crop, image[2:5, 0:4])


def test_a_package_that_is_missing_says_so(worker: ModuleType) -> None:
    with pytest.raises(worker.NotInstalled, match="no_such_package is not installed"):
        worker.data_file("no_such_package", "weights.bin")
    with pytest.raises(worker.NotInstalled, match=r"ships no weights\.bin"):
        worker.data_file("json", "weights.bin")


def test_answer_times_each_face_and_keeps_the_missed_ones(worker: ModuleType, tmp_path: Path) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image.tofile(tmp_path / "a")
    results = iter([MEAN_SHAPE, None])
    peer = worker.Peer("1", 1, {"as given": worker.as_given}, lambda picture, box: next(results))
    face = {"file": str(tmp_path / "a"), "shape": image.shape, "box": [0, 0, 1, 1]}
    reply = worker.answer(peer, {"faces": [face, face], "option": "as given"})
    assert np.allclose(reply["landmarks"][0], MEAN_SHAPE, atol=1e-4) and reply["landmarks"][1] is None
    assert len(reply["ms"]) == 2 and reply["rss"] > 1


def test_facealign_itself_places_landmarks_in_a_box(worker: ModuleType, astronaut: np.ndarray) -> None:
    peer = worker.make_facealign(1, "dan-light-int8")
    landmarks = peer.predict(astronaut, (176.0, 84.0, 273.0, 184.0))
    assert np.abs(landmarks.mean(axis=0) - (225, 133)).max() < 20 and np.ptp(landmarks, axis=0).min() > 70
    assert peer.version.startswith("dan-light-int8") and peer.file_bytes > 1e6 and list(peer.options) == ["as given"]


def test_mean_offset_is_found_and_taken_away(peers: ModuleType) -> None:
    rng = np.random.default_rng(0)
    truth = np.array([MEAN_SHAPE * s + rng.normal(0, 1, (68, 2)) + 200 for s in (1.0, 2.0, 0.5)])
    shift = np.zeros((68, 2))
    shift[30:40] = 3.0
    guess = peers.with_offset(truth, shift)
    offset = peers.mean_offset(guess, truth)
    assert np.abs(peers.with_offset(guess, offset) - truth).max() < 0.15
    assert np.abs(guess - truth).max() > 1


class FakeWorker:
    """Answers from shapes given per option."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.hello = {"options": list(answers), "version": "1", "file_bytes": 2**20}
        self._answers = answers

    def ask(self, faces: list[Any], option: str) -> dict[str, Any]:
        return {"landmarks": self._answers[option], "ms": [1.0] * len(faces), "rss": 2.0}


def test_best_option_weighs_errors_only_where_most_faces_are_found(peers: ModuleType) -> None:
    truth = np.array([MEAN_SHAPE] * 10)
    good, fair = (MEAN_SHAPE + 1).tolist(), (MEAN_SHAPE + 3).tolist()
    fake = FakeWorker({"fair": [fair] * 10, "picky": [good] * 5 + [None] * 5, "bad": [(MEAN_SHAPE + 9).tolist()] * 10})
    option, offset = peers.best_option(fake, peers.FaceSet([{}] * 10, truth))
    assert option == "fair"
    assert offset.shape == (68, 2)


def test_a_peer_that_finds_nothing_is_reported_not_raised(peers: ModuleType) -> None:
    faces = peers.FaceSet([{}] * 2, np.array([MEAN_SHAPE] * 2))
    result = peers.Result(peers.CANDIDATES[1])
    assert "found none" in peers.measure_accuracy(FakeWorker({"x": [None, None]}), result, faces, faces)


def test_errors_are_percent(peers: ModuleType) -> None:
    faces = peers.FaceSet([{}] * 2, np.array([MEAN_SHAPE] * 2))
    result = peers.Result(peers.CANDIDATES[0])
    moved = (MEAN_SHAPE + np.array([1.0, 0.0])).tolist()
    assert peers.measure_accuracy(FakeWorker({"x": [moved, None]}), result, faces, faces) is None
    ocular = np.linalg.norm(MEAN_SHAPE[36] - MEAN_SHAPE[45])
    assert (result.found, result.faces) == (1, 2)
    assert result.errors["inter-ocular"] == pytest.approx(100 / ocular)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no-such-command-anywhere"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit('it broke')"], "its process ended: it broke"),
        ([sys.executable, "-c", f"print({json.dumps(json.dumps({'missing': 'not here'}))})"], "not here"),
    ],
)
def test_a_peer_that_cannot_start_is_missing(peers: ModuleType, command: list[str], why: str) -> None:
    started = peers.Worker(command, 1)
    assert why in started.missing
    started.close()


def test_table_shows_what_was_measured_and_how_to_get_what_was_not(peers: ModuleType) -> None:
    errors = dict(zip(peers.COLUMNS, (4.0, 3.5, 3.0, 2.0), strict=True))
    ours = peers.Result(peers.CANDIDATES[0], None, "1", "as given", 9, 10, errors, {1: 2.0, 2: 1.0}, 50.0, 10.0)
    dlib = peers.Result(
        next(c for c in peers.CANDIDATES if c.name == "dlib"),
        None,
        "20",
        "square",
        10,
        10,
        errors,
        {1: 3.0, 2: 3.0},
        99.0,
        95.1,
    )
    others = [candidate for candidate in peers.CANDIDATES if candidate.name not in ("facealign", "dlib")]
    rest = [peers.Result(candidate, missing="not there") for candidate in others]
    text = peers.table([ours, dlib, *rest])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert "| 9/10 | 4.00 | 3.50 | 3.00 | 2.00 | 2.0 | 1.0 | 50 | 10.0 |" in text
    assert "these very faces among them" in rows[3]
    assert all(f"`{candidate.install}`" in text for candidate in others)
    assert "dlib, 68-point trees 1.50, 3.00" in text


def test_table_without_any_peer(peers: ModuleType) -> None:
    text = peers.table([peers.Result(candidate, missing="not there") for candidate in peers.CANDIDATES])
    assert text.count("not measured") == len(peers.CANDIDATES)


def test_speed_steps_are_interleaved_and_compared_within_a_round(speed: ModuleType) -> None:
    order: list[str] = []
    slow = speed.Step("slow", "face", 2, lambda: order.append("slow"))
    quick = speed.Step("quick", "face", 1, lambda: order.append("quick"), beside=slow)
    speed.measure([slow, quick], 2)
    assert order == ["slow", "quick"] * 3
    slow.seconds, quick.seconds = [2.0, 4.0, 6.0], [3.0, 3.0, 3.0]
    assert (slow.ms, quick.ms, slow.ratio) == (2000.0, 3000.0, None)
    assert quick.ratio == 1.5
    assert "| quick | 1 | – | 3000.00 | face | 1.50 | slow, 1 thread |" in speed.row(quick)


def test_speed_takes_pictures_and_folders(speed: ModuleType, tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    named = tmp_path / "notes.txt"
    assert [p.name for p in speed.picture_files([tmp_path, named])] == ["a.JPG", "b.png", "notes.txt"]
