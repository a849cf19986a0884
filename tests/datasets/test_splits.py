"""The held-out split is frozen: weights were trained by it, and figures are stated on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facealign_cli.datasets import Sample, read_samples
from facealign_cli.datasets.splits import is_held_out, photo_key


@pytest.mark.parametrize(
    ("dataset", "stem", "key"),
    [
        ("afw", "1051618982_1", "afw/1051618982"),
        ("helen", "100040721_12", "helen/100040721"),
        ("helen", "100032540", "helen/100032540"),
        ("lfpw", "image_0019", "lfpw/image_0019"),
        ("ibug", "image_003_1", "ibug/image_003_1"),
        ("helen", "100032540_1_mirror", "helen/100032540"),
        ("lfpw", "image_0019_mirror", "lfpw/image_0019"),
    ],
)
def test_photo_key(dataset: str, stem: str, key: str) -> None:
    assert photo_key(dataset, stem) == key


@pytest.mark.parametrize(
    "key", ["afw/1277963416", "afw/1295311477", "helen/1019068877", "lfpw/image_0019", "lfpw/image_0050"]
)
def test_held_out_for_good(key: str) -> None:
    assert is_held_out(key)


@pytest.mark.parametrize(
    "key", ["afw/1051618982", "afw/134212", "helen/100032540", "lfpw/image_0001", "lfpw/image_0004"]
)
def test_trained_on_for_good(key: str) -> None:
    assert not is_held_out(key)


def test_about_a_tenth() -> None:
    assert np.mean([is_held_out(f"lfpw/image_{i:04d}") for i in range(5000)]) == pytest.approx(0.1, abs=0.015)


def test_counts_of_the_training_faces(shared_data: Path) -> None:
    samples = [s for s in read_samples(shared_data / "300w") if isinstance(s, Sample)]
    held_out = [s for s in samples if is_held_out(s.photo)]
    counts = {name: sum(s.dataset == name for s in held_out) for name in ("afw", "helen", "lfpw")}
    assert len(samples) == 2948
    assert counts == {"afw": 32, "helen": 183, "lfpw": 79}
    photos = {s.photo for s in held_out}
    assert photos.isdisjoint(s.photo for s in samples if not is_held_out(s.photo))
