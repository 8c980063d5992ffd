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
    from dalib.judge.kinds import TargetKind
    from dalib.run.setup import Setup
    from dalib.run.start.domains import Domains
    from dalib.run.timing.pace import Counts, Pace

VIEWS, STEPS = 2, 400
"""Views of each image, and steps of the training, at most: those that the rule's probabilities were measured with."""

MOST_SECONDS = 20.0
"""Seconds that this may take; a look before a run is short."""

_WHAT = "whether the target has the source's classes, fewer of them, or others too"


def say_foreseen_kind(setup: Setup, counts: Counts, pace: Pace) -> None:
    """Prints what the target seems to be, where a run asks and this takes little time; else that the run prints it.

    Args:
        setup: with the files of source and target, and the share of the domains' statistics that the images choose.
        counts: numbers of images.
        pace: of this machine.
    """
    if not _asked(setup, counts):
        return
    config = recipe.shortened(setup.config, views=VIEWS, steps=STEPS)
    seconds = None
    # of a whole network, from another run or from a kit, it is the run's own training
    if config.features and config.init is None and setup.request.kit is None:
        parts = seconds_of_run(config, counts, pace)
        seconds = parts["features"] + parts["source-only"]
    if seconds is None or seconds > MOST_SECONDS:
        why = "" if seconds is None else f" (here it takes about {clock(seconds)}, more than {clock(MOST_SECONDS)})"
        message = f"{_WHAT} is estimated by the run and shown in its report{why}; "
        say(Message(message, Setting("classes", "auto"), " acts on it"))
        return
    since = time.monotonic()
    kind = foreseen_kind(replace(setup, config=config))
    say_result(
        f"{kind.in_words()}. Estimated with models of {config.steps} steps on {config.features} views of each image, "
        f"in {clock(time.monotonic() - since)}; they are not kept, and a run estimates it anew with its own"
    )


def _asked(setup: Setup, counts: Counts) -> bool:
    """Returns whether a run asks what its target is; prints the reason where it does not."""
    config = setup.config
    given = Setting("classes", config.classes)
    if config.classes != "auto":
        say(Message(f"{_WHAT} is not estimated: ", given, " decides it; ", Setting("classes", "auto"), " estimates it"))
    elif not adapts(config.method):
        say(Message(f"{_WHAT} is not estimated: ", Setting("method", config.method), " adapts to no target"))
    elif not can_be_told(baseline=config.baseline, prior=config.prior, kit=setup.request.kit):
        why: Setting | str = "a model alone in place of the source"
        if not config.baseline:
            why = Setting("baseline", False)
        elif config.prior == "source":
            why = Setting("prior", "source")
        say(Message(f"{_WHAT} is not estimated: with ", why, " a run assumes the source's classes"))
    elif counts.target < (fewest := fewest_images(counts.classes)):
        say(f"{_WHAT} cannot be estimated from {counts.target} images; that takes {fewest}")
    else:
        return True
    return False


def foreseen_kind(setup: Setup) -> TargetKind:
    """Judges the kind of the target, by source-only and aligned models of a frozen backbone's features."""
    request = replace(setup.request, features=setup.config.features, cache="ram")
    domains = open_domains(request, setup.preprocessing, setup.listings)
    preprocessing = replace(setup.preprocessing, range=domains.range)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # nothing is kept here
        return _kind_of(replace(setup, request=request, preprocessing=preprocessing), domains, Path(folder))


def _kind_of(setup: Setup, domains: Domains, folder: Path) -> TargetKind:
    """Trains and aligns the models on features that are kept in a folder, and asks them."""
    config, preprocessing, device = setup.config, setup.preprocessing, setup.device
    network = image_network.make_network(config, preprocessing, len(domains.train.classes))
    precision = precision_for(config.feature_precision, network, preprocessing, device, folder)
    config = replace(config, feature_precision=precision)
    share = config.model.domain_statistics
    assert share != "auto"  # chosen before
    space = image_network.make_feature_space(config, network, preprocessing, device, folder)
    images, frozen = image_network.image_inputs(config, preprocessing), FrozenBackbone(space, share)
    inputs = training_inputs(images, setup.request, domains, device, frozen=frozen)
    training = dict(recipe.trainings(config))["source-only"]
    task = Task("source-only", training, inputs.domains, inputs.of("source-only")[0], InMemory())
    source_only = train_task(task, device)
    models = RunModels({"source-only": source_only})
    if (aligned := align(source_only, inputs)) is not None:
        models = models.with_model("aligned", aligned)
    return decide_kind(inputs, models, hinted=config.hints is not None)
