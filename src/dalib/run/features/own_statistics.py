"""Each domain's own batch-normalisation statistics in a frozen backbone: whether they can be, and which share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dalib.core.console import say, say_detail
from dalib.core.errors import Setting, UserError
from dalib.core.words import counted
from dalib.data.decoding import decode
from dalib.models.domain_statistics import distance_of_statistics, normalisation_statistics
from dalib.run.features.fastest import features_folder
from dalib.run.features.feature_space import (
    FEWEST_FOR_STATISTICS,
    JOINED_SHARE,
    Averaged,
    FeatureSpace,
    require_enough_for_statistics,
)
from dalib.run.settings.backbones import JOINED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.models.classifier import ImageClassifier
    from dalib.run.settings.backbones import StatisticsShare
    from dalib.run.start.domains import Domains, Listings

FAR = 0.27
"""Distance of either domain's statistics from the pretrained ones from which on ``auto`` joins features of both kinds.
Chosen on three families of images; it costs time where it is wrong, and little accuracy: benchmarks/RESULTS.md."""

MOST_FOR_DISTANCE = 64
"""Images of a domain that its distance is measured on: of six domains, 64 and 128 images gave the same to 0.005."""


def checked_share(
    share: StatisticsShare | Literal["auto"],
    backbone: nn.Module,
    *,
    features: int,
    trained_stages: int = 0,
    images_of_both: bool = True,
) -> StatisticsShare | Literal["auto"]:
    """Returns the share as far as it is known without images: ``auto`` is 0 where there is no choice.

    Args:
        share: of the configuration.
        backbone: of its network.
        features: number of stored views; 0 trains the network whole.
        trained_stages: number of last stages that are trained, whose normalisation is one for both domains.
        images_of_both: whether the images of both domains choose: neither has statistics in its place, and no other
            run has chosen.

    Raises:
        UserError: a share out of its range, of a network that is trained whole, or without batch normalisation.
    """
    setting = Setting("model.domain_statistics", share)
    none = Setting("model.domain_statistics", 0)
    can_be = bool(features) and not trained_stages and bool(normalisation_statistics(backbone))
    if share == "auto":
        return "auto" if can_be and images_of_both else 0.0
    if share != JOINED and not 0 <= float(share) <= 1:
        raise UserError(
            setting, ": expected a share from 0, the pretrained statistics, to 1, each domain's; joined, or auto"
        )
    if share and not features:
        raise UserError(
            setting,
            ": each domain has statistics of its own where the backbone is frozen and its features are stored; ",
            "expected ",
            Setting("features", 4),
            " or more, or ",
            none,
        )
    if share and trained_stages:
        raise UserError(
            setting,
            ": stages that are trained on images of both domains normalise them by the same statistics; expected ",
            none,
            ", or ",
            Setting("model.trained_stages", 0),
        )
    if share and not can_be:
        raise UserError(
            setting,
            ": the backbone has no batch normalisation with stored statistics (vision transformers have none); "
            "expected ",
            none,
            ", or a convolutional network such as ",
            Setting("backbone", "resnet50"),
        )
    return share


@dataclass(frozen=True)
class Choice:
    """What ``auto`` takes for images of two domains.

    Attributes:
        share: 0 or JOINED.
        why: the reason, a sentence without its end.
    """

    share: StatisticsShare
    why: str


def with_own_statistics(
    network: ImageClassifier, preprocessing: Preprocessing, rows: Rows, device: torch.device
) -> ImageClassifier:
    """Returns a network whose backbone stands twice, the second time with a share of the target's own statistics.

    Args:
        network: has the pretrained statistics twice.
        preprocessing: how rows become its input.
        rows: images of the target, of which a run then finds the statistics in the cache.
        device: where the backbone computes.

    Raises:
        UserError: too few images; other statistics than these would be of no use to the network.
    """
    _require_enough_of_target(len(rows))
    space = FeatureSpace.of(network, preprocessing, features_folder(), device, Averaged())
    return space.with_statistics_of(rows, JOINED, "target").network


def _require_enough_of_target(count: int, share: StatisticsShare = JOINED) -> None:
    """Refuses so few target images that a model with statistics of its own target could have none."""
    if count < FEWEST_FOR_STATISTICS:
        raise UserError(
            Setting("target"),
            f": it has {counted(count, 'image')}, too few for the statistics of its own that the model takes (",
            Setting("model.domain_statistics", share),
            f"); expected at least {FEWEST_FOR_STATISTICS}",
        )


def require_enough_images(share: StatisticsShare, domains: Domains, *, kit: bool) -> None:
    """Refuses domains of too few images for the share of their own statistics, before anything is computed or written.

    Args:
        share: of each domain's own statistics.
        domains: images.
        kit: whether a kit stands in for the source, which allows no other share.

    Raises:
        UserError: one of the domains.
    """
    if not share:
        return
    if kit:
        _require_enough_of_target(len(domains.target.images), share)
        return
    assert domains.whole is not None
    for domain, rows in (("source", domains.whole.images), ("target", domains.target.images)):
        require_enough_for_statistics(len(rows), share, domain)


def chosen_share(space: FeatureSpace, domains: Domains) -> StatisticsShare:
    """Returns the share that ``auto`` takes for images of two domains, 0 or JOINED, and prints JOINED.

    Args:
        space: of features with the pretrained statistics.
        domains: images.
    """
    assert domains.whole is not None
    choice = choice_for(space, {"source": domains.whole.images, "target": domains.target.images})
    if choice.share == JOINED:
        say(f"{Setting('model.domain_statistics', JOINED)}: {choice.why}")
    return choice.share


def choice_for(space: FeatureSpace, images: Mapping[str, Rows]) -> Choice:
    """Returns the choice of ``auto`` for images of two domains.

    Near the images that the network was pretrained on, a domain's own statistics lose what the classes differ by, for
    they are of few images; far from them, they take away what the domain as a whole differs by. Which of both weighs
    more is unknown without labels; the head that learns from features of both kinds loses little of either.

    Args:
        space: of features with the pretrained statistics.
        images: of each domain.
    """
    if min(map(len, images.values())) < FEWEST_FOR_STATISTICS:
        return Choice(0.0, f"a domain of fewer than {FEWEST_FOR_STATISTICS} images has no statistics of its own")
    own = normalisation_statistics(space.network.backbone)
    distances = {
        domain: distance_of_statistics(
            own, space.statistics_of(rows, JOINED_SHARE, domain, MOST_FOR_DISTANCE), JOINED_SHARE
        )
        for domain, rows in images.items()
    }
    farthest = max(distances, key=distances.__getitem__)
    say_detail(
        f"distance of batch-normalisation statistics from the pretrained ones: {distances[farthest]:.2f} ({farthest}); "
        f"{FAR:g} or more counts as far"
    )
    if distances[farthest] < FAR:
        return Choice(0.0, "the images of both domains are like those that the backbone was trained on")
    return Choice(
        JOINED,
        f"the images of the {farthest} are unlike those that the backbone was trained on, so features are "
        "computed twice: with its own batch-normalisation statistics and with a share of each domain's",
    )


def choice_for_files(space: FeatureSpace, files: Listings | None) -> Choice | None:
    """Returns the choice of ``auto`` before all images are read; None where that cannot be known.

    The same files are decoded whose rows :func:`choice_for` takes later, so that a space that keeps their statistics
    computes them once.

    Args:
        space: of features with the pretrained statistics.
        files: of source and target.
    """
    if files is None or files.target is None or any(each is None for each in files.sources):
        return None
    paths = [path for each in files.sources if each is not None for path in each.paths]
    images = {"source": _Files(paths, space.preprocessing), "target": _Files(files.target.paths, space.preprocessing)}
    try:
        return choice_for(space, images)
    except UserError:  # reading all images says what is wrong, or goes on without some
        return None


@dataclass(frozen=True)
class _Files:
    """Image files as rows, decoded when they are asked for."""

    paths: Sequence[Path]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        rows, _, unreadable = decode([self.paths[index] for index in indices.tolist()], self.preprocessing)
        if len(rows) < FEWEST_FOR_STATISTICS:
            raise UserError(f"{unreadable[0].path}: {unreadable[0].reason}")
        return rows
