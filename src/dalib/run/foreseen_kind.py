"""What ``--classes auto`` will take a target for, seen before a run by models that are trained for it and not kept.

The rule was fitted to predictions of models that are trained on features of the frozen backbone, so that nothing but
such models can be asked: source-only and aligned, with the views and steps of ``benchmarks/kinds.py``, whose
probabilities stand in benchmarks/RESULTS.md. Where they take long, ``checks`` leaves it to the run.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.adaptation.methods import adapts
from dalib.core.console import clock, say, say_result
from dalib.core.errors import Message, Setting
from dalib.engine.results import InMemory
from dalib.run.classes.fewer import fewest_images
from dalib.run.features.fastest import precision_for
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.aligned import align
from dalib.run.recipe.expected import can_be_told, decide_kind
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.shared_inputs import FrozenBackbone, training_inputs
from dalib.run.recipe.task import Task, train_task
from dalib.run.start.domains import open_domains
from dalib.run.timing.pace import seconds_of_run

if TYPE_CHECKING:
    import torch

    from dalib.data.preprocessing import Preprocessing
    from dalib.judge.kinds import TargetKind
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.domains import Domains, Listings
    from dalib.run.start.kit import Kit
    from dalib.run.timing.pace import Counts, Pace

VIEWS, STEPS = 2, 400
"""Views of each image, and steps of the training, at most: those that the rule's probabilities were measured with."""

MOST_SECONDS = 20.0
"""Seconds that this may take; a look before a run is short."""

_WHAT = "whether the target has the source's classes, fewer of them, or others too"


def say_foreseen_kind(
    config: TrainConfig,
    preprocessing: Preprocessing,
    files: Listings,
    counts: Counts,
    pace: Pace,
    device: torch.device,
) -> None:
    """Prints what the target seems to be, where a run asks and this takes little time; else that the run prints it.

    Args:
        config: with the share of the domains' statistics that the images choose.
        preprocessing: how images are stored and normalised.
        files: of source and target.
        counts: numbers of images.
        pace: of this machine.
        device: where networks compute.
    """
    if not _asked(config, None, counts.classes, counts.target):
        return
    own = shortened(config)
    seconds = None
    if config.features and config.init is None:  # of a whole network, or from another run, it is the run's own training
        parts = seconds_of_run(own, counts, pace)
        seconds = parts["features"] + parts["source-only"]
    if seconds is None or seconds > MOST_SECONDS:
        _say_left_to_run(
            "" if seconds is None else f" (here it takes about {clock(seconds)}, more than {clock(MOST_SECONDS)})"
        )
        return
    since = time.monotonic()
    kind = foreseen_kind(own, preprocessing, files, device)
    say_result(
        f"{kind.in_words()}. Estimated with models of {own.steps} steps on {own.features} views of each image, in "
        f"{clock(time.monotonic() - since)}; they are not kept, and a run estimates it anew with its own"
    )


def say_foreseen_of_kit(config: TrainConfig, kit: Kit, targets: int) -> None:
    """Prints that a run from a kit prints what its target of so many images seems to be, or why it does not."""
    if _asked(config, kit, len(kit.description.classes), targets):
        _say_left_to_run()


def _say_left_to_run(why: str = "") -> None:
    message = f"{_WHAT} is estimated by the run and shown in its report{why}; "
    say(Message(message, Setting("classes", "auto"), " acts on it"))


def _asked(config: TrainConfig, kit: Kit | None, classes: int, targets: int) -> bool:
    """Returns whether a run asks what its target is; prints the reason where it does not."""
    given = Setting("classes", config.classes)
    if config.classes != "auto":
        say(Message(f"{_WHAT} is not estimated: ", given, " decides it; ", Setting("classes", "auto"), " estimates it"))
    elif not adapts(config.method):
        say(Message(f"{_WHAT} is not estimated: ", Setting("method", config.method), " adapts to no target"))
    elif not can_be_told(baseline=config.baseline, prior=config.prior, kit=kit):
        why: Setting | str = "a model alone in place of the source"
        if not config.baseline:
            why = Setting("baseline", False)
        elif config.prior == "source":
            why = Setting("prior", "source")
        say(Message(f"{_WHAT} is not estimated: with ", why, " a run assumes the source's classes"))
    elif targets < (fewest := fewest_images(classes)):
        say(f"{_WHAT} cannot be estimated from {targets} images; that takes {fewest}")
    else:
        return True
    return False


def shortened(config: TrainConfig) -> TrainConfig:
    """Returns the configuration with the views and steps that are enough to see what a target is."""
    steps = min(config.baseline_steps or config.steps or STEPS, STEPS)
    return replace(
        config,
        features=min(config.features, VIEWS),
        steps=steps,
        baseline_steps=None,
        epochs=None,
        time_limit=None,
        every=replace(config.every, log=steps, evaluate=steps),
    )


def foreseen_kind(
    config: TrainConfig, preprocessing: Preprocessing, files: Listings, device: torch.device
) -> TargetKind:
    """Returns what the target seems to be, by source-only and aligned models of a frozen backbone's features.

    Args:
        config: as :func:`shortened` returns it.
        preprocessing: how images are stored and normalised.
        files: of source and target.
        device: where networks compute.
    """
    request = replace(recipe.make_data_request(config), cache="ram")
    domains = open_domains(request, preprocessing, files)
    preprocessing = replace(preprocessing, range=domains.range)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # nothing is kept here
        return _kind_of(config, preprocessing, domains, device, Path(folder))


def _kind_of(
    config: TrainConfig, preprocessing: Preprocessing, domains: Domains, device: torch.device, folder: Path
) -> TargetKind:
    """Trains and aligns the models on features that are kept in a folder, and asks them."""
    classes = len(domains.train.classes)
    network = image_network.make_network(config, preprocessing, classes)
    precision = precision_for(config.feature_precision, network, preprocessing, device, folder)
    config = replace(config, feature_precision=precision)
    share = config.model.domain_statistics
    assert share != "auto"  # chosen before
    space = image_network.make_feature_space(config, network, preprocessing, device, folder)
    images, request = image_network.image_inputs(config, preprocessing), recipe.make_data_request(config)
    inputs = training_inputs(images, request, domains, device, frozen=FrozenBackbone(space, share))
    training = dict(recipe.trainings(config))["source-only"]
    task = Task("source-only", training, inputs.domains, inputs.of("source-only")[0], InMemory())
    source_only = train_task(task, device)
    models = RunModels({"source-only": source_only})
    if (aligned := align(source_only, inputs)) is not None:
        models = models.with_model("aligned", aligned)
    return decide_kind(inputs, models, hinted=config.hints is not None)
