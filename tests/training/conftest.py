"""Networks and faces small enough that training takes a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from facealign_cli.geometry import CropFrame, SimilarityTransform, bbox_of_shape
from facealign_cli.training.config import NetworkConfig, StageConfig
from facealign_cli.training.pack import Pack

if TYPE_CHECKING:
    from facealign_cli.training.network import Dan

_VGG = StageConfig("vgg", 32, 0.5, 0, (4, 8), (1, 1), dropout=0.5, n_features=16)
_VGG_LATER = StageConfig("vgg", 32, 0.5, 0, (4, 8), (1, 1), dropout=0.5, n_features=16, feature_side=16)
_LIGHT = StageConfig("residual", 32, 0.5, 8, (8, 8), (1, 1), n_features=16, squeeze=4)
_LIGHT_LATER = StageConfig(
    "residual",
    48,
    0.7,
    8,
    (8, 8),
    (1, 2),
    n_features=16,
    feature_side=6,
    local=4,
    local_steps=2,
    squeeze=4,
    sigma=True,
)


@pytest.fixture(scope="session")
def tiny_vgg() -> NetworkConfig:
    """The paper's structure, narrow and small."""
    return NetworkConfig(
        "tiny-vgg", 32, 0.5, (_VGG, _VGG_LATER), detach_landmarks=False, mean_image=True, fit_landmarks=False
    )


@pytest.fixture(scope="session")
def tiny_light() -> NetworkConfig:
    """The light network's structure with everything it has: reduced crop, own frames, local head."""
    return NetworkConfig("tiny-light", 64, 0.5, (_LIGHT, _LIGHT_LATER))


@pytest.fixture(scope="session")
def random_dan() -> Callable[[NetworkConfig], Dan]:
    """Builds a network in evaluation mode in which nothing is at its initial zero or one, batch norm included."""

    def build(config: NetworkConfig) -> Dan:
        import torch

        from facealign_cli.training.network import Dan

        torch.set_num_threads(1)
        torch.manual_seed(5)
        side = (config.crop_size,) * 2 if config.mean_image else (1, 1)
        rng = np.random.default_rng(5)
        model = Dan(config, rng.uniform(90, 150, side), rng.uniform(40, 70, side))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name.endswith("running_mean"):
                    value.normal_(0, 0.3)
                elif name.endswith("running_var"):
                    value.uniform_(0.4, 2.0)
                elif ".local.steps." in name and name.endswith(("out.weight", "out.bias", ".bias")):
                    value.normal_(0, 0.05)
                elif name.endswith("out.bias"):
                    value.normal_(0, 0.5)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny_pack() -> Pack:
    """24 drawn faces, four of them held out: a bright dot at every landmark on smooth noise."""
    return draw_pack(24)


def draw_pack(count: int, size: int = 96) -> Pack:
    rng = np.random.default_rng(1)
    images = np.empty((count, size, size), np.uint8)
    landmarks = np.empty((count, 68, 2), np.float32)
    bbox = np.full((count, 4), np.nan, np.float32)
    middle = (size - 1) / 2
    for i in range(count):
        turn = SimilarityTransform.from_parts(1.0, float(rng.normal(0, 8)), center=(middle, middle))
        landmarks[i] = turn.apply(CropFrame(size, 1 / 3).shape) + rng.normal(0, 0.3, (68, 2))
        canvas = cv2.resize(rng.uniform(0, 90, (6, 6)), (size, size), interpolation=cv2.INTER_CUBIC)
        for x, y in np.rint(landmarks[i]).astype(int):
            canvas[y, x] = 255
        images[i] = cv2.GaussianBlur(canvas, (3, 3), 0).clip(0, 255)
        if i % 2:
            bbox[i] = bbox_of_shape(landmarks[i]) + rng.normal(0, 0.5, 4)
    held_out = np.arange(count) % 6 == 5
    weights, yaw = np.ones((count, 68), np.float32), np.full(count, np.nan, np.float32)
    names = [f"drawn:{i}" for i in range(count)]
    points = np.full((count, 5, 2), np.nan, np.float32)
    return Pack(images, landmarks, bbox, np.zeros(count, bool), held_out, weights, yaw, points, names)
