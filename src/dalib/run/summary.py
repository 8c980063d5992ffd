"""The summary of a run (summary.json), as it grows from its beginning to its end."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dalib._version import __version__
from dalib.core.devices import describe_device
from dalib.records.content import utc_now
from dalib.records.summary import Stopped, SummarizedModel, Summary
from dalib.run.resume import fingerprints_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.engine.distributed import World
    from dalib.engine.train import Trained
    from dalib.judge.evidence import Evidence
    from dalib.models.known import KnownRule
    from dalib.records.judgement import Judgement
    from dalib.run.start.domains import Domains


def summary_at_start(asked: Summary, domains: Domains, device: torch.device, world: World, seconds: float) -> Summary:
    """Returns the summary before training.

    Args:
        asked: what the configuration gives of it: method, source, target, settings and contents of files.
        domains: the opened data.
        device: where networks compute.
        world: the processes that train together; the first one writes the summary.
        seconds: how long it took to open the data.
    """
    several = "" if world.size == 1 else f", {world.size} processes"
    return replace(
        asked,
        status="running",
        classes=tuple(domains.train.classes),
        fingerprints=fingerprints_of(domains) if world.first else {},
        counts=_counts(domains),
        seconds={"data": seconds},
        dalib=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        device=f"{describe_device(device)}{several}",
        started=utc_now(),
        ranges=dict(zip(("source", "target"), domains.ranges, strict=True)) if domains.range else None,
    )


def timed(summary: Summary, part: str, seconds: float) -> Summary:
    """Returns the summary with how long a part of the run took, beside what it took before the run was resumed."""
    return replace(summary, seconds={**summary.seconds, part: summary.seconds.get(part, 0.0) + seconds})


def continued(summary: Summary, before: Summary) -> Summary:
    """Returns the summary of a run that is resumed: when and with what it began is that of before, and so is its time.

    >>> now, then = Summary(torch="2.14", seconds={"data": 1.0}), Summary(torch="2.13", seconds={"data": 2.0})
    >>> continued(now, then).torch, continued(now, then).seconds
    ('2.13', {'data': 3.0})
    """
    for part, seconds in before.seconds.items():
        summary = timed(summary, part, seconds)
    began = {name: getattr(before, name) for name in ("started", "dalib", "torch", "python", "device")}
    return replace(summary, **began)


def _counts(domains: Domains) -> dict[str, int]:
    counts = {
        "source": len(domains.train.labels) if domains.drawn is None else domains.drawn[0].images,
        "source_validation": len(domains.validation.labels),
        "target": len(domains.target.names),
        "unreadable": len(domains.train.unreadable) + len(domains.target.unreadable),
    }
    if domains.labels is not None:
        counts["target_labelled"] = len(domains.labels.rows)
    if domains.held_out is not None:
        counts["target_held_out"] = len(domains.held_out.rows)
    return counts


def summary_of_model(evidence: Evidence) -> SummarizedModel:
    """Returns the summary of one model, from its predictions for all images."""
    classes = evidence.target.shape[1]
    return SummarizedModel(
        tuple(torch.bincount(evidence.target.argmax(dim=1), minlength=classes).tolist()),
        evidence.target.amax(dim=1).mean().item(),
        evidence.validation_accuracy if len(evidence.labels) else None,
    )


def with_unknown(summary: Summary, evidence: Mapping[str, Evidence], rules: Mapping[str, KnownRule]) -> Summary:
    """Returns the summary with what the models' rules for unknown images leave to the classes.

    Args:
        summary: of the models.
        evidence: their predictions for all images.
        rules: of those models that have one.
    """
    models = dict(summary.models)
    for name, rule in rules.items():
        target = evidence[name].target
        known = rule.are_known(target)
        images = torch.bincount(target[known].argmax(dim=1), minlength=target.shape[1])
        models[name] = replace(
            models[name], target_histogram=tuple(images.tolist()), target_unknown=int((~known).sum())
        )
    return replace(summary, models=models)


def summary_at_end(
    summary: Summary,
    trained: Mapping[str, Trained],
    evidence: Mapping[str, Evidence],
    judgement: Judgement,
    *,
    kept_best: bool,
) -> Summary:
    """Returns the summary with what the end of the run adds to it.

    Args:
        summary: as it was before.
        trained: the models by name.
        evidence: their predictions for all images.
        judgement: of the models.
        kept_best: whether the adapted model is of the best evaluation and not of the last step.
    """
    summary = replace(summary, status="done", shipped=judgement.shipped)
    if judgement.baseline is not None:
        classes = [evidence[name].target.argmax(dim=1) for name in ("adapted", judgement.baseline)]
        summary = replace(summary, changed=(classes[0] != classes[1]).float().mean().item())
    if (adapted := trained.get("adapted")) is None:
        return summary
    if kept_best:
        summary = replace(summary, kept_step=adapted.step)
    if adapted.stopped:
        summary = replace(summary, status="collapsed", stopped=Stopped(adapted.ended, adapted.stopped))
    return summary
