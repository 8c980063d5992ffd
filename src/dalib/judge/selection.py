"""Selection among models of the same target without a target label: checkpoints of one run, and whole runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dalib.judge.collapse import FEWEST_VALIDATED, fallen_to_chance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def trusted_correlation(
    course: Sequence[Mapping[str, float]], *, classes: int, after: int = 0, validated: int = FEWEST_VALIDATED
) -> float:
    """Returns the class correlation of a training's last checkpoint, or minus infinity if it is not to be trusted.

    Args:
        course: the metrics so far; lines of evaluations have the scores of
            :func:`dalib.judge.evidence.quick_scores`, and the last line is one.
        classes: how many there are.
        after: checkpoints of up to this step are not trusted. An adaptation that starts from the source-only model is
            still close to it then: its predictions are as even as the source's, which the correlation takes for good.
        validated: number of the source's validation images; of fewer than 30 no fall of the accuracy counts.

    Returns:
        ``target_corr_c``; minus infinity up to step ``after``, and where the accuracy on the source's validation images
        has fallen from the best so far nearly to that of guessing (:func:`dalib.judge.collapse.fallen_to_chance`).

    Misleads: as :func:`dalib.judge.scores.corr_c`, it prefers class counts as the prior has them.
    Source: ours, by an earlier study (benchmarks/RESULTS.md): of the scores that cost nothing it has the least regret.

    >>> trusted_correlation([{"target_corr_c": 0.9, "source_validation_accuracy": 0.9}], classes=3)
    0.9
    """
    now, name = course[-1], "source_validation_accuracy"
    if after and now["step"] <= after:
        return -math.inf
    if name in now:
        best = max(line[name] for line in course if name in line)
        if fallen_to_chance(now[name], best, classes, validated):
            return -math.inf
    return float(now["target_corr_c"])


def ranked(scores: Sequence[Mapping[str, float]], agreements: Sequence[float], failed: Sequence[bool]) -> list[int]:
    """Returns the positions of R runs on the same target, the best first; those that failed come last.

    Args:
        scores: of each run, ``target_class_ami`` or, where a run has none, ``target_corr_c`` for all of them.
        agreements: of each run with the mean of all that did not fail (:func:`dalib.judge.scores.ensemble_agreement`);
            decides between equal scores.
        failed: True for a run that collapsed or hurt, by its own judgement (:mod:`dalib.judge.comparison`).

    Misleads: as :func:`dalib.judge.scores.class_ami`.
    Source: ours, by an earlier study (benchmarks/RESULTS.md).

    >>> ranked([{"target_class_ami": 0.9}, {"target_class_ami": 0.95}, {"target_class_ami": 0.99}], [1, 1, 1],
    ...     [False, False, True])
    [1, 0, 2]
    """
    everywhere = all("target_class_ami" in each for each in scores)
    name = "target_class_ami" if everywhere else "target_corr_c"
    keys = [
        (bad, -each.get(name, -math.inf), -agreement)
        for each, agreement, bad in zip(scores, agreements, failed, strict=True)
    ]
    return sorted(range(len(keys)), key=lambda position: keys[position])
