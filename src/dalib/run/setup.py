"""Prepares a run: checks its settings and opens its data."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from dalib.core.console import CountedProgress, clock, say, say_note, say_unreadable, say_warning, some_classes
from dalib.core.devices import choose_device
from dalib.core.errors import ReportedByRankZeroError, Setting, UserError
from dalib.core.places import in_short
from dalib.core.words import as_one, images_in_words
from dalib.data.labels import MIN_LABELS_TO_HOLD_OUT
from dalib.data.named import default_evaluation
from dalib.data.overlap import copy_warnings, overlap_warnings
from dalib.data.sources import open_labelled
from dalib.models.network import make_predictor
from dalib.records.summary import Summary
from dalib.run.classes.prior import check_prior, first_prior
from dalib.run.classes.unknown import check_classes, check_names
from dalib.run.features.fastest import faster_precision, features_folder, gain_of_rounding
from dalib.run.features.own_statistics import checked_share, with_own_statistics
from dalib.run.kit_check import check_kit, require_whole
from dalib.run.others.hints import check_hints, read_hints
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.step_precision import gain_of_rounded_steps
from dalib.run.resume import contents_of
from dalib.run.settings.config import recorded_settings
from dalib.run.settings_check import check_counts, check_inputs, check_stages
from dalib.run.start.data_check import check_data
from dalib.run.start.domains import Domains, identity_of, open_domains
from dalib.run.start.initial_weights import OfHub, Start, fetched
from dalib.run.start.model_alone import open_in_place_of_source
from dalib.run.summary import summary_at_start
from dalib.run.timing.time_limit import is_open, time_limit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.data.preprocessing import Preprocessing
    from dalib.engine.distributed import World
    from dalib.models.classifier import ImageClassifier
    from dalib.run.features.fastest import Precision
    from dalib.run.features.feature_space import FeatureSpace
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.domains import DataRequest, Listings
    from dalib.run.start.kit import Kit


@dataclass(frozen=True)
class Setup:
    """Checked settings, before data are opened.

    Attributes:
        config: fitted to the run that it starts from, if it does.
        request: which images it asks for.
        preprocessing: how images are stored and normalised.
        device: where networks compute.
        start: the models of another run to start from.
        world: the processes that train together.
        hub: backbone and weights from the hub, whose names in ``config`` are those of one commit.
        listings: files of source and target that the check of the data has listed; None on the other ranks, which may
            see other files.
        space: features of the frozen backbone with its pretrained statistics, where the images are still to choose
            between these and both kinds; None where there is nothing to choose.
    """

    config: TrainConfig
    request: DataRequest
    preprocessing: Preprocessing
    device: torch.device
    start: Start | None
    world: World
    hub: OfHub | None = None
    listings: Listings | None = None
    space: FeatureSpace | None = None

    @property
    def asked(self) -> TrainConfig:
        """The configuration with the names of the hub as they were asked for."""
        return self.config if self.hub is None else self.config.with_backbones([self.hub.asked])

    def recorded(self, summary: Summary) -> Summary:
        """Returns the summary with the names of the hub as they were asked for, and with the state that they are of."""
        return summary if self.hub is None else self.hub.recorded(summary)


def frozen_space(setup: Setup, num_classes: int) -> FeatureSpace:
    """Returns the features of the run's frozen backbone, with the weights that its own model starts from."""
    network = image_network.make_network(setup.config, setup.preprocessing, num_classes)
    if setup.start is not None:  # one backbone for both trainings
        image_network.load_first(network, setup.start.weights_for(recipe.name_of_training(setup.config)))
    return image_network.make_feature_space(setup.config, network, setup.preprocessing, setup.device)


@dataclass(frozen=True)
class Data:
    """The opened data of a run.

    Attributes:
        domains: images of source and target.
        evaluated: name of the labelled set that is measured after training; None measures nothing.
        labelled: its images.
        seconds: how long opening took.
        hints: (N, C) class probabilities by an annotator or another model; None without hints.
    """

    domains: Domains
    evaluated: str | None
    labelled: LabelledImages | None
    seconds: float
    hints: Tensor | None = None


def prepare(config: TrainConfig, world: World, *, for_training: bool = True, kit: Kit | None = None) -> Setup:
    """Checks the settings and that the data are there, before anything is measured or read.

    Args:
        config: of the run.
        world: the processes that work together.
        for_training: whether all data have to be there; what needs the source alone looks for it itself.
        kit: that of the configuration, where it is open already.

    Raises:
        UserError: settings out of their range, or that do not go together; see also :func:`check_data`.
    """
    device = choose_device(config.device, local_rank=world.local_rank, processes=world.size)
    backbones, hub = fetched(config.backbones, init=config.init is not None, world=world)
    config = config.with_backbones(backbones)
    fitted, point = starting_point(config, device, kit)
    say_fitted(config, fitted, point)
    config, network = check_settings(fitted, point, device, world)
    request = replace(recipe.make_data_request(config), kit=point.kit)
    listings = _checked_listings(config, request, point.start, world) if for_training else None
    config = _with_precision(config, network, point.preprocessing, device, world)
    undecided = config.model.domain_statistics == "auto"
    space = image_network.make_feature_space(config, network, point.preprocessing, device) if undecided else None
    return Setup(config, request, point.preprocessing, device, point.start, world, hub, listings, space)


class StartingPoint(NamedTuple):
    """The preprocessing of a run's images, and the models and the kit that the run starts from, if it does."""

    preprocessing: Preprocessing
    start: Start | None
    kit: Kit | None

    @property
    def classes(self) -> int:
        """Number of classes of a network to check with: that of the models to start from, or two."""
        return 2 if self.start is None else len(self.start.classes)


def open_kit_of(config: TrainConfig, device: torch.device) -> Kit | None:
    """Opens the kit, or the model alone, that stands in for the source; None where there is a source."""
    if config.kit is None:
        return None
    return open_in_place_of_source(config.kit, config.features, device, with_own_statistics)


def starting_point(
    config: TrainConfig, device: torch.device, kit: Kit | None = None
) -> tuple[TrainConfig, StartingPoint]:
    """Opens what a run starts from, a kit or other models; returns the configuration fitted to it, and it.

    Args:
        config: of the run.
        device: where networks compute.
        kit: that of the configuration, where it is open already.
    """
    preprocessing = image_network.make_preprocessing(config)
    kit = kit or open_kit_of(config, device)
    if kit is None:
        start = Start.of(config.init)
    else:
        if config.model.domain_statistics == "auto":
            config = image_network.with_share(config, kit.domain_statistics)
        check_kit(kit, config, preprocessing)
        start, preprocessing = Start.of_kit(kit), kit.preprocessing
    if start is not None:
        config = image_network.fitted_to(config, start)
    return config, StartingPoint(preprocessing, start, kit)


def say_fitted(asked: TrainConfig, fitted: TrainConfig, point: StartingPoint) -> None:
    """Prints that ``model.standardize`` was taken from the model that the run starts from, if it was."""
    if point.start is not None and fitted.model.standardize != asked.model.standardize:
        value = str(fitted.model.standardize).lower()
        say(f"note: {Setting('model.standardize')} is {value}, as in {point.start.run}")


def check_settings(
    config: TrainConfig, point: StartingPoint, device: torch.device, world: World
) -> tuple[TrainConfig, ImageClassifier]:
    """Checks the settings of a run, without its data; returns the configuration with its share, and its network.

    The share is that of each domain's statistics that the network can have. The network is with first weights.

    Args:
        config: of the run, fitted to what it starts from.
        point: what that is.
        device: where networks compute.
        world: the processes that work together.

    Raises:
        UserError: settings out of their range, or that do not go together.
    """
    _check_values(config, point, world)
    if config.sync_norms:
        image_network.require_synchronizing(device)
    config, network = _network(config, point)
    _check_network(config, point, network, world)
    return config, network


def _check_values(config: TrainConfig, point: StartingPoint, world: World) -> None:
    """Refuses values out of their range, and settings that do not go together."""
    check_counts(config, world)
    time_limit_of(config)
    check_prior(config.prior, config.data.validation_share if point.kit is None else None)
    check_classes(config.classes, config.method, config.prior, baseline=config.baseline)
    check_inputs(config)


def _network(config: TrainConfig, point: StartingPoint) -> tuple[TrainConfig, ImageClassifier]:
    """Makes the network once; returns the configuration with the share of each domain's statistics that it can have."""
    image_network.make_views(config, point.preprocessing)  # refuses those that do not fit the images
    network = image_network.make_network(config, point.preprocessing, point.classes)
    share = checked_share(
        config.model.domain_statistics,
        network.backbone,
        features=config.features,
        trained_stages=config.model.trained_stages,
        images_of_both=point.start is None,
    )
    return image_network.with_share(config, share), network


def _check_network(config: TrainConfig, point: StartingPoint, network: ImageClassifier, world: World) -> None:
    """Refuses first weights that do not fit the network, and settings from which no training can be built."""
    if point.start is not None:
        for weights in point.start.weights.values():
            image_network.load_first(network, weights)
    if point.kit is not None:
        require_whole(point.kit, network)
    make_predictor(network, image_network.architecture_of(config, point.preprocessing))
    recipe.make_method(config, network, point.classes)
    check_hints(config.hints, config.method, config.classes)
    recipe.make_optimizer(config.optimizer, network)
    check_stages(config, world, network)


def _with_precision(
    config: TrainConfig, network: ImageClassifier, preprocessing: Preprocessing, device: torch.device, world: World
) -> TrainConfig:
    """Returns the configuration with the precisions that are faster here, where that is left to measure.

    The run's folder notes what was chosen, so that a resumed run keeps it, also where the other is faster.
    """

    def of_features() -> Precision:
        gain = gain_of_rounding(network, preprocessing, device, features_folder())
        return _said_precision("features", "feature_precision", gain)

    def of_steps() -> Precision:
        if config.features:  # the few layers behind stored features stay in float32
            return "float32"
        gain = gain_of_rounded_steps(network, preprocessing, device, config.batch, features_folder())
        return _said_precision("steps", "precision", gain)

    if config.features and config.feature_precision == "auto":
        config = replace(config, feature_precision=world.from_first(of_features))
    if config.precision == "auto":
        config = replace(config, precision=world.from_first(of_steps))
    return config


def _checked_listings(config: TrainConfig, request: DataRequest, start: Start | None, world: World) -> Listings | None:
    """Checks the data and returns the files of source and target, on the first rank."""
    labelled, found = recipe.make_labelled_set(config), []

    def check() -> None:
        found.append(check_data(request, labelled, prior=config.prior, start=start))

    world.from_first(check)
    return found[0] if found else None


def _said_precision(what: str, setting: str, gain: float) -> Precision:
    """Returns the faster precision; prints it where it rounds, with the setting that takes float32 all the same."""
    precision = faster_precision(gain)
    if precision == "bfloat16":
        say(
            f"{what} are computed in bfloat16, {gain:.1f} times as fast as in float32 on this processor; "
            f"{Setting(setting, 'float32')} avoids the rounding"
        )
    return precision


def open_data(setup: Setup) -> tuple[Setup, Data]:
    """Opens source, target and the labelled set; returns the setup with the steps that the data give, and the data.

    Raises:
        UserError: images or labels that cannot be read or do not fit.
    """
    config, world = setup.config, setup.world
    for doubt in image_network.doubts(config, setup.preprocessing):
        say_warning(doubt)
    since = time.monotonic()
    with world.in_turn():
        domains = open_domains(setup.request, setup.preprocessing, setup.listings)
    _require_same_images(world, domains)
    preprocessing = replace(setup.preprocessing, range=domains.range)
    if world.first:
        for sentence in _warnings(domains):
            say_note(sentence)
    classes = domains.train.classes
    check_names(config.classes, classes)
    if setup.start is not None:
        setup.start.check_classes(classes)
    if not is_open(config):
        steps = recipe.steps_for(config, len(domains.train.labels), len(domains.target.names))
        config = replace(config, steps=steps, epochs=None)
    # read here, so that a mistake in them is reported now and not after training
    evaluated, labelled = (None, None)
    if world.first:
        evaluated, labelled = _labelled_set(
            config.one_evaluate, setup.request, preprocessing, classes, others=config.classes == "other"
        )
    first_prior(config.prior, domains.train.labels, classes)
    hints = None
    if config.hints is not None:
        hints = read_hints(config.hints, domains.target.names, config.one_target, classes)
    data = Data(domains, evaluated, labelled, time.monotonic() - since, hints)
    return replace(setup, config=config, preprocessing=preprocessing, listings=None), data  # of a million files: 1 GB


def _require_same_images(world: World, domains: Domains) -> None:
    """Refuses processes of one training that have read different images: their batches would not fit each other."""
    if world.size == 1:
        return
    own = identity_of(domains)
    if world.any(world.from_first(lambda: own) != own):
        message = (
            "the processes have read different images, some file was lost or became unreadable between them; mend it "
            "and give the command again, or take ",
            Setting("cache", "disk"),
            ", which decodes once for all",
        )
        raise UserError(*message) if world.first else ReportedByRankZeroError(*message)


def _warnings(domains: Domains) -> tuple[str, ...]:
    parts = (domains.train, domains.validation)
    names = [name for part in parts for name in part.names]
    labels, of_target = torch.cat([part.labels for part in parts]).tolist(), domains.target.names
    return (*overlap_warnings(names, labels, of_target), *copy_warnings(names, of_target), *_about_few_images(domains))


def _about_few_images(domains: Domains) -> tuple[str, ...]:
    """Returns a note about classes with one source image."""
    if domains.drawn is not None:  # feature vectors, as many as are wanted
        return ()
    classes = domains.train.classes
    trained, kept = (
        torch.bincount(part.labels, minlength=len(classes)).tolist() for part in (domains.train, domains.validation)
    )
    alone = [name for name, one, other in zip(classes, trained, kept, strict=True) if one + other == 1]
    if not alone:
        return ()
    return (f"note: the source has one image of {some_classes(alone)}; no class is learnt well from that, give more",)


def _labelled_set(
    asked: str | None,
    request: DataRequest,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    others: bool,
) -> tuple[str | None, LabelledImages | None]:
    """Opens what is measured after training; the target's own test set is left out where it is absent or unfit."""
    name = asked or default_evaluation(request.target)
    if name is None:
        return None, None
    try:
        with CountedProgress(f"reading {in_short(name)}") as progress:
            options = request.reading(progress)
            return name, open_labelled(name, preprocessing, classes, argument="evaluate", others=others, **options)
    except UserError as error:
        if asked is not None:
            raise
        say(f"not measured on {in_short(name)}: {error}")
        return None, None


def first_summary(setup: Setup, data: Data) -> Summary:
    """Returns the summary of a run before training."""
    config, contents = setup.config, {}
    if setup.world.first:
        contents = contents_of(
            config.backbones, init=config.init, kit=config.kit, hints=config.hints, prior=config.prior
        )
    asked = Summary(
        method=config.method,
        source=as_one(config.source),
        target=config.one_target,
        settings=recorded_settings(config),
        contents=contents,
    )
    return setup.recorded(summary_at_start(asked, data.domains, setup.device, setup.world, data.seconds))


def say_data(summary: Summary, domains: Domains) -> None:
    """Prints what was read: counts, classes, files that cannot be read."""
    counts = summary.counts
    labelled = counts.get("target_labelled", 0)
    labels = f"{labelled} of them with a label to learn from" if labelled else "whose labels, if any, are not used"
    if held_out := counts.get("target_held_out"):
        labels += f", {held_out} with a label that is held out to judge the models"
    say(
        f"source {in_short(summary.source)}: {_rows_in_words(domains)} to train on, "
        f"{counts['source_validation']} to validate, {len(summary.classes)} classes; "
        f"target {in_short(summary.target)}: {images_in_words(counts['target'])}, {labels} "
        f"(read in {clock(summary.seconds['data'])})"
    )
    say(f"classes: {some_classes(summary.classes)}")
    if labelled and not held_out:
        say(
            f"note: {Setting('target_labels')}: {labelled}, fewer than {MIN_LABELS_TO_HOLD_OUT}, so the adapted model "
            "learns from all of them and none is held out: the models are judged, and one is selected, without labels"
        )
    if domains.drawn is not None:
        count = torch.bincount(domains.train.labels, minlength=len(summary.classes)).tolist()
        if missing := [name for name, number in zip(summary.classes, count, strict=True) if not number]:
            if domains.drawn[0].predicted:
                why = f"the model predicts no target image as {some_classes(missing)}"
            else:
                why = f"the kit has no statistics of {some_classes(missing)}, which had too few images"
            say(f"note: {why}: nothing stands in for them, and the adapted model may forget them")
    say_unreadable((*domains.train.unreadable, *domains.target.unreadable))


def _rows_in_words(domains: Domains) -> str:
    count = len(domains.train.labels)
    if domains.drawn is None:
        return images_in_words(count)
    drawn = domains.drawn[0]
    whose = "target images by their predicted classes" if drawn.predicted else "images"
    return f"statistics of {drawn.images} {whose}, and {count} feature vectors drawn from them"
