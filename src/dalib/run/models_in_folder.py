"""The models of a run, made one after the other into its folder: source-only, aligned and adapted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.engine.results import InFolder
from dalib.models.saved import ModelDescription, save_model
from dalib.run.training import image_network, recipe
from dalib.run.training.aligned import align
from dalib.run.training.expected import can_be_told, decide_kind, fitted_to_fewer, fitted_to_known
from dalib.run.training.from_kit import take_source_only, with_validation_of
from dalib.run.training.run_models import RunModels
from dalib.run.training.shared_inputs import student_of_stages
from dalib.run.training.task import Task, statistics_for, train_task, trusted_hints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from dalib.engine.train import Observer
    from dalib.records.folder import RunFolder, TrainingFolder
    from dalib.run.settings.config import TrainConfig
    from dalib.run.setup import Setup
    from dalib.run.training.shared_inputs import TrainingInputs
    from dalib.run.training.stages import LastStages


@dataclass(eq=False)
class ModelsInFolder:
    """Makes the models of a run, each from those that are there; metrics, checkpoints and weights go into its folder.

    Attributes:
        run: the folder.
        setup: the run's settings.
        inputs: what its trainings share.
        observer: name of a training -> its callbacks.
        done: the models that are there, to which each one that is made is added.
    """

    run: RunFolder
    setup: Setup
    inputs: TrainingInputs
    observer: Callable[[str], Observer]
    done: RunModels = field(default_factory=RunModels)

    def take_from_kit(self) -> None:
        """Takes the source-only model from the kit, if there is one, and makes the aligned one of it."""
        if (kit := self.setup.request.kit) is None:
            return
        architecture, classes = self.inputs.of("source-only")[0].architecture, self.inputs.domains.train.classes
        network = image_network.make_student(self.setup.config, architecture, len(classes))
        model = take_source_only(self.done, kit, network, self.inputs)
        if self.setup.world.first:
            save_model(self.run.source_only.model, self.inputs.of("source-only")[1](model), self._description)
            self.align()

    def train(self, name: str, config: TrainConfig, *, resume: bool) -> None:
        """Trains the model of that name; with trained stages, the head first and the stages with it from there.

        Raises:
            TrainingDivergedError: a loss that is not finite.
            StoppedError: a signal came; the step is saved.
        """
        inputs = self._inputs_of(name, config)
        if name == "adapted" and inputs.stages is not None:
            self._train_stages(config, inputs, inputs.stages, resume=resume)
        else:
            self._train(self._task(name, config, inputs), inputs, resume=resume)
        if (kit := self.setup.request.kit) is not None and self.setup.world.first:
            with_validation_of(kit, self.done, name)

    def align(self) -> None:
        """Makes and writes the aligned model, where there can be one; by the first process alone."""
        aligned = align(self.done, self.inputs)
        if aligned is not None:
            save_model(self.run.aligned.model, self.inputs.of("aligned")[1](aligned.model), self._description)

    def _inputs_of(self, name: str, config: TrainConfig) -> TrainingInputs:
        """Returns the inputs of a training; an adaptation's fit a target that is no mirror of the source's classes."""
        kit, world = self.setup.request.kit, self.setup.world
        if name == "source-only" or config.classes == "same":
            return self.inputs
        if config.classes == "auto":
            if not can_be_told(baseline=config.baseline, prior=config.prior, kit=kit):
                return self.inputs
            kind = decide_kind(self.inputs, self.done, hinted=config.hints is not None, world=world)
            if kind.doubtful:
                say(kind.in_words())
        classes = self.done.of_classes(config.classes)
        if classes == "same":
            return self.inputs
        if classes == "fewer":
            own = fitted_to_fewer(self.inputs, self.done, prior=config.prior, seed=config.seed, world=world)
        else:
            own = fitted_to_known(self.inputs, self.done, world)
        assert own.expected is not None
        say(own.expected.in_words(own.domains.train.classes))
        return own

    def _train(self, task: Task, inputs: TrainingInputs, *, resume: bool) -> None:
        """Trains one model; an adaptation learns from hints, where there are some."""
        world = self.setup.world
        if task.name != "source-only":
            task = replace(
                task,
                hints=trusted_hints(
                    inputs, self.done, compared=task.config.keep != "adapted", seed=task.config.seed, world=world
                ),
            )
        train_task(task, self.done, inputs.device, resume=resume, world=world, observer=self.observer(task.name))

    def _train_stages(self, config: TrainConfig, inputs: TrainingInputs, stages: LastStages, *, resume: bool) -> None:
        """Trains the head on the frozen backbone, and from there the backbone's last stages with it."""
        self._train(self._task("frozen", config, inputs), inputs, resume=resume)
        frozen = self.done.models.pop("frozen").trained
        own = recipe.of_stages(config)
        with self.setup.world.in_turn():
            on_maps = replace(inputs, domains=stages.to_maps(inputs.expected, config.seed))
        stored, standardized = stages.stored(), inputs.standardized

        def whole(model: nn.Module) -> nn.Module:
            return stages.whole(model, None if standardized is None else standardized.plain)

        task = Task(
            "adapted",
            own,
            on_maps.domains,
            stored,
            self._results(self.run, whole),
            student=lambda: stages.student(student_of_stages(config, stages), standardized),
            weights=frozen.model.state_dict(),
            statistics=statistics_for(on_maps, stored.plain, recomputed=own.statistics == "recomputed"),
            expected=inputs.expected,
        )
        self._train(task, inputs, resume=resume)
        adapted = self.done.models["adapted"]
        if frozen.stopped and not adapted.trained.stopped:  # it began with a head that had collapsed
            trained = replace(adapted.trained, stopped=frozen.stopped, ended=frozen.ended)
            self.done.models["adapted"] = replace(adapted, trained=trained)

    def _task(self, name: str, config: TrainConfig, inputs: TrainingInputs) -> Task:
        """Returns a training whose results go into its part of the folder."""
        own, whole = inputs.of(name)
        start = self.setup.start
        return Task(
            name,
            config,
            inputs.domains,
            own,
            self._results(training_folder(name, self.setup.config, self.run), whole),
            weights=None if start is None else start.weights_for("adapted" if name == "frozen" else name),
            statistics=statistics_for(inputs, own.plain, recomputed=config.statistics == "recomputed"),
            expected=inputs.expected,
            confidence=recipe.confidence_of(self.setup.config),
        )

    def _results(self, folder: TrainingFolder, whole: Callable[[nn.Module], nn.Module]) -> InFolder:
        """Returns results in a folder, whose models are written as networks of images, which ``whole`` makes."""
        description = self._description

        def write_model(to: Path, model: nn.Module) -> None:
            save_model(to, whole(model), description)

        return InFolder(folder, write_model)

    @property
    def _description(self) -> ModelDescription:
        """The description of the run's networks, which are all of one architecture."""
        architecture = image_network.architecture_of(self.setup.config, self.setup.preprocessing)
        return ModelDescription(architecture, self.inputs.domains.train.classes, self.setup.preprocessing)


def training_folder(name: str, config: TrainConfig, run: RunFolder) -> TrainingFolder:
    """Returns the folder of a training: the run's root for its own, a folder below it for what comes before."""
    if name == "frozen":
        return run.frozen
    return run if name == recipe.name_of_training(config) else run.source_only
