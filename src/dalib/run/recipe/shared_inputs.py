"""Data and preprocessing that the trainings of a run share: images, or features of a frozen backbone in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.augment.stored import Standardized, StoredView
from dalib.engine.distributed import ALONE, World
from dalib.run.features.domain_features import extract_part, to_features
from dalib.run.features.feature_space import standardization
from dalib.run.features.inputs import StandardizedViews
from dalib.run.features.own_statistics import chosen_share
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.stages import LastStages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier
    from dalib.run.classes.fewer import ExpectedClasses
    from dalib.run.classes.unknown import ExpectedKnown
    from dalib.run.features.feature_space import FeatureSpace
    from dalib.run.features.inputs import Inputs
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.domains import DataRequest, Domains
    from dalib.run.start.initial_weights import Start
    from dalib.run.start.kit import Kit


@dataclass(frozen=True)
class TrainingInputs:
    """Data and preprocessing shared by a run's trainings: images, or features of a frozen backbone in their place.

    Attributes:
        domains: their rows.
        images: how images reach a network.
        device: where networks compute.
        space: the features, if the rows are features.
        standardized: how features are standardised for the target, if they are.
        expected: classes that the target seems to have, or its images that seem known, where they are not all.
        hints: (N, C) probabilities, what somebody else thinks of the target's images; None without hints.
        stages: the backbone's last stages, if they are trained after the head.
    """

    domains: Domains
    images: Inputs
    device: torch.device
    space: FeatureSpace | None = None
    standardized: StandardizedViews | None = None
    expected: ExpectedClasses | ExpectedKnown | None = None
    hints: Tensor | None = None
    stages: LastStages | None = None

    def of(self, name: str) -> tuple[Inputs, Callable[[nn.Module], nn.Module]]:
        """Returns the inputs of a training, and what makes a network of images of the one that is trained.

        The aligned and the adapted network are standardised for the target; the source-only one knows the source alone,
        unless the backbone has a share of each domain's own statistics, which it then has for the target, too.
        """
        space, architecture, standardized = self.space, self.images.architecture, self.standardized
        if space is None:
            return self.images, lambda network: network
        if standardized is None:
            return space.inputs(architecture), lambda head: space.whole(head, None)
        if name == "source-only":
            standardized = StandardizedViews(*[standardized.source] * 3)
        return space.inputs(architecture, standardized), lambda head: space.whole(head, standardized.plain)


@dataclass(frozen=True)
class FrozenBackbone:
    """A frozen backbone, as it is before any statistics of the domains are its own.

    Attributes:
        space: its features.
        stages: its last stages, if they are trained after the head.
    """

    space: FeatureSpace
    stages: LastStages | None = None


def frozen_backbone(
    config: TrainConfig,
    request: DataRequest,
    preprocessing: Preprocessing,
    domains: Domains,
    device: torch.device,
    start: Start | None = None,
) -> FrozenBackbone:
    """Returns the backbone of a configuration with features; nothing is computed yet.

    Args:
        config: backbone and weights.
        request: the domains' names, and how many views.
        preprocessing: how rows become the input of a network.
        domains: images.
        device: where networks compute.
        start: the models that the run starts from, if it does.
    """
    space = feature_space(config, preprocessing, len(domains.train.classes), device, start)
    if not (count := config.model.trained_stages):
        return FrozenBackbone(space)
    inputs = image_network.image_inputs(config, preprocessing)
    return FrozenBackbone(space, LastStages.of(count, space, domains, inputs, request))


def training_inputs(
    config: TrainConfig,
    request: DataRequest,
    preprocessing: Preprocessing,
    domains: Domains,
    device: torch.device,
    *,
    frozen: FrozenBackbone | None = None,
    world: World = ALONE,
    enough: Callable[[int], bool] | None = None,
) -> TrainingInputs:
    """Returns what the configuration trains on; features that are not kept are computed, by all processes of a machine.

    Args:
        config: backbone, weights and views.
        request: the domains' names, and how many views.
        preprocessing: how rows become the input of a network.
        domains: images.
        device: where networks compute.
        frozen: the backbone whose features are trained on; it is made if none is given.
        world: the processes that train together.
        enough: called before each view, see ``dalib.run.features.domain_features.to_features``.
    """
    inputs = image_network.image_inputs(config, preprocessing)
    if not config.features:
        if domains.drawn is not None:
            domains, inputs = _at_the_head(domains, inputs)
        return TrainingInputs(domains, inputs, device)
    if frozen is None:
        frozen = frozen_backbone(config, request, preprocessing, domains, device)
    space = frozen.space
    share = config.model.domain_statistics
    assert share != "auto"  # chosen before
    if share:
        with world.in_turn():
            whole = None if domains.whole is None else domains.whole.images
            space = space.of_domains(whole, domains.target.images, share)
    number, among = world.place_on_machine()
    if among > 1 and enough is None:  # else views are computed while there is time
        with world.in_turn():
            space.prepare()
        extract_part(space.for_process(number, among), domains, inputs, request)
    with world.in_turn():
        of_features = to_features(space, domains, inputs, request, enough)
    standardized = _standardized(of_features, request.kit, device) if space.network.standardize else None
    return TrainingInputs(of_features, inputs, device, space, standardized, stages=frozen.stages)


def _standardized(domains: Domains, kit: Kit | None, device: torch.device) -> StandardizedViews:
    """Returns the standardisations by the statistics of features; of the source those of a kit where there is one."""
    of_target = [standardization(each, device) for each in (domains.target.images, domains.to_predict)]
    if kit is None:
        return StandardizedViews(standardization(domains.train.images, device), *of_target)
    of_source = Standardized(*(kit.weights[f"feature_{each}"].to(device) for each in ("mean", "std")))
    return StandardizedViews(of_source, *of_target)


def _at_the_head(domains: Domains, inputs: Inputs) -> tuple[Domains, Inputs]:
    """Returns the inputs of a network that is trained as a whole with a kit in place of its source.

    Rows of the source are features that were drawn in place of its head's, and enter there. None validates: what is
    known of the source's validation images are the source-only model's predictions.
    """
    assert domains.drawn is not None
    train = domains.train
    return (
        replace(domains, train=replace(train, images=domains.drawn[0].features), validation=domains.validation.none()),
        replace(
            inputs,
            architecture=replace(inputs.architecture, takes_head_features=True),
            views=replace(inputs.views, source=StoredView()),
        ),
    )


def feature_space(
    config: TrainConfig,
    preprocessing: Preprocessing,
    classes: int,
    device: torch.device,
    start: Start | None,
    folder: Path | None = None,
) -> FeatureSpace:
    """Returns the features of the configuration's frozen backbone, with the weights that it starts from.

    Args:
        folder: where features are kept; None is the cache.
    """
    network = image_network.make_network(config, preprocessing, classes)
    if start is not None:  # one backbone for both trainings, that of the run's own model
        image_network.load_first(network, start.weights_for(recipe.name_of_training(config)))
    return image_network.make_feature_space(config, network, preprocessing, device, folder)


def with_chosen_share(
    config: TrainConfig,
    preprocessing: Preprocessing,
    domains: Domains,
    device: torch.device,
    *,
    space: FeatureSpace | None = None,
    world: World = ALONE,
) -> TrainConfig:
    """Returns the configuration with the share of the domains' statistics that images choose, if they are to.

    Args:
        config: backbone and weights.
        preprocessing: how rows become the input of a network.
        domains: images.
        device: where the backbone computes.
        space: its features, where they are at hand: a backbone takes a second to make.
        world: the processes that train together.
    """
    if config.model.domain_statistics != "auto":
        return config
    space = feature_space(config, preprocessing, len(domains.train.classes), device, None) if space is None else space
    with world.in_turn():
        share = chosen_share(space, domains)
    return image_network.with_share(config, world.from_first(lambda: share))


def announce_stages(config: TrainConfig, stages: LastStages, *, measured: bool = True) -> None:
    """Prints what the training of the backbone's last stages takes, before anything is computed.

    Args:
        measured: whether a step is taken to measure the time; one of several processes alone can take none.

    Raises:
        UserError: the disk has not the room for the maps.
    """
    if not measured:
        stages.announce(None)
        return
    own = recipe.of_stages(config)
    assert own.steps is not None
    initial = recipe.Initial(student=stages.student(student_of_stages(config, stages), None))
    random, device = stages.random_maps(2 * own.batch), stages.maps.device
    stages.announce(recipe.make_training(own, stages.stored(), *random, device, steps=own.steps, initial=initial))


def student_of_stages(config: TrainConfig, stages: LastStages) -> ImageClassifier:
    """Returns the classifier of stored features that ``LastStages.student`` puts the stages in front of."""
    return image_network.make_student(config, stages.stored().architecture, len(stages.domains.train.classes))
