"""Predictions over many rows, with the model left as it was."""

import pytest
import torch
from torch import nn

from dalib.engine.predict import (
    evaluating,
    predict_probabilities,
    predict_with_features,
    recompute_statistics,
)
from dalib.models.averaged import AveragedFeatures
from dalib.models.backbones import StoredFeatures
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


def batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def test_recomputed_statistics_are_those_of_the_plain_images(model, images):
    recompute_statistics(model, images, normalize, device=CPU)
    convolution, norm = model.backbone[0], model.backbone[1]
    with torch.no_grad():
        seen = convolution(normalize(images)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=1))
    torch.testing.assert_close(norm.running_var, seen.var(dim=1))


def test_over_several_batches_they_are_the_mean_and_every_image_counts_once(model):
    images = torch.randint(0, 256, (700, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images[:350] //= 8  # rows that lie class by class: each batch takes from both halves
    recompute_statistics(model, images, normalize, device=CPU)
    with torch.no_grad():
        seen = model.backbone[0](normalize(images)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(model.backbone[1].running_mean, seen.mean(dim=1))
    torch.testing.assert_close(model.backbone[1].running_var, seen.var(dim=1), rtol=0.02, atol=0)
    assert model.backbone[1].num_batches_tracked == 2


def test_recomputing_changes_statistics_alone(model, images):
    model.train()
    model.backbone[2].eval()
    weights = [parameter.clone() for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    recompute_statistics(model, images, normalize, device=CPU)
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))
    assert [module.training for module in model.modules()] == modes
    assert [norm.momentum for norm in batch_norms(model)] == [0.1, 0.1]
    assert torch.equal(torch.get_rng_state(), random_state), "dropout was on"


def test_recomputing_looks_at_no_more_images_than_asked(model):
    class Counting:
        seen: tuple = ()

        def __len__(self):
            return 1_000_000

        def __getitem__(self, indices):
            self.seen += tuple(indices.tolist())
            return torch.zeros(len(indices), 1, 6, 6, dtype=torch.uint8)

    rows = Counting()
    recompute_statistics(model, rows, normalize, device=CPU, most=1000)
    assert len(set(rows.seen)) == 1000
    assert (min(rows.seen), max(rows.seen)) == (0, 999_999)


def test_without_batch_normalisation_nothing_is_done(images):
    recompute_statistics(nn.Linear(1, 1), images[:1], normalize, device=CPU)


def test_one_image_has_no_statistics(model, images):
    with pytest.raises(ValueError, match="at least two"):
        recompute_statistics(model, images[:1], normalize, device=CPU)


def test_frozen_batch_normalisation_keeps_its_statistics(images):
    class Frozen(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    model = nn.Sequential(Frozen(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 2)).train()
    recompute_statistics(model, images, normalize, device=CPU)
    assert model[0].running_mean.item() == 0
    assert model[1].running_mean.item() != 0


@pytest.mark.parametrize("batch", [3, 256])
def test_features_are_what_the_head_saw(model, images, batch):
    probabilities, features = predict_with_features(model, model.head, images, normalize, device=CPU, batch=batch)
    torch.testing.assert_close(probabilities, predict_probabilities(model, images, normalize, device=CPU))
    torch.testing.assert_close(model.head(features).softmax(dim=1), probabilities)
    assert features.shape == (10, 5)
    assert not model.head._forward_pre_hooks


def test_features_of_several_views_are_their_mean():
    network = ImageClassifier(StoredFeatures(6), num_classes=3, bottleneck_dim=None)
    rows = torch.randn(7, 2, 6)
    _, features = predict_with_features(
        AveragedFeatures(network), network.head, rows, torch.Tensor.float, device=CPU, batch=3
    )
    torch.testing.assert_close(features, rows.mean(dim=1))


def test_statistics_of_images_one_by_one_are_taken_of_two_at_a_time():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4))
    images = torch.randn(5, 1, 2, 2)
    assert recompute_statistics(model, images, lambda rows: rows, device=torch.device("cpu"), batch=1)
    expected = (images[0::2].mean(dim=0) + images[1::2].mean(dim=0)) / 2
    torch.testing.assert_close(model[1].running_mean, expected.flatten())


def test_an_image_that_cannot_be_read_leaves_the_momentum():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4, momentum=0.3))

    def damaged(rows):
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        recompute_statistics(model, torch.randn(5, 1, 2, 2), damaged, device=torch.device("cpu"))
    assert model[1].momentum == 0.3
