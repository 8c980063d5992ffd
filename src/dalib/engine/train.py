"""One training, from the first step to the finished model: the same for a run, for scikit-learn and for benchmarks.

:mod:`dalib.engine.fit` has the loop over the steps; here is what an evaluation decides, and what is kept.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from dalib.core.console import TrainingProgress, say
from dalib.core.errors import CollapsedError
from dalib.data.prefetch import Prefetched
from dalib.engine.distributed import ALONE, World
from dalib.engine.fit import Every, Training, fit, restore
from dalib.engine.keep import keep_if_better
from dalib.engine.predict import recompute_statistics
from dalib.engine.runlog import MetricsLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from dalib.core.types import Batch, Method
    from dalib.data.prefetch import Stream
    from dalib.data.rows import Rows
    from dalib.engine.evaluate import Evaluator
    from dalib.engine.results import Line, Results
    from dalib.judge.evidence import Evidence


@dataclass(frozen=True)
class Statistics:
    """Images that batch normalisation's statistics are recomputed on when training has ended.

    Attributes:
        rows: the images.
        plain: rows -> input of the network, without augmentation.
    """

    rows: Rows
    plain: Callable[[Tensor], Tensor]


class Revised(Protocol):
    """A part of a training that is estimated from the predictions for the whole target at each evaluation."""

    def revise(self, beliefs: Tensor) -> dict[str, Any]:
        """Returns the state of a new estimate, by predictions (M, C) for the evaluated target images."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over an estimate."""
        ...


@dataclass(frozen=True)
class Rules:
    """Consequences of an evaluation.

    Attributes:
        assess: method, evidence and step -> the scores to log, and the class shares (C,) to expect from then on; None
            where these stay as they are.
        revised: what is estimated anew from the predictions for the target, such as the worth of hints; None is
            nothing.
        score: lines of the metrics up to an evaluation -> how good its weights are; None keeps the last weights.
        collapse: lines up to an evaluation -> a sentence with the reason why training should stop; empty where it
            should not.
    """

    assess: Callable[[Method, Evidence, int], tuple[dict[str, float], Tensor | None]]
    revised: Revised | None = None
    score: Callable[[Sequence[Line]], float] | None = None
    collapse: Callable[[Sequence[Line]], str] = lambda lines: ""


@dataclass(frozen=True)
class Plan:
    """All that one training needs beside its steps.

    Attributes:
        name: adapted or source-only.
        evaluator: evaluates its checkpoints.
        rules: consequences of an evaluation.
        every: how often to log, evaluate and save.
        statistics: what batch normalisation's statistics are recomputed on in the end; None keeps those of training.
    """

    name: str
    evaluator: Evaluator
    rules: Rules
    every: Every
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Observer:
    """Callbacks during a training.

    Attributes:
        stop: called between two steps; True saves and leaves.
        on_line: called with each line of the metrics once it is written.
        on_evidence: called at each evaluation with the training's name, the step and the evidence.
        progress: print the progress.
    """

    stop: Callable[[], bool] = lambda: False
    on_line: Callable[[Line], None] = lambda line: None
    on_evidence: Callable[[str, int, Evidence], None] = lambda name, step, evidence: None
    progress: bool = True


NOBODY = Observer()
"""Lets a training run to its end, with its progress printed."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        model: the network, which takes the training's inputs.
        evidence: its predictions for the evaluated images.
        step: number of steps after which the model had these weights.
        ended: the last step.
        stopped: why training ended early; empty where it did not.
        prior: (C,) the class shares that it expected in the end; None for a method that expects none.
    """

    model: nn.Module
    evidence: Evidence
    step: int
    ended: int
    stopped: str
    prior: Tensor | None


def train(
    training: Training,
    plan: Plan,
    results: Results,
    *,
    resume: bool = False,
    world: World = ALONE,
    observer: Observer = NOBODY,
) -> Trained:
    """Trains, evaluates, keeps the best weights and stops where training collapses; returns the finished model.

    With several processes each calls this; the first one evaluates, decides and writes, and sends the others what it
    decided.

    Args:
        training: method, batches and optimiser.
        plan: the evaluation and what follows from it.
        results: takes metrics, checkpoints and models.
        resume: start from the newest checkpoint of the results, if they have one.
        world: the processes that train together.
        observer: is called at each event.

    Raises:
        TrainingDivergedError: a loss that is not finite.
        StoppedError: the observer stopped the training between two steps; with checkpoints, this step is saved.
    """
    decisions = _Decisions(training.method, plan, results, world, observer)
    checkpoint = world.from_first(results.newest) if resume else None
    start = 0 if checkpoint is None else checkpoint.step
    if checkpoint is not None:
        restore(training, checkpoint)
        if observer.progress and start < training.steps:
            say(f"{plan.name} goes on after step {start}")
    ended, stopped = training.steps, ""
    try:
        _fit(training, decisions, start, {} if checkpoint is None else checkpoint.log)
    except CollapsedError as error:
        ended, stopped = error.step, error.reason
    if stopped and observer.progress:
        say(f"{plan.name} stopped at step {ended}: {stopped}")
    evidence, step = world.from_first(lambda: decisions.finish(ended))
    model = training.method.predictor()
    world.share(model)
    prior = training.method.class_prior
    return Trained(model, evidence, step, ended, stopped, None if prior is None else prior.prior.cpu())


def _fit(training: Training, decisions: _Decisions, start: int, pending: dict[str, Any]) -> None:
    """Runs the steps from ``start`` on, with batches made ahead; ``pending`` are metrics that are not written yet.

    Raises:
        CollapsedError: the metrics show a collapse.
        TrainingDivergedError, StoppedError: see :func:`train`.
    """
    plan, results, observer, first = decisions.plan, decisions.results, decisions.observer, decisions.world.first
    progress = TrainingProgress(plan.name, training.steps, start=start) if observer.progress else None

    def on_line(line: Line) -> None:
        results.add(line)
        if progress is not None:
            progress.line(line)
        observer.on_line(line)

    def stop(step: int) -> bool:
        if progress is not None:
            progress.step(step)
        return decisions.stop(step)

    with _ahead(training.stream, training.steps) as stream, progress or nullcontext():
        fit(
            replace(training, stream=stream),
            MetricsLog(results.metrics if first else None, after=start, pending=pending, on_line=on_line),
            checkpoints=results.checkpoints if first else None,
            evaluate=decisions.evaluate,
            after_evaluation=decisions.after_evaluation,
            every=plan.every,
            start=start,
            stop=stop,
        )


@dataclass(frozen=True)
class _Decisions:
    """Decisions while a method trains: the first process makes them, for all."""

    method: Method
    plan: Plan
    results: Results
    world: World
    observer: Observer

    def evaluate(self, step: int) -> dict[str, float]:
        """Returns the scores of the evaluation after this step; the method expects the new class shares."""
        scores, prior, estimate = self.world.from_first(lambda: self._assess(step))
        if prior is not None and self.method.class_prior is not None:
            self.method.class_prior.set_prior(prior)
        if estimate is not None and self.plan.rules.revised is not None:
            self.plan.rules.revised.load_state_dict(estimate)
        return scores

    def _assess(self, step: int) -> tuple[dict[str, float], Tensor | None, dict[str, Any] | None]:
        evidence = self.plan.evaluator.evidence(self.method.predictor(), self.method.student)
        self.observer.on_evidence(self.plan.name, step, evidence)
        scores, prior = self.plan.rules.assess(self.method, evidence, step)
        revised = self.plan.rules.revised
        return scores, prior, None if revised is None else revised.revise(evidence.target)

    def after_evaluation(self, step: int) -> None:
        """Keeps the weights if they are the best so far.

        Raises:
            CollapsedError: the metrics show a collapse.
        """
        if reason := self.world.from_first(lambda: self._keep_or_doubt(step)):
            raise CollapsedError(step, reason)

    def _keep_or_doubt(self, step: int) -> str:
        rules, lines = self.plan.rules, self.results.lines_until(step)
        if rules.score is not None:
            keep_if_better(self.results, step, rules.score(lines), self.method.predictor)
        return rules.collapse([line for line in lines if "target_classes" in line])

    def stop(self, step: int) -> bool:
        """Returns whether to save and leave after this step."""
        # several processes leave after the same step; to agree on it costs a message, and is done when they log
        agreeing = self.world.size == 1 or step % self.plan.every.log == 0
        return agreeing and self.world.any(self.observer.stop())

    def finish(self, ended: int) -> tuple[Evidence, int]:
        """Brings the model to its final weights and saves it; returns its evidence and the step of its weights."""
        model, step, statistics = self.method.predictor(), ended, self.plan.statistics
        if (kept := self.results.kept()) is not None and self.plan.rules.score is not None:
            weights = self.results.kept_weights()
            model.load_state_dict({name: weights[name] for name in model.state_dict()})
            step = kept.step
        if statistics is not None:
            recompute_statistics(model, statistics.rows, statistics.plain, device=self.plan.evaluator.device)
        self.results.save(model)
        return self.plan.evaluator.evidence(model), step


def _ahead(stream: Stream[Batch], steps: int) -> AbstractContextManager[Stream[Batch]]:
    """Makes batches ahead in a thread where their images are not in memory."""
    return nullcontext(stream) if stream.in_memory else Prefetched(stream, end=steps)
