"""Checks settings against the kit that a run starts from: some exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dalib.adaptation.methods import adapts, method_class, one_of_the_methods
from dalib.core.errors import Call, Part, Setting, UserError
from dalib.run.settings.config import NOT_BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.kit import Kit


def check_kit(kit: Kit, config: TrainConfig, preprocessing: Preprocessing) -> None:
    """Refuses settings that a kit excludes.

    Args:
        kit: stands in for the source.
        config: of the run.
        preprocessing: of images, as the configuration gives it.

    Raises:
        UserError: the first of these settings.
    """
    own, setting = kit.preprocessing, Setting("kit", kit.path)
    if config.source != config.kit:
        raise UserError(Setting("source", config.source), ": expected no source with ", setting, NOT_BOTH)
    if config.init is not None:
        raise UserError(setting, ": it holds the model to start from; leave out ", Setting("init", config.init))
    if not adapts(config.method):
        raise UserError(
            setting, ": it holds a source-only model, there is nothing to train; leave out ", Setting("method")
        )
    preset = kit.header.settings.get("preset")
    if config.preset != preset and not kit.model_alone:
        whose = "of no preset" if preset is None else f"of the preset {preset}"
        raise UserError(setting, f": its settings are {whose}; leave out ", Setting("preset", config.preset))
    _check_training(kit, config, setting)
    share = kit.domain_statistics
    if config.model.domain_statistics != share:
        raise UserError(
            setting,
            ": its statistics are of features with ",
            Setting("model.domain_statistics", share),
            "; leave out ",
            Setting("model.domain_statistics", config.model.domain_statistics),
        )
    for name in ("size", "channels", "crop", "fit"):
        there, here = getattr(own, name), getattr(preprocessing, name)
        if there != here:
            raise UserError(
                setting,
                f": its images have {name} {there}, these settings give {here}; leave out ",
                Setting(f"data.{name}"),
            )
    # without it the configuration has that of the backbone, which another place of its weights may tell otherwise
    if config.data.interpolation not in (None, own.interpolation):
        raise UserError(
            setting,
            f": its images are scaled by the interpolation {own.interpolation}; leave out ",
            Setting("data.interpolation", config.data.interpolation),
        )


def _check_training(kit: Kit, config: TrainConfig, setting: Setting) -> None:
    """Refuses a training of other features than the kit's statistics are of, or that needs the source's images.

    Raises:
        UserError: the first of these.
    """
    if kit.model_alone:
        _require_allowed(_BY_MODEL_ALONE, config, setting)
    if not len(kit.labels):
        _require_allowed(_BY_KIT_WITHOUT_VALIDATION, config, setting)
    if kit.of_frozen:
        if not config.features:
            raise UserError(
                setting,
                ": it holds statistics of a frozen backbone's features; expected ",
                Setting("features", 2),
                " or more",
            )
        return
    if config.features:
        raise UserError(
            setting,
            ": its network was trained as a whole, and its statistics are of what the head sees; leave out ",
            Setting("features", config.features),
        )
    _require_allowed(_by_whole_network(), config, setting)


@dataclass(frozen=True)
class _Allowed:
    """Values of a setting that are allowed with a kit, and why others do not: a message with the kit's name in its
    middle."""

    name: str
    allows: Callable[[Any], bool]
    before: str
    after: tuple[str | Part, ...]


def _by_whole_network() -> tuple[_Allowed, ...]:
    """Returns what a kit of a network allows that was trained as a whole.

    It has no images of the source, and none of its features.
    """
    return (
        _Allowed(
            "method",
            lambda method: not method_class(method).joins_domains,
            "its batches join images of source and target, and ",
            (
                ", of a network that was trained as a whole, has statistics in place of the source's; expected ",
                one_of_the_methods(lambda method: not method.joins_domains),
            ),
        ),
        _Allowed(
            "target_labels",
            lambda labels: labels is None,
            "labelled images join the source's, and ",
            (
                ", of a network that was trained as a whole, has none; leave them out, or take a kit of a run with ",
                Setting("preset", "photo-features"),
            ),
        ),
        _Allowed(
            "prior",
            lambda prior: prior != "estimate",
            "it is estimated with the adapted model's predictions for source images, which are not in ",
            ("; expected uniform, source, or a file of class shares",),
        ),
    )


_BY_MODEL_ALONE = (
    _Allowed(
        "prior",
        lambda prior: prior not in ("source", "halfway", "estimate"),
        "it takes class shares of the source or predictions for its validation images, and ",
        (" is a model alone; expected uniform, a file of class shares, or a kit",),
    ),
    _Allowed(
        "classes",
        lambda classes: classes in ("same", "auto"),
        "the source's validation images show how far predicted classes are to be trusted, and ",
        (" is a model alone; expected same, or a kit",),
    ),
)
"""A model alone has no class shares of the source and no predictions for its images."""


_BY_KIT_WITHOUT_VALIDATION = (
    _Allowed(
        "prior",
        lambda prior: prior != "estimate",
        "it is made with the source's validation images, of which ",
        (" has none; expected another prior",),
    ),
)
"""A kit of a run without a validation split has no predictions for the source's images."""


def _require_allowed(settings: Sequence[_Allowed], config: TrainConfig, kit: Setting) -> None:
    """Refuses the first setting with a value that is not allowed with the kit.

    Raises:
        UserError: that.
    """
    for each in settings:
        value = getattr(config, each.name)
        if not each.allows(value):
            raise UserError(Setting(each.name, value), f": {each.before}", kit, *each.after)


def require_whole(kit: Kit, network: ImageClassifier) -> None:
    """Refuses a kit whose tensors are not those of its network, before anything is trained.

    Raises:
        UserError: that.
    """
    width = network.backbone.out_features if kit.of_frozen else network.features_dim
    fits = kit.model_alone or kit.statistics.mean.shape[1] == width
    if network.state_dict().keys() != kit.weights.keys() or not fits:
        raise UserError(
            Setting("kit", kit.path),
            ": its tensors do not fit its network; write it anew with `",
            Call("dalib.run.export.export", Setting("run"), Setting("format", "kit")),
            "`",
        )
