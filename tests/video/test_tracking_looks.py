"""What tracking makes of cuts and of faces that look like other ones, with faces from a script on blurred noise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facealign_cli.arrays import Image
from tests.video.scripted import BLANK, Clip, at, centers


def noise(seed: int) -> Image:
    """(200, 400, 3): blurred noise, in which each place looks like no other."""
    grey = cv2.GaussianBlur(np.random.default_rng(seed).uniform(0, 255, (200, 400)).astype(np.float32), (0, 0), 4)
    return cv2.cvtColor(cv2.normalize(grey, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def with_part_of(image: Image, other: Image, x: float) -> Image:
    """The picture, with a face's surroundings as another picture has them."""
    mixed = image.copy()
    columns = slice(int(x - 45), int(x + 45))
    mixed[55:145, columns] = other[55:145, columns]
    return mixed


def test_a_cut_ends_every_id_and_the_new_scene_is_looked_at_at_once() -> None:
    clip = Clip()
    clip.frame(at(80), count=3)
    assert list(clip.frame(at(80), image=np.full_like(BLANK, 220))) == [1]


def test_a_face_that_looks_like_another_one_is_somebody_else_from_this_frame_on() -> None:
    clip, scene = Clip(), noise(1)
    clip.frame(at(100), count=3, image=scene)
    assert list(clip.frame(at(100), image=with_part_of(scene, noise(2), 100))) == [1]


@pytest.mark.parametrize(("place", "first"), [(158, 0), (300, 3)])
def test_who_is_replaced_as_the_scene_changes_is_gone_unless_somebody_is_close(place: int, first: int) -> None:
    """The second face stays all the time: so close to the first one that it may hide it, or far away."""
    clip, before = Clip(), noise(1)
    after = with_part_of(noise(2), before, place)
    assert list(clip.frame(at(100), at(place), count=3, image=before)) == [0, 1]
    assert list(clip.frame(at(100), at(place), image=after)) == [1, 2]
    assert centers(clip.frame(at(100), at(place), image=before)) == {first: 100.0, 1: float(place)}


def test_who_is_replaced_while_the_scene_stands_still_is_only_lost() -> None:
    """A small face in a large picture, which is hardly changed by it."""
    clip, before = Clip(), np.tile(noise(1), (3, 3, 1))
    after = with_part_of(before, np.tile(noise(2), (3, 3, 1)), 100)
    assert list(clip.frame(at(100), count=3, image=before)) == [0]
    assert list(clip.frame(at(100), image=after)) == [1]
    assert list(clip.frame(at(100), image=before)) == [0]


@pytest.mark.parametrize("replaced", [100, 300])
def test_whoever_is_replaced_the_other_one_is_followed_in_the_same_frame(replaced: int) -> None:
    clip, scene = Clip(), noise(1)
    clip.frame(at(100), at(300), count=3, image=scene)
    found = centers(clip.frame(at(104), at(304), image=with_part_of(scene, noise(2), replaced)))
    stays = 0 if replaced == 300 else 1
    assert found[stays] == (104.0, 304.0)[stays]
    assert sorted(found) == [stays, 2]
