"""The networks: one stage, its heads, and the DAN that joins the stages; `backbones` and `layers` hold the parts.

`dan` is the paper's network (Kowalski et al., CVPRW 2017); `dan-light` keeps its stages and connection layers and
changes
what is between: residual nets behind a stride-2 stem, frames of their own for each stage, and a local head that looks
once more at each landmark. DESIGN.md gives the reasons and the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facealign_cli.arrays import Floats
from facealign_cli.geometry import CropFrame
from facealign_cli.landmarks import N_LANDMARKS
from facealign_cli.training.backbones import ResidualBackbone, VggBackbone, conv_bn_relu
from facealign_cli.training.config import NetworkConfig, StageConfig
from facealign_cli.training.layers import (
    PATCH_SIDE,
    FeatureImage,
    estimate_similarity,
    fit_similarity,
    invert_similarity,
    landmark_heatmap,
    sample_patches,
    similarity_basis,
    transform_landmarks,
    transform_landmarks_back,
    upsample,
    warp_image,
)
from facealign_cli.training.mobilenet import MobileNetBackbone


class LocalHead(nn.Module):
    """Looks again around each landmark: samples a fine map at 3×3 places there and regresses a correction, step by
    step.

    The map adds up the backbone's resolutions (Lin et al., "Feature pyramid networks", CVPR 2017); the samples are
    shape-indexed features (Cao et al., "Explicit shape regression", CVPR 2012).
    """

    STRIDE = 4
    """Frame pixels a cell: stride-2 convolutions with padding 1 keep pixel 0 on cell 0, so cell i is at pixel 4·i."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, config.local, 1) for c in config.channels)
        self.steps = nn.ModuleList(LocalStep(config) for _ in range(config.local_steps))

    def forward(self, maps: list[Tensor], features: Tensor, landmarks: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps finest first, (N, n_features), (N, 68, 2) in frame pixels → the landmarks after each step; what the last
        step saw, (N, n_hidden)."""
        fused = self.lateral[-1](maps[-1])
        for lateral, finer in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            fused = upsample(fused, 2) + lateral(finer)
        refined, hidden = [], features
        for step in self.steps:
            correction, hidden = step(fused, features, landmarks.detach() / self.STRIDE)
            landmarks = landmarks + correction
            refined.append(landmarks)
        return refined, hidden


class LocalStep(nn.Module):
    """One correction. A layer that all landmarks share looks at their samples, then each has a small one of its own.

    Its last layer starts at zero, so it begins as none.
    """

    SHARED, OWN = 64, 16

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        self.shared = nn.Linear(PATCH_SIDE**2 * config.local, self.SHARED)
        self.weight = nn.Parameter(torch.randn(N_LANDMARKS, self.SHARED, self.OWN) * (2 / self.SHARED) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(N_LANDMARKS, 1, self.OWN))
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(N_LANDMARKS * self.OWN + config.n_features, 2 * N_LANDMARKS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @classmethod
    def n_hidden(cls, config: StageConfig) -> int:
        """How many numbers the last layer sees."""
        return N_LANDMARKS * cls.OWN + config.n_features

    def forward(self, fused: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W), (N, n_features), (N, 68, 2) in cells → the correction (N, 68, 2) in frame pixels, and what its
        last layer saw, (N, n_hidden)."""
        patches = sample_patches(fused, cells).reshape(-1, self.shared.in_features)  # (N·68, 9·C)
        hidden = torch.cat([self.each_own(F.relu(self.shared(patches))), features], dim=1)
        return self.out(self.dropout(hidden)).reshape(-1, N_LANDMARKS, 2), hidden

    def each_own(self, samples: Tensor) -> Tensor:
        """Each landmark's own layer: (N·68, SHARED) → (N, 68·OWN)."""
        samples = samples.reshape(-1, N_LANDMARKS, self.SHARED)
        own = F.relu(samples.transpose(0, 1) @ self.weight + self.bias)  # (68, N, OWN)
        return own.transpose(0, 1).flatten(1)


class SigmaHead(nn.Module):
    """How far each landmark may be off, from what its stage saw last; learns without changing what the stage sees."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        self.face = config.frame_size * config.frame_share
        n_hidden = LocalStep.n_hidden(config) if config.local_steps else config.n_features
        self.dense = nn.Linear(n_hidden, N_LANDMARKS)
        nn.init.zeros_(self.dense.weight)
        nn.init.constant_(self.dense.bias, -3.5)  # 3 % of the face

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, n_hidden) → (N, 68) frame pixels."""
        return torch.exp(self.dense(hidden.detach()).clamp(-7, 1)) * self.face


Backbone = (VggBackbone, ResidualBackbone, MobileNetBackbone)
_BACKBONES: dict[str, type[VggBackbone] | type[ResidualBackbone] | type[MobileNetBackbone]] = {
    "vgg": VggBackbone,
    "residual": ResidualBackbone,
    "mobilenet": MobileNetBackbone,
}


@dataclass
class StageOutput:
    """steps: (N, 68, 2) frame pixels each, of fc 136 and after each step of the local head; the last is the stage's
    result.

    features: (N, n_features). logit: (N,) confidence before the sigmoid. sigma: (N, 68) how far each landmark may be
    off, frame pixels, or None where the stage has no head for it.
    """

    steps: list[Tensor]
    features: Tensor
    logit: Tensor
    sigma: Tensor | None = None


class Stage(nn.Module):
    """A backbone, fc 256 with batch norm and ReLU, fc 136: an offset added to the landmarks that came in."""

    def __init__(self, config: StageConfig, n_inputs: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = _BACKBONES[config.backbone](config, n_inputs)
        self.squeeze = conv_bn_relu(config.channels[-1], config.squeeze, 1) if config.squeeze else nn.Identity()
        n_flat = (config.squeeze or config.channels[-1]) * self.backbone.out_side**2
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(n_flat, config.n_features, bias=False)
        self.norm = nn.BatchNorm1d(config.n_features)
        self.out = nn.Linear(config.n_features, 2 * N_LANDMARKS)
        self.confidence = nn.Linear(config.n_features, 1)
        self.local = LocalHead(config) if config.local else None
        self.sigma = SigmaHead(config) if config.sigma else None
        nn.init.zeros_(self.out.bias)
        nn.init.normal_(self.out.weight, std=0.01)

    def forward(self, image: Tensor, extra: Tensor | None, landmarks: Tensor) -> StageOutput:
        """image (N, 1, F, F), extra (N, 2, …) or None, landmarks (N, 68, 2) or (1, 68, 2) in the frame's pixels."""
        maps = [m.to(image.dtype) for m in self.backbone(image, extra)]  # training may run convolutions in bfloat16
        features = F.relu(self.norm(self.dense(self.dropout(self.squeeze(maps[-1]).flatten(1)))))
        offset = self.out(features).reshape(-1, N_LANDMARKS, 2)
        steps, hidden = [landmarks + offset], features
        if self.local is not None:
            refined, hidden = self.local(maps, features, steps[0])
            steps += refined
        sigma = None if self.sigma is None else self.sigma(hidden)
        return StageOutput(steps, features, self.confidence(features).squeeze(1), sigma)


@dataclass
class DanOutput:
    """steps: per stage, per step within it, (N, 68, 2) in crop pixels. logit: (N,) confidence before the sigmoid.

    sigma: (N, 68) how far each landmark of the last stage may be off, crop pixels; None without a head for it.
    """

    steps: list[list[Tensor]]
    logit: Tensor
    sigma: Tensor | None = None

    @property
    def landmarks(self) -> list[Tensor]:
        """Each stage's result."""
        return [steps[-1] for steps in self.steps]


class Dan(nn.Module):
    """Stages joined by the connection layers; takes raw crops (0–255), gives landmarks in crop pixels per stage.

    mean_image, std_image: normalisation, (S, S) or scalars, of crops as they come in.
    """

    mean_image: Tensor
    std_image: Tensor
    mean_shape0: Tensor

    def __init__(
        self, config: NetworkConfig, mean_image: Floats | float = 128.0, std_image: Floats | float = 64.0
    ) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(Stage(stage, 1 if i == 0 else 3) for i, stage in enumerate(config.stages))
        frames = [CropFrame(stage.frame_size, stage.frame_share).shape for stage in config.stages]
        self.feature_images = nn.ModuleList(
            FeatureImage(config.stages[i].n_features, stage.feature_side, self._extra_size(stage))
            for i, stage in enumerate(config.stages[1:])
        )
        for i, shape in enumerate(frames):
            exact = torch.tensor(shape, dtype=torch.float64)
            self.register_buffer(f"mean_shape{i}", exact.float(), persistent=False)
            self.register_buffer(f"basis{i}", similarity_basis(exact).float(), persistent=False)
        side = config.crop_size if config.mean_image else 1
        for name, value in (("mean_image", mean_image), ("std_image", std_image)):
            image = np.broadcast_to(np.asarray(value, np.float32), (side, side))
            self.register_buffer(name, torch.tensor(image.copy())[None, None])
        self.reduce = config.crop_size // config.stages[0].frame_size
        first = config.stages[0]
        if first.frame_size * self.reduce != config.crop_size or first.frame_share != config.crop_share:
            raise ValueError("stage 1 must see the whole crop, reduced by a whole factor")

    @staticmethod
    def _extra_size(stage: StageConfig) -> int:
        return stage.frame_size if stage.backbone == "vgg" else stage.frame_size // 4

    def forward(self, crop: Tensor, n_stages: int | None = None) -> DanOutput:
        """crop: (N, 1, S, S) float, 0–255. n_stages: how many stages to run; all of them by default."""
        image = self._normalised(crop, whole=True)
        output = self._first_stage(image)
        result = DanOutput([[self._to_crop(step) for step in output.steps]], output.logit)
        for i in range(1, len(self.stages) if n_stages is None else n_stages):
            previous = result.landmarks[-1].detach() if self.config.detach_landmarks else result.landmarks[-1]
            output, back = self._later_stage(i, image, previous, output.features)
            result.steps.append([transform_landmarks(step, back) for step in output.steps])
            result.logit = output.logit
            if output.sigma is not None:
                scale = torch.linalg.vector_norm(back[:, :, 0], dim=1)  # frame → crop
                result.sigma = output.sigma * scale.unsqueeze(1)
        return result

    def _normalised(self, image: Tensor, *, whole: bool) -> Tensor:
        """Less the mean, over the deviation: of the whole crop where each of its pixels has its own two numbers, else
        of what a stage sees of it, which is fewer pixels."""
        return (image - self.mean_image) / self.std_image if whole == self.config.mean_image else image

    def _first_stage(self, image: Tensor) -> StageOutput:
        small = F.avg_pool2d(image, self.reduce) if self.reduce > 1 else image
        output: StageOutput = self.stages[0](self._normalised(small, whole=False), None, self.mean_shape0)
        return output

    def _to_crop(self, landmarks: Tensor) -> Tensor:
        # pixel i of the reduced frame covers crop pixels reduce·i … reduce·i + reduce - 1
        return landmarks * self.reduce + (self.reduce - 1) / 2

    def _later_stage(self, i: int, image: Tensor, previous: Tensor, features: Tensor) -> tuple[StageOutput, Tensor]:
        stage = self.config.stages[i]
        landmarks, back = self._into_frame(i, previous)
        warped = self._normalised(warp_image(image, back, stage.frame_size), whole=False)
        size = self._extra_size(stage)
        heatmap = landmark_heatmap(landmarks * (size / stage.frame_size), size)
        extra = torch.cat([heatmap, self.feature_images[i - 1](features)], dim=1)
        return self.stages[i](warped, extra, landmarks), back

    def _into_frame(self, i: int, previous: Tensor) -> tuple[Tensor, Tensor]:
        """The landmarks before stage i, crop → frame pixels, and the similarity back, (N, 2, 3), frame → crop."""
        if self.config.fit_landmarks:
            back = fit_similarity(previous, getattr(self, f"basis{i}"))
            return transform_landmarks_back(previous, back), back
        transform = estimate_similarity(previous, getattr(self, f"mean_shape{i}"))
        return transform_landmarks(previous, transform), invert_similarity(transform)

    def in_last_frame(self, output: DanOutput, points: Tensor) -> Tensor:
        """Points (N, 68, 2) in crop pixels → the pixels of the last stage's frame, as it saw these faces."""
        if len(self.stages) == 1:
            return (points - (self.reduce - 1) / 2) / self.reduce
        return transform_landmarks_back(points, self._into_frame(len(self.stages) - 1, output.landmarks[-2])[1])

    def last_layer(self) -> nn.Linear:
        """The layer whose result, in the pixels of the last stage's frame, is the last that is added to landmarks."""
        stage = self.stages[-1]
        layer: nn.Linear = stage.out if stage.local is None else stage.local.steps[-1].out  # type: ignore[union-attr, index]
        return layer


def multiply_adds(model: Dan) -> int:
    """How many multiply-adds the convolutions and dense layers take for one face, counted by running one."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.shape[2] * output.shape[3] * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() // output.shape[-1] * module.weight.numel()
        elif isinstance(module, LocalStep):
            total += module.weight.numel()

    counted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear | LocalStep)]
    hooks = [m.register_forward_hook(count) for m in counted]
    size = model.config.crop_size
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, size, size))
    for hook in hooks:
        hook.remove()
    return total
