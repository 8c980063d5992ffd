"""The source-only model of a kit in the place of one that is trained."""

from types import SimpleNamespace

import torch

from dalib.run.recipe import image_network
from dalib.run.recipe.from_kit import source_only_of
from dalib.run.settings.config import TrainConfig


def test_the_model_and_its_validation_are_those_of_the_kit(made):
    done, inputs = made
    source_only = done.trained["source-only"].model
    classes = len(inputs.domains.train.classes)
    validation, labels = torch.full((7, classes), 1 / classes), torch.arange(7) % classes
    kit = SimpleNamespace(weights=source_only.state_dict(), validation=validation, labels=labels)
    network = image_network.make_student(TrainConfig(), inputs.of("source-only")[0].architecture, classes)
    taken = source_only_of(kit, network, inputs)
    for name, tensor in source_only.state_dict().items():
        assert torch.equal(taken.trained.model.state_dict()[name], tensor)
    for kept in (taken.everything, taken.evaluated):
        assert torch.equal(kept.validation, validation)
        assert torch.equal(kept.labels, labels)
    torch.testing.assert_close(taken.everything.target, done.everything["source-only"].target)
