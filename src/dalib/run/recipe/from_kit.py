"""The source-only model of a kit, in the place of one that is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dalib.engine.train import Trained
from dalib.run.features.feature_space import FeatureSpace
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.run_models import FinishedModel
from dalib.run.recipe.task import predictions_of_all

if TYPE_CHECKING:
    from dalib.models.classifier import ImageClassifier
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.start.kit import Kit


def source_only_of(kit: Kit, model: ImageClassifier, inputs: TrainingInputs) -> FinishedModel:
    """Returns the source-only model of a kit, and what it predicts.

    Args:
        kit: has the weights.
        model: network of the inputs that the model of the run trains on, which takes the weights over.
        inputs: those of the run's trainings.
    """
    own, domains = inputs.of("source-only")[0], inputs.domains
    model = model.to(inputs.device)
    image_network.load_first(model, kit.weights if inputs.space is None else FeatureSpace.without_backbone(kit.weights))
    evaluator = recipe.make_evaluator(domains, own, inputs.device)
    trained = Trained(model, evaluator.evidence(model), step=0, ended=0, stopped="", prior=None)
    everything = predictions_of_all("source-only", trained, own, evaluator)
    return with_validation_of(kit, FinishedModel(trained, everything))


def with_validation_of(kit: Kit, model: FinishedModel) -> FinishedModel:
    """Returns a model with the source-only model's predictions for the validation images, which are not here.

    Its own are of drawn features, which are easier than those of images and would make it look better than it is.
    """
    known = {"validation": kit.validation, "labels": kit.labels}
    evaluated = replace(model.evaluated, **known, validation_features=None)
    everything = None if model.everything is None else replace(model.everything, **known)
    return FinishedModel(replace(model.trained, evidence=evaluated), everything)
