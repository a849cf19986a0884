"""The training loop, read from top to bottom: batches, loss, averaged weights, evaluation, checkpoints.

A batch is a function of (seed, step), so a run that is stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facealign_cli.errors import DeviceError, InputError
from facealign_cli.metrics import nme
from facealign_cli.runtime import check_device
from facealign_cli.training.augment import Augmentation, Batch, make_batch
from facealign_cli.training.checkpoint import load_checkpoint, save_checkpoint
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.layers import landmark_loss
from facealign_cli.training.network import Dan, DanOutput, ResidualBackbone, VggBackbone
from facealign_cli.training.origin import Origin
from facealign_cli.training.pack import Pack, crops_in_frame

RIGHT_WITHIN = 0.10
"""Landmarks whose inter-pupil error is below this count as right for the confidence."""


@dataclass(frozen=True)
class TrainConfig:
    """One run. stage: 1, 2, … trains that stage alone with the earlier ones frozen; 0 trains all jointly.

    The learning rate rises over `warmup_steps`, stays at `lr`, and falls along a cosine over the last `decay_steps`.
    """

    steps: int
    stage: int = 0
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    decay_steps: int = 0
    average: float = 0.999
    seed: int = 0
    eval_every: int = 500
    checkpoint_every: int = 250
    patience: int = 0
    confidence_weight: float = 0.05
    bf16: bool = False
    device: str = "cpu"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def lr_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rate = self.lr * min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = self.steps - step
        if left < self.decay_steps:
            rate *= 0.5 * (1 - math.cos(math.pi * left / self.decay_steps))
        return rate

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """From `to_dict`'s values."""
        return cls(**{**values, "augmentation": Augmentation(**values["augmentation"])})


def rows_of_step(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """(batch,) rows of a step: every pass is a fresh permutation, passes follow one another without a gap."""
    first = step * batch
    rows: list[np.ndarray] = []
    while sum(map(len, rows)) < batch:
        position = first + sum(map(len, rows))
        order = np.random.default_rng([seed, 1, position // n]).permutation(n)
        rows.append(order[position % n : position % n + batch - sum(map(len, rows))])
    return np.concatenate(rows)


def training_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if torch sees one. Raises InputError, DeviceError."""
    has_gpu = torch.cuda.is_available()
    if check_device(name) == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    if name.startswith("cuda") and not has_gpu:
        raise DeviceError(f"device {name}: torch {torch.__version__} sees no GPU; install a CUDA build of torch")
    return torch.device(name)


def new_model(network: NetworkConfig, pack: Pack, seed: int = 0) -> Dan:
    """A fresh network, its weights drawn from `seed`, its normalisation taken from the pack's training faces."""
    torch.manual_seed(seed)
    if not network.mean_image:
        return Dan(network)
    crops = crops_in_frame(pack.select(~pack.held_out), network.crop_frame)[0][:, 0]
    mean = crops.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.mean([(crop - mean) ** 2 for crop in crops], axis=0))
    return Dan(network, mean, np.maximum(deviation, 1.0))


class Run:
    """A training run in a folder: `last.ckpt`, `best.ckpt`, `log.csv`. origin: of the weights that it began with."""

    def __init__(self, folder: Path, model: Dan, config: TrainConfig, pack: Pack, origin: Origin | None = None) -> None:
        self.folder, self.config, self.origin = Path(folder), config, origin
        self.device = training_device(config.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        self.step, self.best, self.since_best, self.stopped = 0, math.inf, 0, False
        self.train_pack, self.held_out = pack.select(~pack.held_out), pack.select(pack.held_out)
        if not len(self.train_pack) or not len(self.held_out):
            raise InputError("the pack needs faces of both splits, training and held out")
        self.parameters = _trained_parameters(self.model, config.stage)
        self.optimizer = torch.optim.AdamW(_groups(self.parameters, config.weight_decay), lr=config.lr)
        if config.bf16:
            _run_backbones_in_bf16(self.model, self.device.type)
        cv2.setNumThreads(1)

    @classmethod
    def resume(cls, folder: Path, pack: Pack, **changes: Any) -> Run:
        """Go on from `last.ckpt`. changes: fields of the configuration to replace, such as a larger `steps`."""
        values = load_checkpoint(Path(folder) / "last.ckpt")
        config = TrainConfig.from_dict({**values["config"], **changes})
        run = cls(folder, Dan(NetworkConfig.from_dict(values["network"])), config, pack, values.get("origin"))
        run.model.load_state_dict(values["model"])
        run.average = {key: value.to(run.device) for key, value in values["average"].items()}
        run.optimizer.load_state_dict(values["optimizer"])
        run.step, run.best, run.since_best = values["step"], values["best"], values["since_best"]
        _drop_rows_after(run.folder / "log.csv", run.step)
        return run

    def save(self, name: str = "last.ckpt") -> None:
        """Write a checkpoint with all that `resume` needs."""
        save_checkpoint(
            self.folder / name,
            {
                "config": self.config.to_dict(),
                "network": self.model.config.to_dict(),
                "model": self.model.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "best": self.best,
                "since_best": self.since_best,
                "origin": self.origin,
            },
        )

    def train(self, report: Callable[[dict[str, Any]], None] = lambda row: None) -> None:
        """Run to `config.steps`, until `patience` evaluations brought nothing, or until `stop`; then save.

        report: called with every log row.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.step == 0:
            (self.folder / "log.csv").unlink(missing_ok=True)  # of a run that ended before its first checkpoint
        config, started, losses = self.config, time.monotonic(), []
        with ThreadPoolExecutor(1) as pool:
            batch = pool.submit(self._batch, self.step)
            while self.step < config.steps and not self._stalled() and not self.stopped:
                current, batch = batch.result(), pool.submit(self._batch, self.step + 1)
                losses.append(self._train_step(current))
                self.step += 1
                if self.step % config.eval_every == 0 or self.step == config.steps:
                    report(self._evaluate(np.mean(losses, axis=0), (time.monotonic() - started)))
                    losses.clear()
                if self.step % config.checkpoint_every == 0:
                    self.save()
        self.save()

    def stop(self) -> None:
        """Let `train` end after the step it is in, so that the checkpoint holds whole steps only."""
        self.stopped = True

    def _stalled(self) -> bool:
        return bool(self.config.patience) and self.since_best >= self.config.patience

    def _batch(self, step: int) -> Batch:
        config = self.config
        rows = rows_of_step(len(self.train_pack), config.batch, step, config.seed)
        rng = np.random.default_rng([config.seed, 2, step])
        return make_batch(self.train_pack, rows, self.model.config.crop_frame, config.augmentation, rng)

    def _train_step(self, batch: Batch) -> list[float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # dropout
        _set_modes(self.model, self.config.stage)
        crops = torch.from_numpy(batch.crops).to(self.device).float()
        output = self.model(crops, self.config.stage or None)
        loss, parts = self._loss(output, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self._update_average()
        return parts

    def _loss(self, output: DanOutput, batch: Batch) -> tuple[Tensor, list[float]]:
        truth = torch.from_numpy(batch.landmarks).to(self.device)
        aligned = torch.from_numpy(batch.aligned).to(self.device).float()
        steps = [[landmark_loss(landmarks, truth) for landmarks in stage] for stage in output.steps]
        errors = [stage[-1] for stage in steps]
        loss = self._weighted(steps, aligned)
        right = (errors[-1].detach() < RIGHT_WITHIN) & torch.from_numpy(batch.has_face).to(self.device)
        loss = loss + self.config.confidence_weight * F.binary_cross_entropy_with_logits(output.logit, right.float())
        means = [
            float((error.detach() * aligned).sum() / aligned.sum().clamp(min=1)) for error in (errors[0], errors[-1])
        ]
        return loss, [float(loss.detach()), *means]

    def _weighted(self, steps: list[list[Tensor]], aligned: Tensor) -> Tensor:
        """Mean over the aligned faces. Steps within a stage before its result share half a weight; an earlier stage
        counts
        half, or nothing when it is frozen."""
        count = aligned.sum().clamp(min=1)
        losses = []
        for stage in steps:
            means = [(error * aligned).sum() / count for error in stage]
            losses.append(means[-1] + 0.5 * sum(means[:-1]) / max(1, len(means) - 1))
        return losses[-1] + (0.5 * sum(losses[:-1]) if self.config.stage == 0 else 0)

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items():
            mean = self.average[key]
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def _evaluate(self, losses: np.ndarray, seconds: float) -> dict[str, Any]:
        last = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        errors = held_out_errors(self.model, self.held_out, self.config.stage or None)
        self.model.load_state_dict(last)
        score = errors[-1]
        self.since_best = 0 if score < self.best else self.since_best + 1
        self.best = min(self.best, score)
        if self.since_best == 0:
            self.save("best.ckpt")
        row = {
            "step": self.step,
            "faces": self.step * self.config.batch,
            "lr": round(self.config.lr_at(self.step - 1), 7),
            "seconds": round(seconds, 1),
            "train_loss": round(float(losses[0]), 5),
            "train_stage1": round(float(losses[1]), 5),
            "train_last": round(float(losses[2]), 5),
            **{f"held_out_stage{i + 1}": round(error, 5) for i, error in enumerate(errors)},
        }
        _append_row(self.folder / "log.csv", row)
        return row


def held_out_errors(model: Dan, pack: Pack, n_stages: int | None = None) -> list[float]:
    """Mean inter-pupil NME after each stage, init from the data set's boxes (the tight box where there is none)."""
    landmarks, truth = predict_pack(model, pack, n_stages)
    return [float(nme(stage, truth, "inter-pupil").mean()) for stage in landmarks]


def predict_pack(model: Dan, pack: Pack, n_stages: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
    """Landmarks per stage and the truth, each (N, 68, 2) in crop pixels, without augmentation."""
    crops, truth = crops_in_frame(pack, model.config.crop_frame)
    return predict_crops(model, crops, n_stages), truth


@torch.no_grad()
def predict_crops(model: Dan, crops: np.ndarray, n_stages: int | None = None) -> list[np.ndarray]:
    """Landmarks per stage, each (N, 68, 2) in the pixels of the (N, 1, S, S) uint8 crops."""
    model.eval()
    device = model.mean_image.device
    outputs = [
        [stage.cpu().numpy() for stage in model(torch.from_numpy(part).to(device).float(), n_stages).landmarks]
        for part in np.array_split(crops, max(1, len(crops) // 64))
    ]
    return [np.concatenate(stage) for stage in zip(*outputs, strict=True)]


def _trained_parameters(model: Dan, stage: int) -> list[torch.nn.Parameter]:
    """All parameters, or those of one stage and of the feature image before it; the others are frozen."""
    if stage == 0:
        return list(model.parameters())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    trained = [*model.stages[stage - 1].parameters()]
    if stage > 1:
        trained += [*model.feature_images[stage - 2].parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    return trained


def _set_modes(model: Dan, stage: int) -> None:
    """Train mode; the frozen stages stay in evaluation mode, so that their running statistics do too."""
    model.train()
    for module in model.stages[: max(0, stage - 1)]:
        module.eval()


def _groups(parameters: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _run_backbones_in_bf16(model: Dan, device: str) -> None:
    """Convolutions in bfloat16; coordinates, heads and connection layers stay in float32, where pixels need it."""
    for module in model.modules():
        if isinstance(module, VggBackbone | ResidualBackbone):
            module.forward = torch.autocast(device, torch.bfloat16)(module.forward)  # type: ignore[method-assign]


def _drop_rows_after(path: Path, step: int) -> None:
    """Forget log rows that a killed run wrote after its last checkpoint; they will be written again."""
    if path.exists():
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = rows[:1] + [row for row in rows[1:] if row.endswith("\n") and int(row.split(",")[0] or 0) <= step]
        path.write_text("".join(kept), encoding="utf-8")


def _append_row(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
