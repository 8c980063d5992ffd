"""The models of another run that a run's trainings start from: the setting ``init``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dalib.core.errors import Setting, UserError
from dalib.data.spelling import key_of
from dalib.models.saved import load_description, load_tensors
from dalib.records.folder import RunFolder, models_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class Start:
    """The models of the run that ``init`` names."""

    run: str
    classes: tuple[str, ...]
    architecture: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]
    """Of each training, by its name."""

    @classmethod
    def of(cls, run: str | None) -> Start | None:
        """Returns the models of a run, if one is named."""
        if run is None:
            return None
        models = models_of(RunFolder.existing(run))
        description = load_description(next(iter(models.values())))
        weights = {name: load_tensors(folder) for name, folder in models.items()}
        return cls(run, description.classes, description.architecture, weights)

    def weights_for(self, name: str) -> dict[str, Tensor]:
        """Returns what the training of that name starts from: the model of that name, else the run's own."""
        return self.weights.get(name, next(iter(self.weights.values())))

    @property
    def standardize(self) -> bool:
        """True if the models standardise their features."""
        return bool(self.architecture.get("standardize", False))

    def check_network(self, settings: Mapping[str, object]) -> None:
        """Refuses weights of a network of another shape.

        Args:
            settings: the values of the settings that give a network its shape, by their names.

        Raises:
            UserError: a setting differs.
        """
        for setting, value in settings.items():
            there = self.architecture.get(setting.removeprefix("model."), value)
            if there != value:
                raise UserError(
                    Setting("init", self.run),
                    ": it was trained with ",
                    Setting(setting, there),
                    ", this is ",
                    Setting(setting, value),
                    "; expected the same",
                )

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Refuses a source of other classes.

        Raises:
            UserError: the classes differ.
        """
        if [*map(key_of, self.classes)] != [*map(key_of, classes)]:
            raise UserError(
                Setting("init", self.run),
                f": its classes are {', '.join(self.classes)}, those of the source {', '.join(classes)}; expected ",
                "the same",
            )
