"""The loop over the steps, which :func:`dalib.engine.train.train` runs, and one step.

``step`` is its only clock: order, augmentation, dropout and rate all derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch.amp import GradScaler

from dalib.core.devices import global_generators_restored
from dalib.core.errors import StoppedError, TrainingDivergedError, UserError
from dalib.core.seeds import derive_seed, seed_global
from dalib.core.types import Losses
from dalib.engine.checkpoint import Checkpoint
from dalib.engine.distributed import average_buffers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer

    from dalib.core.types import Batch, Method
    from dalib.data.prefetch import Stream
    from dalib.engine.checkpoint import CheckpointFolder
    from dalib.engine.runlog import MetricsLog


@dataclass(frozen=True)
class Every:
    """Intervals, in steps, of logging, evaluation and checkpoints; each also happens after the last step."""

    log: int = 50
    evaluate: int = 250
    checkpoint: int = 500


@dataclass(frozen=True)
class Training:
    """Method, optimiser and batches that the steps of one training compute with.

    Attributes:
        method: what to train; its student is on the stream's device.
        optimizer: over the student's parameters; each group has its base rate under ``initial_lr``.
        stream: gives the batch of a step.
        schedule: step -> share of the base rate.
        steps: how many there are.
        seed: of dropout and whatever else draws from torch's global generator.
        autocast: type in which the forward passes compute, such as ``torch.bfloat16``; None is float32. Weights,
            augmentation and optimiser stay in float32, and so do the losses, which see to it themselves.
        accumulate: parts that the batch of a step is computed in, one after the other, for less memory. The gradient is
            the mean of theirs, weighted by their images; what is not a mean over images sees the part: batch
            normalisation, class balance.
        scaler: of the loss, for gradients in float16, which would else vanish; by default it does not scale.
    """

    method: Method
    optimizer: Optimizer
    stream: Stream[Batch]
    schedule: Callable[[int], float]
    steps: int
    seed: int = 0
    autocast: torch.dtype | None = None
    accumulate: int = 1
    scaler: GradScaler = field(default_factory=partial(GradScaler, enabled=False))


def train_step(training: Training, step: int) -> Losses:
    """Moves the student's weights by one step, and returns the step's losses without their graph.

    The global generator is seeded by the step; whoever calls this forks it to leave it as it was.
    """
    method, optimizer, stream, scaler = training.method, training.optimizer, training.stream, training.scaler
    seed_global(derive_seed(training.seed, "dropout", step, stream.rank), stream.device)
    rate = training.schedule(step)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate

    optimizer.zero_grad(set_to_none=True)
    batch = stream.batch_at(step)
    parts, images = [], []
    for part in batch.split(training.accumulate):
        with torch.autocast(stream.device.type, dtype=training.autocast, enabled=training.autocast is not None):
            losses = method.loss(part, step)
        parts_in_batch = len(batch.labels) / len(part.labels)  # of this size
        scaler.scale(losses.total / parts_in_batch).backward()  # type: ignore[no-untyped-call]
        parts.append(losses.detached())
        images.append(len(part.labels))
    scaler.step(optimizer)
    scaler.update()
    method.after_step(step)
    return Losses.mean(parts, images)


def fit(
    training: Training,
    log: MetricsLog,
    *,
    checkpoints: CheckpointFolder | None = None,
    evaluate: Callable[[int], dict[str, float]] = lambda step: {},
    after_evaluation: Callable[[int], None] = lambda step: None,
    every: Every = Every(),
    start: int = 0,
    stop: Callable[[int], bool] = lambda step: False,
) -> None:
    """Trains from step ``start`` to the last one. torch's global generator is given back as it was.

    Args:
        training: method, batches and optimiser.
        log: takes the loss parts, the method's metrics, the rate, and what ``evaluate`` returns.
        checkpoints: where to save; nothing is saved without.
        evaluate: label-free or source-only measures, computed rarely; called with the number of steps done.
        after_evaluation: called with the number of steps done, when the measures are in the log.
        every: how often to log, evaluate and save.
        start: where a resumed training starts: the step of the checkpoint that :func:`restore` brought back.
        stop: called after each step, with the number of steps done; True saves and leaves.

    With several processes (:mod:`dalib.engine.distributed`) each calls this, with its own part of each batch; the
    losses in the log are means over all. Only the first process writes checkpoints.

    Raises:
        TrainingDivergedError: a loss that is not finite, at the next time of logging; or weights, before they are
            evaluated or saved.
        StoppedError: stopped before the last step; a checkpoint of this step is saved, if any are.
    """
    method, stream, steps = training.method, training.stream, training.steps
    with global_generators_restored(stream.device):
        for step in range(start, steps):
            losses = train_step(training, step)
            done = step + 1
            # the parts first: what is not finite is named by the part that it comes from
            log.record(done, {**losses.parts, **losses.metrics, "loss": losses.total})
            evaluating, saving = (done % often == 0 or done == steps for often in (every.evaluate, every.checkpoint))
            if evaluating or saving:
                _average_buffers(method)
            if evaluating or saving or done % every.log == 0:
                means = log.take_means(stream.images_per_step)  # of finite losses, which alone are evaluated
                if evaluating:
                    _require_finite(method.student, done)
                measures = evaluate(done) if evaluating else {}
                log.write(means, {"rate": training.schedule(step), **measures})
            if evaluating:
                with log.paused():
                    after_evaluation(done)
            stopping = stop(done) and done < steps
            if stopping and not saving:
                _average_buffers(method)
            if saving or stopping:
                _require_finite(method.student, done)  # in each process, or those that do not save would go on alone
                if checkpoints is not None:
                    with log.paused():
                        _save(training, log, checkpoints, done)
            if stopping:
                raise StoppedError(done)


def _save(training: Training, log: MetricsLog, checkpoints: CheckpointFolder, step: int) -> None:
    log.sync()
    method, optimizer, scaler = (each.state_dict() for each in (training.method, training.optimizer, training.scaler))
    checkpoints.save(Checkpoint(step, method, optimizer, log.pending(), scaler))


def _average_buffers(method: Method) -> None:
    """Averages batch normalisation's statistics over the processes, before one evaluates or saves its model."""
    average_buffers(method.student)
    average_buffers(method.predictor())


def _require_finite(student: nn.Module, step: int) -> None:
    # a finite loss can have a gradient that is not, and no good checkpoint may be followed by such weights
    if not all(bool(parameter.isfinite().all()) for parameter in student.parameters()):
        raise TrainingDivergedError(f"the student's weights are not finite after step {step}. Lower the learning rate")


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Brings method, optimiser and loss scale to a checkpoint; its step and its log are for :func:`fit`.

    Rates and other settings stay as the optimiser was made: they are the configuration's, which may have been changed.

    Raises:
        UserError: a checkpoint of another network, method or optimiser.
    """
    optimizer = training.optimizer
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    try:
        training.method.load_state_dict(checkpoint.method)
        optimizer.load_state_dict(checkpoint.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"the checkpoint after step {checkpoint.step} is of another network, method or optimiser "
            f"({shorten(str(error), 200)}); put the settings back as they were, or begin a new run"
        ) from error
    for group, setting in zip(optimizer.param_groups, settings, strict=True):
        group.update(setting)
    if checkpoint.scaler:
        training.scaler.load_state_dict(checkpoint.scaler)
