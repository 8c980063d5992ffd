"""Each domain's own batch-normalisation statistics in a frozen backbone: whether they can be, and which share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dalib.core.console import say
from dalib.core.errors import Setting, UserError
from dalib.models.domain_statistics import distance_of_statistics, normalisation_statistics
from dalib.run.backbones import JOINED
from dalib.run.feature_space import FEWEST_FOR_STATISTICS, SHARE

if TYPE_CHECKING:
    from torch import nn

    from dalib.run.backbones import Share
    from dalib.run.domains import Domains
    from dalib.run.feature_space import FeatureSpace

FAR = 0.27
"""Distance of either domain's statistics from the pretrained ones from which on ``auto`` joins features of both kinds.
Chosen on three families of images; it costs time where it is wrong, and little accuracy: benchmarks/RESULTS.md."""

MOST_FOR_DISTANCE = 64
"""Images of a domain that its distance is measured on: of six domains, 64 and 128 images gave the same to 0.005."""


def checked_share(
    share: Share | Literal["auto"],
    backbone: nn.Module,
    *,
    features: int,
    trained_stages: int = 0,
    images_of_both: bool = True,
) -> Share | Literal["auto"]:
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


def chosen_share(space: FeatureSpace, domains: Domains) -> Share:
    """Returns the share that ``auto`` takes for images of two domains, 0 or JOINED, and prints it.

    Near the images that the network was pretrained on, a domain's own statistics lose what the classes differ by, for
    they are of few images; far from them, they take away what the domain as a whole differs by. Which of both weighs
    more cannot be told without labels; the head that learns from features of both kinds loses little of either.

    Args:
        space: of features with the pretrained statistics.
        domains: images.
    """
    assert domains.whole is not None
    images = {"source": domains.whole.images, "target": domains.target.images}
    if min(map(len, images.values())) < FEWEST_FOR_STATISTICS:
        return 0.0
    own = normalisation_statistics(space.network.backbone)
    distances = {
        domain: distance_of_statistics(own, space.statistics_of(rows, SHARE, domain, MOST_FOR_DISTANCE), SHARE)
        for domain, rows in images.items()
    }
    farthest = max(distances, key=distances.__getitem__)
    share: Share = JOINED if distances[farthest] >= FAR else 0.0
    if share == JOINED:
        say(
            f"{Setting('model.domain_statistics', JOINED)}: the images of the {farthest} are unlike those that the "
            f"backbone was trained on (their statistics are {distances[farthest]:.2f} from its own; the bound is "
            f"{FAR:g}). Features are computed with its statistics and with a share of each domain's, in twice the time"
        )
    return share
