"""What tracking decides frame by frame, with faces from a script: who is who, and when the detector looks."""

from __future__ import annotations

import numpy as np
import pytest

from facealign_cli.errors import InputError
from facealign_cli.video.tracks import normalised
from tests.video.scripted import BLANK, SIZE, STEP, UNIT, Clip, at, centers


def test_a_followed_face_has_what_the_network_says_of_this_frame() -> None:
    clip = Clip()
    clip.frame(at(100), at(300))
    assert [(face.face_id, face.track_id, face.detector_score) for face in clip.faces] == [(0, 0, 7.0), (1, 1, 8.0)]
    clip.script.sigma = 1.5
    clip.frame(at(103), at(300), confidence=[0.7, 0.95])
    assert [(face.face_id, face.track_id, face.detector_score) for face in clip.faces] == [(0, 0, None), (1, 1, None)]
    assert [face.confidence for face in clip.faces] == [0.7, 0.95]
    for face in clip.faces:
        assert face.sigma is not None and (face.sigma == 1.5).all()
    np.testing.assert_array_equal(clip.faces[0].landmarks, at(103))
    clip.script.sigma = np.nan
    clip.frame(at(103), at(300))
    assert [face.sigma for face in clip.faces] == [None, None]


def test_grey_frames_are_followed_like_coloured_ones() -> None:
    rng, found = np.random.default_rng(0), []
    scenes = [np.repeat(rng.integers(low, low + 100, (120, 160, 1), np.uint8), 3, axis=2) for low in (0, 150)]
    for plain in (False, True):
        clip = Clip()
        found.append([clip.frame(at(100), image=scene[..., 0] if plain else scene) for scene in scenes for _ in "ab"])
    assert [list(ids) for ids in found[0]] == [list(ids) for ids in found[1]] == [[0], [0], [1], [1]]


def test_a_frame_or_a_time_that_is_none_is_refused_and_changes_nothing() -> None:
    clip = Clip()
    clip.frame(at(100))
    for image in (None, BLANK / 255, BLANK[..., :2], BLANK[:0]):
        with pytest.raises(InputError, match="expected a picture"):
            clip.tracker.update(image, 1.0)  # type: ignore[arg-type]
    for time_s in (None, "1", float("nan"), True):
        with pytest.raises(InputError, match="timestamp_s: expected"):
            clip.tracker.update(BLANK, time_s)  # type: ignore[arg-type]
    assert list(clip.frame(at(100))) == [0]


def test_the_detector_is_told_the_source() -> None:
    clip = Clip()
    clip.frame(at(100))
    assert clip.script.source == "clip.mp4"


@pytest.mark.parametrize(("new", "kept", "expected"), [(0.6, 0.5, 2), (0.59, 0.5, 0), (0.6, 0.49, 1), (1.0, 0.5, 2)])
def test_a_new_face_takes_more_confidence_than_one_that_is_followed(new: float, kept: float, expected: int) -> None:
    clip = Clip()
    found = len(clip.frame(at(100), confidence=new))
    found += len(clip.frame(at(100), confidence=kept))
    assert found == expected


@pytest.mark.parametrize(
    ("options", "away_s", "expected"),
    [({"keep_lost_s": 0.5}, 0.5, 0), ({"keep_lost_s": 0.5}, 0.625, 1), ({}, 1.0, 0), ({}, 1.125, 1)],
)
def test_a_lost_id_is_kept_for_as_long_as_asked_for(options: dict[str, float], away_s: float, expected: int) -> None:
    """Where nothing is asked for: a second."""
    clip = Clip(0.125, **options)
    clip.frame(at(100), count=4)
    assert clip.frame(count=round(away_s / 0.125) - 1) == {}
    assert list(clip.frame(at(100))) == [expected]


@pytest.mark.parametrize(
    ("step", "options", "expected"),
    [
        (STEP, {}, [0, 3, 6, 9]),
        (STEP, {"detect_every": 2}, [0, 2, 4, 6, 8, 10]),
        (STEP, {"detect_every": 5}, [0, 3, 6, 9]),
        (0.125, {}, list(range(11))),
    ],
)
def test_where_nobody_is_the_detector_looks_often(step: float, options: dict[str, float], expected: list[int]) -> None:
    assert Clip(step, **options).looks(count=11) == expected


@pytest.mark.parametrize(
    ("step", "options", "expected"),
    [
        (STEP, {"keep_lost_s": 60.0}, [1, 3, 5, 7, 9]),
        (STEP, {"keep_lost_s": 60.0, "detect_every": 1000}, [1, 3, 5, 7, 9]),
        (0.0625, {"keep_lost_s": 60.0}, [1, 3, 5, 7, 9]),
        (0.09375, {"keep_lost_s": 60.0}, list(range(11))),
    ],
)
def test_for_a_lost_face_the_detector_looks_every_other_frame(
    step: float, options: dict[str, float], expected: list[int]
) -> None:
    """And in every frame where they are further apart. One face is still held meanwhile."""
    clip = Clip(step, **options)
    clip.frame(at(100), at(1000))
    assert clip.looks(at(100), count=11) == expected


@pytest.mark.parametrize(("options", "expected"), [({}, [31, 63]), ({"detect_every": 20}, [19, 39, 59])])
def test_while_all_faces_are_held_the_detector_looks_now_and_then(
    options: dict[str, float], expected: list[int]
) -> None:
    """Every second where nothing else is asked for."""
    clip = Clip(**options)
    clip.frame(at(100))
    assert clip.looks(at(100), count=70) == expected


@pytest.mark.parametrize(("step", "runs"), [(0.25, False), (0.3125, True)])
def test_frames_far_apart_are_detected_anew(step: float, runs: bool) -> None:
    clip = Clip(step)
    clip.frame(at(100))
    assert clip.looks(at(100), count=2) == ([0, 1] if runs else [])


def test_without_tracking_every_frame_is_detected_and_ids_go_on() -> None:
    clip = Clip(detect_every=1)
    clip.script.align_shapes = None  # type: ignore[assignment, method-assign]
    assert [list(clip.frame(at(100 + i))) for i in range(4)] == [[0]] * 4
    assert clip.faces[0].detector_score == 7.0
    assert clip.frame() == {}


@pytest.mark.parametrize("stays", [0, 1])
def test_where_two_fall_on_one_face_it_goes_on_with_the_one_it_is_like(stays: int) -> None:
    clip = Clip()
    people = [at(100), at(300, tall=1.4)]
    clip.frame(*people, count=5)
    assert list(clip.frame(people[stays])) == [stays]
    assert list(clip.frame(*people, count=3)) == [0, 1]


@pytest.mark.parametrize("stays", [0, 1])
def test_where_two_close_faces_fall_on_one_the_shape_tells_whose_it_is(stays: int) -> None:
    clip, tall = Clip(), (1.0, 1.5)
    clip.frame(at(100, tall=tall[0]), at(125, tall=tall[1]), count=5)
    assert list(clip.frame(at(112.5, tall=tall[stays]))) == [stays]


@pytest.mark.parametrize(("apart", "expected"), [(0.41, [0]), (0.45, [0, 1])])
def test_a_box_that_overlaps_a_followed_face_by_0_4_is_that_face(apart: float, expected: list[int]) -> None:
    """Squares that are 0.43 of their side apart have 0.4 of their union in common."""
    clip = Clip(detect_every=2)
    square = np.array([1.0, np.ptp(UNIT[:, 0]) / np.ptp(UNIT[:, 1])])
    first, second = (at(x) * square for x in (100, 100 + apart * SIZE * np.ptp(UNIT[:, 0])))
    clip.frame(first, count=2)
    assert list(clip.frame(first, second, count=4)) == expected


def test_a_face_that_is_followed_is_not_found_a_second_time() -> None:
    clip = Clip(detect_every=2)
    for i in range(6):
        found = clip.frame(at(100), at(112 + i), confidence=[0.95, 0.9])  # two boxes on one head
        assert list(found) == [0]


def test_of_two_boxes_on_one_new_face_the_more_confident_one_counts() -> None:
    clip = Clip()
    assert centers(clip.frame(at(100), at(112), confidence=[0.7, 0.9])) == {0: 112.0}


def test_faces_beside_each_other_are_two() -> None:
    assert centers(Clip().frame(at(100), at(100 + 0.4 * SIZE))) == {0: 100.0, 1: 125.6}


@pytest.mark.parametrize(("grown", "expected"), [(1.75, 0), (1.85, 1), (1 / 1.75, 0), (1 / 1.85, 1)])
def test_a_lost_face_comes_back_in_about_its_size(grown: float, expected: int) -> None:
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=4)
    assert list(clip.frame(at(100, size=SIZE * grown), count=4)) == [expected]


@pytest.mark.parametrize(("steps", "sizes", "expected"), [(4, 1.1, 0), (4, 1.4, 1), (16, 1.4, 0), (16, 1.6, 1)])
def test_the_longer_a_face_was_lost_the_further_off_it_may_come_back(steps: int, sizes: float, expected: int) -> None:
    """A face size at once, and one more in a second."""
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=steps)
    assert list(clip.frame(at(100 + sizes * SIZE), count=4)) == [expected]


def test_a_lost_face_is_looked_for_where_its_motion_leads() -> None:
    clip, speed = Clip(), 160.0
    for i in range(20):
        clip.frame(at(100 + speed * i * STEP))
    gone = 100 + speed * 19 * STEP
    clip.frame(count=7)
    ahead = gone + speed * 8 * STEP
    found = centers(clip.frame(at(gone), at(ahead), count=2))
    assert found[0] == pytest.approx(ahead, abs=0.1)
    assert found[1] == pytest.approx(gone, abs=0.1)


def test_a_face_that_stopped_is_found_where_it_was_lost() -> None:
    clip, speed = Clip(), 160.0
    for i in range(20):
        clip.frame(at(100 + speed * i * STEP))
    gone = 100 + speed * 19 * STEP
    clip.frame(count=24)
    assert centers(clip.frame(at(gone), count=2))[0] == pytest.approx(gone, abs=0.1)


def test_one_jump_is_no_motion_yet() -> None:
    clip = Clip()
    clip.frame(at(100), count=5)
    clip.frame(at(110))
    clip.frame(count=15)
    assert centers(clip.frame(at(110), at(230), count=2))[0] == 110.0


def test_coming_back_elsewhere_is_no_motion() -> None:
    clip = Clip()
    clip.frame(at(100), count=5)
    clip.frame(count=4)
    while not clip.frame(at(140)):
        pass
    clip.frame(count=8)
    assert centers(clip.frame(at(140), at(205), count=2))[0] == 140.0


def test_motion_is_foreseen_for_a_second_at_most() -> None:
    clip, speed = Clip(keep_lost_s=10.0), 64.0
    for i in range(20):
        clip.frame(at(100 + speed * i * STEP))
    gone = 100 + speed * 19 * STEP
    clip.frame(count=95)
    found = centers(clip.frame(at(gone + speed * 1.0), at(gone + speed * 3.0), count=3))
    assert found[0] == pytest.approx(gone + speed, abs=0.1)


def test_who_comes_back_where_is_told_by_the_shape_too() -> None:
    """Two heads close beside each other are lost and come back the other way round."""
    long, broad = 1.5, 0.75
    clip = Clip()
    clip.frame(at(100, tall=long), at(125, tall=broad), count=4)
    clip.frame(count=4)
    found = centers(clip.frame(at(125, tall=long), at(100, tall=broad), count=4))
    assert found == {0: 125.0, 1: 100.0}


def test_a_shape_that_changes_slowly_is_learnt() -> None:
    """Two heads that turn from broad to long, and the other way, are told apart by what they are now."""
    clip, long, broad = Clip(), 1.5, 0.75
    for share in np.clip(np.linspace(0, 2, 120), 0, 1):
        first, second = broad + share * (long - broad), long + share * (broad - long)
        clip.frame(at(100, tall=first), at(125, tall=second))
    clip.frame(count=4)
    found = centers(clip.frame(at(125, tall=long), at(100, tall=broad), count=4))
    assert found == {0: 125.0, 1: 100.0}


def test_ids_count_on() -> None:
    clip = Clip(detect_every=1)
    for n in range(1, 5):
        assert list(clip.frame(*(at(200 * i) for i in range(n)))) == list(range(n))


def test_each_lost_face_comes_back_once() -> None:
    clip = Clip()
    clip.frame(at(100), count=3)
    clip.frame(count=4)
    found = centers(clip.frame(at(130), at(90), count=4))
    assert found == {0: 90.0, 1: 130.0}


def test_no_more_faces_are_taken_than_are_wanted_beside_those_that_are_followed() -> None:
    clip = Clip(max_faces=2, detect_every=3)
    assert centers(clip.frame(at(100), at(300), at(500, size=90), count=2)) == {0: 500.0, 1: 100.0}
    people = (at(100), at(300), at(500, size=90), at(700, size=99))
    assert centers(clip.frame(*people, count=8)) == {0: 500.0, 1: 100.0}
    assert sorted(centers(clip.frame(at(100), at(700, size=99), count=8)).values()) == [100.0, 700.0]


def test_a_shape_is_compared_at_the_size_of_one() -> None:
    """So that the same difference counts the same for a near face and for a far one."""
    for size in (20.0, 300.0):
        assert np.ptp(normalised(at(50, size=size)), axis=0).mean() == pytest.approx(1)
