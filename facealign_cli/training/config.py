"""Architectures: what a DAN's stages see and what looks, by name. The networks themselves are in `network.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from facealign_cli.errors import InputError
from facealign_cli.files.documents import structured
from facealign_cli.geometry import CropFrame
from facealign_cli.training.bounds import check_bounds

_STAGE_BOUNDS = {
    "frame_size": (8, 2048),
    "stem": (0, 4096),
    "channels": (1, 4096),
    "blocks": (1, 64),
    "dropout": (0, 1),
    "n_features": (1, 1 << 16),
    "feature_side": (0, 2048),
    "local": (0, 4096),
    "local_steps": (0, 16),
    "squeeze": (0, 4096),
}
_MOST_LEVELS, _MOST_STAGES = 8, 9


@dataclass(frozen=True)
class StageConfig:
    """One stage: the frame it sees (side in pixels, the face's share of it) and the net that looks.

    channels: per resolution; blocks: convolutions (vgg) or residual blocks (residual) per resolution; a mobilenet has
    its own.
    feature_side: side of the feature image made from the stage before; 0 for the first stage. local: channels of the
    local head's map, 0 for none; local_steps: how often it looks. squeeze: channels
    that a 1×1 convolution leaves before fc 256; 0 for all. sigma: whether the stage also says how far off each landmark
    may be.
    """

    backbone: str
    frame_size: int
    frame_share: float
    stem: int
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    dropout: float = 0.0
    n_features: int = 256
    feature_side: int = 0
    local: int = 0
    local_steps: int = 0
    squeeze: int = 0
    sigma: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, _STAGE_BOUNDS)
        CropFrame(self.frame_size, self.frame_share)  # checks the share
        if not 1 <= len(self.channels) == len(self.blocks) <= _MOST_LEVELS:
            raise ValueError(
                f"channels, blocks: expected 1 to {_MOST_LEVELS} of each, got {self.channels}, {self.blocks}"
            )


@dataclass(frozen=True)
class NetworkConfig:
    """A DAN: the crop it takes and its stages.

    detach_landmarks: whether a later stage's gradients stop at the landmarks it got. mean_image: whether crops are
    normalised by the training set's mean and deviation of each pixel, as in the paper, or by two fixed numbers.
    fit_landmarks: whether the similarity between stages lays the mean shape onto the landmarks by least squares, which
    is linear, or the landmarks onto the mean shape, as in the paper.
    """

    name: str
    crop_size: int
    crop_share: float
    stages: tuple[StageConfig, ...]
    detach_landmarks: bool = True
    mean_image: bool = False
    fit_landmarks: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= _MOST_STAGES:
            raise ValueError(f"stages: expected 1 to {_MOST_STAGES}, got {len(self.stages)}")
        check_bounds(self, {"crop_size": (8, 2048)})
        _ = self.crop_frame  # checks the share

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> NetworkConfig:
        """From `to_dict`'s values, also as JSON has them. Raises ValueError where they are none."""
        return structured(values, cls)

    @property
    def crop_frame(self) -> CropFrame:
        """The frame that the crops are cut to."""
        return CropFrame(self.crop_size, self.crop_share)


_VGG_STAGE = StageConfig("vgg", 112, 0.5, 0, (64, 128, 256, 512), (2, 2, 2, 2), dropout=0.5)
_LIGHT_1 = StageConfig("residual", 80, 0.5, 16, (16, 32, 64), (1, 1, 1), dropout=0.15, n_features=128, squeeze=32)
_LIGHT_2 = StageConfig(
    "residual",
    96,
    0.75,
    32,
    (32, 64, 96),
    (1, 1, 2),
    dropout=0.15,
    n_features=192,
    feature_side=12,
    local=32,
    local_steps=3,
    squeeze=32,
    sigma=True,
)
_LARGE_2 = StageConfig(
    "mobilenet",
    192,
    0.75,
    32,
    (24, 32, 96, 320),
    (2, 3, 7, 4),
    dropout=0.15,
    n_features=256,
    feature_side=24,
    local=48,
    local_steps=5,
    squeeze=48,
    sigma=True,
)

NETWORKS: dict[str, NetworkConfig] = {
    "dan": NetworkConfig(
        "dan",
        112,
        0.5,
        (_VGG_STAGE, replace(_VGG_STAGE, feature_side=56)),
        detach_landmarks=False,
        mean_image=True,
        fit_landmarks=False,
    ),
    "dan-light": NetworkConfig("dan-light", 160, 0.5, (_LIGHT_1, _LIGHT_2)),
    "dan-lighter": NetworkConfig("dan-lighter", 160, 0.5, (_LIGHT_1, replace(_LIGHT_2, local_steps=2))),
    "dan-large": NetworkConfig("dan-large", 320, 0.5, (_LIGHT_1, _LARGE_2)),
}


def network_config(name: str) -> NetworkConfig:
    """A known network by name. Raises InputError that lists the known ones."""
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]
