"""Predictions over many rows, with the model left as it was."""

import pytest
import torch
from torch import nn

from dalib.engine.predict import evaluating, predict_probabilities
from dalib.models.classifier import ImageClassifier

CPU = torch.device("cpu")


def normalize(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 255 - 0.5


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (10, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(images) -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
    backbone.out_features = 4
    classifier = ImageClassifier(backbone, num_classes=3, bottleneck_dim=5)
    nn.init.normal_(classifier.head.weight, std=5)
    classifier(normalize(images))  # BatchNorm's statistics are no longer those of a fresh network
    return classifier


@pytest.mark.parametrize("batch", [1, 3, 5, 10, 256])
def test_probabilities_are_those_of_one_forward_call_in_evaluation_mode(model, images, batch):
    probabilities = predict_probabilities(model, images, normalize, device=CPU, batch=batch)
    with torch.no_grad():
        expected = model.eval()(normalize(images)).softmax(dim=1)
    torch.testing.assert_close(probabilities, expected)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(10))
    assert not probabilities.requires_grad
    assert probabilities.dtype == torch.float32


def test_the_rows_keep_their_order(model, images):
    forwards = predict_probabilities(model, images, normalize, device=CPU, batch=4)
    backwards = predict_probabilities(model, images.flip(0), normalize, device=CPU, batch=4)
    torch.testing.assert_close(backwards.flip(0), forwards)
    assert len(forwards.unique(dim=0)) == 10


def test_prediction_changes_no_state_of_the_model(model, images):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict_probabilities(model.train(), images, normalize, device=CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_every_submodule_is_back_in_its_mode(model, training, fails):
    model.train(training)
    model.backbone[1].train(not training)  # frozen BatchNorm, or the reverse
    before = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError) if fails else evaluating(model), evaluating(model):
        assert not any(module.training for module in model.modules())
        if fails:
            raise ZeroDivisionError
    assert [module.training for module in model.modules()] == before
