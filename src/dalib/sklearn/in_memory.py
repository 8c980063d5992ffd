"""Source-only and adapted, trained and judged as a run does it, with nothing written to disk."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.core.errors import CollapsedError
from dalib.data.rows import Selected
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.fit import Every, fit
from dalib.engine.predict import predict_probabilities, recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.judge.evidence import Evidence, effective_classes
from dalib.judge.guard import collapse_sign
from dalib.judge.selection import trusted_correlation
from dalib.run import recipe
from dalib.run.evaluator import MOST_JUDGED, JudgedImages, judged_rows
from dalib.run.judge import judge
from dalib.run.prior import expect, expected_shares, first_prior, scores_and_prior
from dalib.run.training import Trained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import torch
    from torch import Tensor, nn

    from dalib.data.rows import Rows
    from dalib.data.sources import LabelledImages
    from dalib.models.classifier import ImageClassifier
    from dalib.run.config import TrainConfig
    from dalib.run.recipe import Views

    Line = dict[str, float]


@dataclass(frozen=True)
class Sight:
    """What a training sees of the two domains, and how.

    Attributes:
        train: rows of the source to learn from.
        validation: those that only judge; may be none.
        target: N rows, without labels.
        views: random, for training.
        plain: rows of either domain, as they are predicted.
    """

    train: LabelledImages
    validation: LabelledImages
    target: Tensor
    views: Views
    plain: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Both:
    """What two trainings came to.

    Attributes:
        networks: by the names source-only and adapted, on the host, in evaluation mode.
        judgement: what a run's judgement.json holds; ``judgement["shipped"]`` is the name of what should predict.
        history: the metrics of each training, a line at each evaluation.
    """

    networks: dict[str, nn.Module]
    judgement: dict[str, Any]
    history: dict[str, list[Line]]


def train_both(
    config: TrainConfig,
    make_student: Callable[[], ImageClassifier],
    sights: Mapping[str, Sight],
    device: torch.device,
    on_line: Callable[[str, Line], None] = lambda name, line: None,
) -> Both:
    """Train source-only, then the adaptation, and judge both without a target label.

    Args:
        config: its steps are given; what it says of data and networks is not looked at.
        make_student: gives the same weights each time.
        sights: by the names source-only and adapted.
        on_line: called with the training's name and each line of its metrics.

    Raises:
        UserError: a setting out of its range.
        TrainingDivergedError: a loss that is not finite.
    """
    trained: dict[str, Trained] = {}
    said: dict[str, Evidence] = {}
    history: dict[str, list[Line]] = {}
    for name, settings in (("source-only", recipe.source_only(config)), ("adapted", config)):
        sight, lines = sights[name], history.setdefault(name, [])

        def keep_line(line: Line, name: str = name, lines: list[Line] = lines) -> None:
            lines.append(line)
            on_line(name, line)

        student = make_student()
        before = trained.get("source-only")
        if before is not None and config.warm_start:
            student.load_state_dict(before.model.state_dict())
        trained[name] = _train_one(settings, student, sight, before, device, lines, keep_line)
        said[name] = _all_of(trained[name], sight, device)
    return Both(
        {name: each.model.cpu().eval() for name, each in trained.items()},
        judge(trained, said, config, sights["adapted"].train.classes),
        history,
    )


def _train_one(
    config: TrainConfig,
    student: ImageClassifier,
    sight: Sight,
    before: Trained | None,
    device: torch.device,
    lines: list[Line],
    on_line: Callable[[Line], None],
) -> Trained:
    """One training; ``lines`` holds what ``on_line`` was given so far."""
    assert config.steps is not None
    labels, classes = sight.train.labels, sight.train.classes
    student = student.to(device)
    method = recipe.make_method(config, student, len(classes), first_prior(config.prior, labels, classes))
    views = sight.views
    stream = TwoDomainStream(
        sight.train.images,
        labels,
        sight.target,
        views=DomainViews(views.source, views.of_target(method.target_views)),
        sampling=Sampling(config.batch, config.seed),
        device=device,
        channels_last=True,
    )
    judged = _judged(sight, device)
    best = -math.inf
    kept: tuple[int, dict[str, Tensor]] | None = None

    def evaluate(step: int) -> Line:
        evidence = judged.look(method.predictor(), method.student)
        scores, prior = scores_and_prior(method, evidence, config, step)
        expect(method, prior)
        return scores

    def after_evaluation(step: int) -> None:
        nonlocal best, kept
        course = [line for line in lines if "target_classes" in line]
        if config.select != "last":
            score = trusted_correlation(course)
            if kept is None or score > best:
                best, kept = score, (step, copy.deepcopy(method.predictor().state_dict()))
        if before is not None and (sign := collapse_sign(course, effective_classes(before.evidence.histogram))):
            raise CollapsedError(step, sign)

    every = max(1, config.steps // 10)
    ended, stopped = config.steps, ""
    try:
        fit(
            method,
            recipe.make_optimizer(config.optimizer, student),
            stream,
            steps=config.steps,
            schedule=recipe.make_schedule(config.optimizer, config.steps),
            seed=config.seed,
            log=MetricsLog(None, on_line=on_line),
            evaluate=evaluate,
            after_evaluation=after_evaluation,
            every=Every(log=every, evaluate=every, checkpoint=config.steps),
        )
    except CollapsedError as error:
        ended, stopped = error.step, error.reason
    model, step = method.predictor(), ended
    if kept is not None:
        step = kept[0]
        model.load_state_dict(kept[1])
    # of the rows that the model is for, as they will be predicted: training saw them changed at random
    recompute_statistics(model, sight.train.images if before is None else sight.target, sight.plain, device=device)
    return Trained(model.eval(), judged.look(model), step, ended, stopped, expected_shares(method))


def _judged(sight: Sight, device: torch.device) -> JudgedImages:
    rows: Rows = sight.target
    if len(rows) > MOST_JUDGED:
        rows = Selected(rows, judged_rows(len(rows)))
    return JudgedImages(sight.validation, rows, sight.plain, sight.plain, device, lambda network: network)


def _all_of(trained: Trained, sight: Sight, device: torch.device) -> Evidence:
    """What the finished model says of every row."""
    target = predict_probabilities(trained.model, sight.target, sight.plain, device=device)
    return replace(trained.evidence, target=target, student=None, validation_features=None, target_features=None)
