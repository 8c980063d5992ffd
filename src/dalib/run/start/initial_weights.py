"""Starting points of a run: weights of the hub, and the models of another run (the setting ``init``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.errors import Call, Setting, UserError
from dalib.data.spelling import key_of
from dalib.engine.distributed import ALONE
from dalib.models.hub import OF_TIMM, fetch_network, fetch_weights, is_hub
from dalib.models.joined import with_first_half_twice
from dalib.models.saved import load_description, load_tensors
from dalib.records.folder import RunFolder, is_exported, models_of
from dalib.records.summary import HubRecord, Summary
from dalib.run.settings.backbones import JOINED, OUR_BACKBONES
from dalib.run.settings.kit_settings import weights_of_timm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dalib.core.errors import Part
    from dalib.engine.distributed import World
    from dalib.models.architecture import Architecture
    from dalib.run.settings.backbones import NamedBackbone, StatisticsShare
    from dalib.run.start.kit import Kit


@dataclass(frozen=True)
class OfHub:
    """Backbone and weights that a run takes from the hub.

    Attributes:
        asked: their names as they were asked for, which is what a run's config.yaml keeps.
        record: which state of which repository they are.
    """

    asked: NamedBackbone
    record: HubRecord | None

    def recorded(self, summary: Summary) -> Summary:
        """Returns the summary with the settings as they were asked for, and with the record."""
        settings = {**summary.settings, "backbone": self.asked.name, "weights": self.asked.weights}
        return replace(summary, settings=settings, hub=self.record)


def fetched(
    asked: Sequence[NamedBackbone], *, init: bool, world: World = ALONE
) -> tuple[tuple[NamedBackbone, ...], OfHub | None]:
    """Fetches what backbones take from the hub, and returns them with the names of what is now in the cache.

    A backbone becomes timm's name of a network, and the weights those of one commit, which need no network from
    here on. Of several backbones these names are what the run's config.yaml keeps.

    Args:
        asked: names of the hub, or others.
        init: whether the weights are those of a run to start from.
        world: the processes, of which the first one asks the hub.

    Raises:
        UserError: no network that takes weights, nothing there that fits, or neither a network nor a copy in the cache.
    """
    found = [_fetched(each, init=init, world=world) for each in asked]
    of_hub = len(asked) == 1 and (is_hub(asked[0].name) or is_hub(asked[0].weights))
    return tuple(each for each, _ in found), OfHub(asked[0], found[0][1]) if of_hub else None


def _fetched(asked: NamedBackbone, *, init: bool, world: World) -> tuple[NamedBackbone, HubRecord | None]:
    """Returns one backbone with the names of what is now in the cache, and which state of which repository it is."""
    backbone, weights = asked.name, asked.weights
    if not (is_hub(backbone) or is_hub(weights)):
        return asked, None
    if backbone == OF_TIMM:
        raise UserError(
            Setting("backbone", OF_TIMM), ": expected a network, such as resnet50 with ", Setting("weights", OF_TIMM)
        )
    if backbone in OUR_BACKBONES:
        raise UserError(
            Setting("weights", weights),
            ": the hub has none for ",
            Setting("backbone", backbone),
            ", a small network that is to be trained itself; expected a network of timm's, such as ",
            Setting("backbone", "resnet50"),
        )
    if is_hub(backbone):
        weights = backbone if weights in (None, OF_TIMM) and not init else weights
        backbone = world.from_first(lambda: fetch_network(asked.name))
    record = None
    if weights is not None and is_hub(weights):
        name = weights
        found = world.from_first(lambda: fetch_weights(name, backbone))
        weights = found.pinned
        if not world.first:
            fetch_weights(weights, backbone)  # another machine has another cache
        record = HubRecord(found.repository, found.revision, found.file, found.sha256)
    return replace(asked, name=backbone, weights=weights), record


@dataclass(frozen=True)
class Start:
    """The models of the run that ``init`` names, or of a kit."""

    run: str
    classes: tuple[str, ...]
    architecture: Architecture
    weights: dict[str, dict[str, Tensor]]
    """The weights of each training, by its name."""
    argument: str = "init"
    """The setting that names them."""
    domain_statistics: StatisticsShare = 0.0
    """Share of their target's batch-normalisation statistics in their backbone. Of joined ones, the weights have the
    pretrained statistics in both halves."""

    @classmethod
    def of(cls, run: str | None) -> Start | None:
        """Returns the models of a run, if one is named."""
        if run is None:
            return None
        place = Path(run)
        if place.is_file() and place.suffix == ".safetensors":
            place = place.parent
        if is_exported(place):
            raise UserError(
                Setting("init", run),
                ": a model without its run; expected a run to start from beside a source",
                *_instead(place),
            )
        folder = RunFolder.existing(run, "init")
        models = models_of(folder)
        description = load_description(next(iter(models.values())))
        weights = {name: load_tensors(folder) for name, folder in models.items()}
        settings = Summary.read(folder.summary).settings if folder.summary.is_file() else {}
        share = settings.get("model.domain_statistics", 0.0)
        if share == JOINED:  # the statistics of this run's domains are found anew
            weights = {name: with_first_half_twice(each) for name, each in weights.items()}
        return cls(run, description.classes, description.architecture, weights, domain_statistics=share)

    @classmethod
    def of_kit(cls, kit: Kit) -> Start:
        """Returns the source-only model of a kit."""
        network, weights = kit.description, {"source-only": dict(kit.weights)}
        return cls(kit.path, network.classes, network.architecture, weights, "kit")

    def weights_for(self, name: str) -> dict[str, Tensor]:
        """Returns the start of the training of that name: the model of that name, else the run's own."""
        return self.weights.get(name, next(iter(self.weights.values())))

    @property
    def standardize(self) -> bool:
        """True if the models standardise their features."""
        return self.architecture.standardize

    def check_network(self, settings: Mapping[str, object]) -> None:
        """Refuses weights of a network of another shape.

        Args:
            settings: the values of the settings that give a network its shape, by their names.

        Raises:
            UserError: a setting differs.
        """
        written = self.architecture.to_json()  # what an older version did not write is not compared
        for setting, value in settings.items():
            there = written.get(setting.removeprefix("model."), value)
            if there != value:
                raise UserError(
                    Setting(self.argument, self.run),
                    ": it was trained with ",
                    Setting(setting, _shown(there)),
                    ", this is ",
                    Setting(setting, _shown(value)),
                    "; expected the same",
                )

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Refuses a source of other classes.

        Raises:
            UserError: the classes differ.
        """
        if [*map(key_of, self.classes)] != [*map(key_of, classes)]:
            raise UserError(
                Setting(self.argument, self.run),
                f": its classes are {', '.join(self.classes)}, those of the source {', '.join(classes)}; expected ",
                "the same",
            )


def _instead(model: Path) -> tuple[str | Part, ...]:
    """Explains the use of a model without its run, where a run to start from was expected, for an error."""
    if model.is_file():  # .onnx or .pt2, whose weights are not trained further
        return ()
    if (settings := weights_of_timm(model)) is not None:
        return (", or its weights as the first ones of the backbone: ", *settings)
    return (". Without the source's images, adapt from the model: ", Call("dalib.adapt", Setting("kit", model)))


def _shown(value: object) -> object:
    """Returns a value as it is typed: names of backbones in a row, each once though it may stand there twice."""
    return ", ".join(dict.fromkeys(value)) if isinstance(value, list) else value
