"""What the trainings of a run start from, where it is the models of another run: ``--init``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dalib.core.console import say
from dalib.core.errors import UserError
from dalib.data.spelling import key_of
from dalib.models.saved import load_description, load_tensors
from dalib.records.folder import RunFolder
from dalib.run.measure import models_of

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.run.config import TrainConfig


@dataclass(frozen=True)
class Start:
    """The models of the run in ``--init``."""

    run: str
    classes: tuple[str, ...]
    architecture: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]
    """Of each training, by its name."""

    @classmethod
    def of(cls, config: TrainConfig) -> Start | None:
        """What the run in ``--init`` has, if there is one."""
        if config.init is None:
            return None
        models = models_of(RunFolder.existing(config.init))
        description = load_description(next(iter(models.values())))
        weights = {name: load_tensors(folder) for name, folder in models.items()}
        return cls(config.init, description.classes, description.architecture, weights)

    def weights_for(self, name: str) -> dict[str, Tensor]:
        """What the training of that name starts from: the model of that name, else the run's own."""
        return self.weights.get(name, next(iter(self.weights.values())))

    def fitted(self, config: TrainConfig) -> TrainConfig:
        """The configuration with that standardisation which the weights to start from are used to.

        Raises:
            UserError: weights of a network of another shape.
        """
        here = {
            "backbone": config.backbone,
            "model.bottleneck_dim": config.model.bottleneck_dim,
            "model.bottleneck_norm": config.model.bottleneck_norm,
        }
        for setting, value in here.items():
            there = self.architecture.get(setting.removeprefix("model."), value)
            if there != value:
                raise UserError(
                    f"--init {self.run}: it was trained with --{setting} {_flag(there)}, this is {_flag(value)}; "
                    "expected the same"
                )
        standardize = bool(self.architecture.get("standardize", False))
        if standardize == config.model.standardize:
            return config
        say(f"note: --model.standardize is {_flag(standardize)}, as in {self.run}")
        return replace(config, model=replace(config.model, standardize=standardize))

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Refuse a source of other classes.

        Raises:
            UserError: the classes differ.
        """
        if [*map(key_of, self.classes)] != [*map(key_of, classes)]:
            raise UserError(
                f"--init {self.run}: its classes are {', '.join(self.classes)}, "
                f"those of the source {', '.join(classes)}; expected the same"
            )


def _flag(value: object) -> str:
    """As it is written on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
