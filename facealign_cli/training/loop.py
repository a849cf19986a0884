"""The training loop, read from top to bottom: batches, loss, averaged weights, evaluation, checkpoints.

A batch is a function of (seed, step), so a run that is stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facealign_cli.arrays import Floats
from facealign_cli.errors import InputError
from facealign_cli.files.documents import parsing
from facealign_cli.training.augment import Batch
from facealign_cli.training.batches import BatchSource, LoaderError
from facealign_cli.training.checkpoint import load_checkpoint, load_optimizer, model_of, save_checkpoint
from facealign_cli.training.config import NetworkConfig
from facealign_cli.training.device import check_convolutions, run_backbones_in_bf16, training_device
from facealign_cli.training.layers import landmark_loss, normaliser, point_distance, sigma_loss
from facealign_cli.training.log import append_row, drop_rows_after
from facealign_cli.training.measure import held_out_errors, measured_faces, turned_errors
from facealign_cli.training.network import Dan, DanOutput
from facealign_cli.training.origin import Origin
from facealign_cli.training.pack import Pack, crops_in_frame
from facealign_cli.training.schedule import TrainConfig, check_same

RIGHT_WITHIN = 0.10
"""Landmarks whose error is below this share of `layers.normaliser` count as right for the confidence."""


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

    def __init__(
        self,
        folder: Path,
        model: Dan,
        config: TrainConfig,
        pack: Pack,
        *,
        origin: Origin | None = None,
        teacher: Dan | None = None,
    ) -> None:
        self.folder, self.config, self.origin = Path(folder), config, origin
        check_convolutions(model)
        self.teacher = _checked_teacher(teacher, model, config)
        self.device = training_device(config.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        self.step, self.best, self.since_best, self.stopped = 0, math.inf, 0, False
        self.seconds, self._started = 0.0, math.nan  # of training so far, and when this process began
        self.train_pack = pack.select(~pack.held_out & pack.labelled)
        self.held_out = pack.select(pack.held_out & pack.labelled)
        self.turned = self.held_out.select(np.isfinite(self.held_out.yaw))
        self.measured = measured_faces(pack)
        if not len(self.train_pack) or not len(self.held_out):
            raise InputError("the pack needs labelled faces of both splits, training and held out")
        self.batches = BatchSource(self.train_pack, config, self.model.config.crop_frame)
        self.parameters = _trained_parameters(self.model, config.stage)
        self.optimizer = torch.optim.AdamW(_groups(self.parameters, config.weight_decay), lr=config.lr)
        if self.teacher is not None:
            self.teacher.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for network in (self.model, self.teacher):
            if config.bf16 and network is not None:
                run_backbones_in_bf16(network, self.device.type)
        cv2.setNumThreads(1)

    @classmethod
    def resume(
        cls,
        folder: Path,
        pack: Pack,
        teacher: Dan | None = None,
        *,
        same: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Run:
        """Go on from `last.ckpt`.

        same: fields of the configuration, and "network" for the network's name, as somebody believes them to be; they
        cannot be changed. changes: fields to replace, such as a larger `steps`. Raises InputError where `same` is not
        what the run was begun with.
        """
        path = Path(folder) / "last.ckpt"
        values = load_checkpoint(path)
        begun = {"network": values["network"]["name"], **vars(TrainConfig.from_dict(values["config"]))}
        check_same(Path(folder), begun, same or {})
        config = TrainConfig.from_dict({**values["config"], **changes})
        average = model_of(values).state_dict()
        model = model_of(values, averaged=False)
        run = cls(folder, model, config, pack, origin=values.get("origin"), teacher=teacher)
        run.average = {key: value.to(run.device) for key, value in average.items()}
        with parsing(path, "a checkpoint to go on from"):
            load_optimizer(run.optimizer, values)
        run.step = values["step"]
        run.best, run.since_best = values.get("best", math.inf), values.get("since_best", 0)
        run.seconds = values.get("seconds", 0.0)
        drop_rows_after(run.folder / "log.csv", run.step)
        return run

    def save(self, name: str = "last.ckpt") -> None:
        """Write a checkpoint with all that `resume` needs.

        Raises InputError where its weights are no longer finite; the last checkpoint stays as it is.
        """
        if not all(bool(value.isfinite().all()) for value in self.average.values()):
            raise self._diverged()
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
                "seconds": self._elapsed(),
                "origin": self.origin,
            },
        )

    def train(self, report: Callable[[dict[str, Any]], None] = lambda row: None, loaders: int = 0) -> None:
        """Run to `config.steps` or for `config.minutes`, until `patience` evaluations brought nothing, or until `stop`;
        then save.

        report: called with every log row. loaders: processes that make the batches, see `BatchSource`; they change the
        speed alone. Raises InputError where the training diverges; the last checkpoint stays as it is. Raises
        LoaderError, after it has saved, where a loader ends or fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.step == 0:
            (self.folder / "log.csv").unlink(missing_ok=True)  # of a run that ended before its first checkpoint
        self._started = time.monotonic()
        try:
            with self.batches.from_step(self.step, loaders) as next_batch:
                self._train_on(next_batch, report)
        except LoaderError as error:
            self.save()
            raise LoaderError(
                f"{error}: --resume goes on from step {self.step}, with fewer --loaders if this happens again"
            ) from error
        self.save()

    def _train_on(self, next_batch: Callable[[], Batch], report: Callable[[dict[str, Any]], None]) -> None:
        config, losses = self.config, []
        while not self._ended() and not self._stalled() and not self.stopped:
            with self._watched():
                losses.append(self._train_step(next_batch()))
            self.step += 1
            if self.step % config.eval_every == 0 or self._ended():
                with self._watched():
                    row = self._evaluate(np.mean(losses, axis=0))
                report(row)
                losses.clear()
            if self.step % config.checkpoint_every == 0:
                self.save()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """What torch says of numbers that have become infinite, or lead beyond any picture, as InputError."""
        try:
            yield
        except (RuntimeError, IndexError) as error:
            if not any(words in str(error) for words in ("out of bounds", "non-finite", "device-side assert")):
                raise
            raise self._diverged() from error

    def _diverged(self) -> InputError:
        return InputError(
            f"the training diverged at step {self.step}: its numbers are no longer finite; a lower learning rate "
            "(--lr) or a longer rise of it (--warmup-steps) helps"
        )

    def stop(self) -> None:
        """Let `train` end after the step it is in, so that the checkpoint holds whole steps only."""
        self.stopped = True

    def _elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.seconds + (0.0 if math.isnan(self._started) else time.monotonic() - self._started)

    def _ended(self) -> bool:
        return self.config.ended(self.step, self._elapsed())

    def _stalled(self) -> bool:
        return bool(self.config.patience) and self.since_best >= self.config.patience

    def _train_step(self, batch: Batch) -> list[float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step, self._elapsed())
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # dropout
        _set_modes(self.model, self.config.stage)
        crops = torch.from_numpy(batch.crops).to(self.device).float()
        output = self.model(crops, self.config.stage or None)
        loss, parts = self._loss(output, batch, crops)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, error_if_nonfinite=True)
        self.optimizer.step()
        self._update_average()
        return parts

    def _loss(self, output: DanOutput, batch: Batch, crops: Tensor) -> tuple[Tensor, list[float]]:
        truth = torch.from_numpy(batch.landmarks).to(self.device)
        aligned = torch.from_numpy(batch.aligned).to(self.device).float()
        weights = torch.from_numpy(batch.weights).to(self.device)
        steps = [[landmark_loss(landmarks, truth, weights) for landmarks in stage] for stage in output.steps]
        share = weights.mean(dim=1).clamp(min=1e-6)
        errors = [stage[-1].detach() / share for stage in steps]  # means over the points by weight
        loss, count = self._weighted(steps, aligned), aligned.sum().clamp(min=1)
        if self.teacher is not None:
            said, trust = teaching(self.teacher, crops)
            taught = [[landmark_loss(landmarks, said, trust) for landmarks in stage] for stage in output.steps]
            loss = loss.lerp(self._weighted(taught, aligned), self.config.teacher_share)
        right = (errors[-1] < RIGHT_WITHIN) & torch.from_numpy(batch.has_face).to(self.device)
        loss = loss + self.config.confidence_weight * F.binary_cross_entropy_with_logits(output.logit, right.float())
        if output.sigma is not None:
            distance = point_distance(output.landmarks[-1].detach(), truth)
            terms = sigma_loss(output.sigma, distance, weights, normaliser(truth))
            loss = loss + self.config.sigma_weight * (terms * aligned).sum() / count
        means = [float((error * aligned).sum() / count) for error in (errors[0], errors[-1])]
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
        values = self.model.state_dict()
        floats = [key for key, value in values.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([self.average[key] for key in floats], [values[key] for key in floats], 1 - keep)
        for key in values.keys() - set(floats):
            self.average[key].copy_(values[key])

    def _evaluate(self, losses: Floats) -> dict[str, Any]:
        last = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        errors = held_out_errors(self.model, self.measured, self.config.stage or None)
        turned = turned_errors(self.model, self.turned, self.config.stage or None)
        self.model.load_state_dict(last)
        score = errors[-1]
        self.since_best = 0 if score < self.best else self.since_best + 1
        self.best = min(self.best, score)
        if self.since_best == 0:
            self.save("best.ckpt")
        row = {
            "step": self.step,
            "faces": self.step * self.config.batch_size,
            "lr": round(self.config.lr_at(self.step - 1, self._elapsed()), 7),
            "seconds": round(self._elapsed(), 1),
            "train_loss": round(float(losses[0]), 5),
            "train_stage1": round(float(losses[1]), 5),
            "train_last": round(float(losses[2]), 5),
            **{f"held_out_stage{i + 1}": round(error, 5) for i, error in enumerate(errors)},
            **{f"yaw_{name}": round(error, 5) for name, error in turned.items()},
        }
        append_row(self.folder / "log.csv", row)
        return row


@torch.no_grad()
def teaching(teacher: Dan, crops: Tensor) -> tuple[Tensor, Tensor]:
    """What a teacher says of (N, 1, S, S) crops: landmarks (N, 68, 2), and weights (N, 68), less where it doubts.

    A point's weight is 1 up to the median of the sigmas of the batch, and falls with sigma beyond it.
    """
    output = teacher(crops)
    landmarks = output.landmarks[-1]
    if output.sigma is None:
        return landmarks, torch.ones_like(landmarks[..., 0])
    return landmarks, (output.sigma.median() / output.sigma).clamp(max=1)


def _checked_teacher(teacher: Dan | None, model: Dan, config: TrainConfig) -> Dan | None:
    if (teacher is not None) != (config.teacher_share > 0):
        raise InputError("a teacher and a share of the loss that it has (teacher_share) go together")
    if teacher is None:
        return None
    if teacher.config.crop_frame != model.config.crop_frame:
        raise InputError(
            f"the teacher {teacher.config.name} needs crops of {teacher.config.crop_size} pixels, and "
            f"{model.config.name} trains on crops of {model.config.crop_size}; export the teacher and let it label the "
            "faces (train label or train relabel, --model FILE.onnx)"
        )
    return teacher.eval().requires_grad_(False)


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
