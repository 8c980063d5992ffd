"""The models of a run, made one after the other into its folder: source-only, aligned and adapted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.engine.results import InFolder
from dalib.models.saved import ModelDescription, save_model
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.aligned import align
from dalib.run.recipe.expected import can_be_told, decide_kind, fitted_to_fewer, fitted_to_known
from dalib.run.recipe.from_kit import source_only_of, with_validation_of
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.task import Task, statistics_for, train_task, trusted_hints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from dalib.adaptation.hints import TrustedHints
    from dalib.engine.train import Observer
    from dalib.records.folder import RunFolder, TrainingFolder
    from dalib.run.recipe.run_models import FinishedModel
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.recipe.stages import LastStages
    from dalib.run.setup import Setup


@dataclass(frozen=True, eq=False)
class ModelsInFolder:
    """Makes the models of a run, each from those before it; metrics, checkpoints and weights go into its folder.

    Attributes:
        run: the folder.
        setup: the run's settings.
        inputs: what its trainings share.
        observer: name of a training -> its callbacks.
    """

    run: RunFolder
    setup: Setup
    inputs: TrainingInputs
    observer: Callable[[str], Observer]

    def from_kit(self) -> RunModels:
        """Returns the source-only model of the kit and the aligned one that is made of it; none without a kit."""
        if (kit := self.setup.request.kit) is None:
            return RunModels()
        architecture, classes = self.inputs.of("source-only")[0].architecture, self.inputs.domains.train.classes
        network = image_network.make_student(self.setup.config, architecture, len(classes))
        source_only = source_only_of(kit, network, self.inputs)
        models = RunModels({"source-only": source_only})
        if not self.setup.world.first:
            return models
        whole = self.inputs.of("source-only")[1](source_only.trained.model)
        save_model(self.run.source_only.model, whole, self._description)
        return self.with_aligned(models)

    def with_trained(self, name: str, before: RunModels, *, resume: bool) -> RunModels:
        """Trains the model of that name; with trained stages, the head first and the stages with it from there.

        Args:
            name: adapted or source-only.
            before: the models that are there.
            resume: continue from the last checkpoint.

        Returns:
            The models with this one, and with the classes that the target was taken to have.

        Raises:
            TrainingDivergedError: a loss that is not finite.
            StoppedError: a signal came; the step is saved.
        """
        if name != "source-only":
            before = self._with_kind(before)
        inputs = self._inputs_of(name, before)
        if name == "adapted" and inputs.stages is not None:
            task, model = self._train_stages(inputs, inputs.stages, before, resume=resume)
        else:
            task = self._task(name, inputs, before)
            model = self._train(task, before, resume=resume)
        if (kit := self.setup.request.kit) is not None and self.setup.world.first:
            model = with_validation_of(kit, model)
        return replace(before.with_model(name, model), expected=task.expected, hints=task.hints)

    def with_aligned(self, before: RunModels) -> RunModels:
        """Returns the models with the aligned one, which is written, where there can be one.

        The first process alone makes it, of the source-only model.
        """
        assert before.source_only is not None
        aligned = align(before.source_only, self.inputs)
        if aligned is None:
            return before
        save_model(self.run.aligned.model, self.inputs.of("aligned")[1](aligned.trained.model), self._description)
        return before.with_model("aligned", aligned)

    def _with_kind(self, before: RunModels) -> RunModels:
        """Returns the models with what the target seems to be, where that is left to them and can be seen."""
        config, kit, world = self.setup.config, self.setup.request.kit, self.setup.world
        if config.classes != "auto" or not can_be_told(baseline=config.baseline, prior=config.prior, kit=kit):
            return before
        kind = decide_kind(self.inputs, before, hinted=config.hints is not None, world=world)
        if kind.doubtful:
            say(kind.in_words())
        return replace(before, kind=kind)

    def _inputs_of(self, name: str, before: RunModels) -> TrainingInputs:
        """Returns the inputs of a training; those of an adaptation are fitted to the classes that the target has."""
        config, world = self.setup.config, self.setup.world
        classes = before.of_classes(config.classes)
        if name == "source-only" or classes == "same":
            return self.inputs
        if classes == "fewer":
            own = fitted_to_fewer(self.inputs, before, prior=config.prior, seed=config.seed, world=world)
        else:
            own = fitted_to_known(self.inputs, before, world)
        assert own.expected is not None
        say(own.expected.in_words(own.domains.train.classes))
        return own

    def _train(self, task: Task, before: RunModels, *, resume: bool) -> FinishedModel:
        return train_task(
            task,
            self.inputs.device,
            before=before.source_only,
            resume=resume,
            world=self.setup.world,
            observer=self.observer(task.name),
        )

    def _train_stages(
        self, inputs: TrainingInputs, stages: LastStages, before: RunModels, *, resume: bool
    ) -> tuple[Task, FinishedModel]:
        """Trains the head on the frozen backbone, and from there the backbone's last stages with it."""
        frozen = self._train(self._task("frozen", inputs, before), before, resume=resume).trained
        config, own = self.setup.config, recipe.of_stages(self.setup.config)
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
            student=lambda: stages.student(recipe.student_of_stages(config, stages), standardized),
            weights=frozen.model.state_dict(),
            statistics=statistics_for(on_maps, stored.plain, recomputed=own.statistics == "recomputed"),
            expected=inputs.expected,
            hints=self._hints(inputs, before),
        )
        adapted = self._train(task, before, resume=resume)
        if frozen.stopped and not adapted.trained.stopped:  # it began with a head that had collapsed
            adapted = replace(adapted, trained=replace(adapted.trained, stopped=frozen.stopped, ended=frozen.ended))
        return task, adapted

    def _task(self, name: str, inputs: TrainingInputs, before: RunModels) -> Task:
        """Returns a training whose results go into its part of the folder."""
        own, whole = inputs.of(name)
        start, folder = self.setup.start, training_folder(name, self.run, recipe.name_of_training(self.setup.config))
        model = "adapted" if name == "frozen" else name
        config = dict(recipe.trainings(self.setup.config))[model]
        return Task(
            name,
            config,
            inputs.domains,
            own,
            self._results(folder, whole),
            weights=None if start is None else start.weights_for(model),
            statistics=statistics_for(inputs, own.plain, recomputed=config.statistics == "recomputed"),
            expected=inputs.expected,
            hints=None if name == "source-only" else self._hints(inputs, before),
            confidence=recipe.confidence_of(self.setup.config),
        )

    def _hints(self, inputs: TrainingInputs, before: RunModels) -> TrustedHints | None:
        """Returns the hints that an adaptation learns from, if there are some."""
        config = self.setup.config
        return trusted_hints(
            inputs, before, compared=config.keep != "adapted", seed=config.seed, world=self.setup.world
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


def training_folder(name: str, run: RunFolder, own: str) -> TrainingFolder:
    """Returns the folder of a training: the run's root for its own, a folder below it for what comes before.

    Args:
        name: adapted, source-only, or frozen.
        run: the run's folder.
        own: name of the training that the run is made for.
    """
    if name == "frozen":
        return run.frozen
    return run if name == own else run.source_only
