"""Data and preprocessing that the trainings of a run share: images, or features of a frozen backbone in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.augment.stored import Standardized, StoredView
from dalib.engine.distributed import ALONE, World
from dalib.run.features.domain_features import extract_part, to_features
from dalib.run.features.feature_space import standardization
from dalib.run.features.inputs import StandardizedViews

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    from dalib.run.classes.expected_target import ExpectedTarget
    from dalib.run.features.feature_space import FeatureSpace
    from dalib.run.features.inputs import Inputs
    from dalib.run.recipe.stages import LastStages
    from dalib.run.settings.backbones import StatisticsShare
    from dalib.run.start.domains import DataRequest, Domains
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
        expected: of the target, where it seems to lack classes of the source or to have images of others.
        hints: (N, C) class probabilities by an annotator or another model; None without hints.
        stages: the backbone's last stages, if they are trained after the head.
    """

    domains: Domains
    images: Inputs
    device: torch.device
    space: FeatureSpace | None = None
    standardized: StandardizedViews | None = None
    expected: ExpectedTarget | None = None
    hints: Tensor | None = None
    stages: LastStages | None = None

    def of(self, name: str) -> tuple[Inputs, Callable[[nn.Module], nn.Module]]:
        """Returns the inputs of a training, and a function: the trained network -> one that takes images.

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
        share: of each domain's own batch-normalisation statistics in it, beside the pretrained ones.
        stages: its last stages, if they are trained after the head.
    """

    space: FeatureSpace
    share: StatisticsShare = 0.0
    stages: LastStages | None = None


def training_inputs(
    images: Inputs,
    request: DataRequest,
    domains: Domains,
    device: torch.device,
    *,
    frozen: FrozenBackbone | None = None,
    world: World = ALONE,
    enough: Callable[[int], bool] | None = None,
) -> TrainingInputs:
    """Returns the inputs of a run's trainings; features that are not kept are computed, by all processes of a machine.

    Args:
        images: how images reach a network.
        request: the domains' names, and how many views.
        domains: images.
        device: where networks compute.
        frozen: the backbone whose features are trained on; None trains the whole network on images.
        world: the processes that train together.
        enough: called before each view, see ``dalib.run.features.domain_features.to_features``.
    """
    if frozen is None:
        if domains.drawn is not None:
            domains, images = _at_the_head(domains, images)
        return TrainingInputs(domains, images, device)
    space, share = frozen.space, frozen.share
    if share:
        with world.in_turn():
            whole = None if domains.whole is None else domains.whole.images
            space = space.of_domains(whole, domains.target.images, share)
    number, among = world.place_on_machine()
    if among > 1 and enough is None:  # else views are computed while there is time
        with world.in_turn():
            space.prepare()
        extract_part(space.for_process(number, among), domains, images, request)
    with world.in_turn():
        of_features = to_features(space, domains, images, request, enough)
    standardized = _standardized(of_features, request.kit, device) if space.network.standardize else None
    return TrainingInputs(of_features, images, device, space, standardized, stages=frozen.stages)


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
