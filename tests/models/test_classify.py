"""ImageClassifier on features that are computed beforehand, with dropout, standardisation and frozen parts."""

import pytest
import torch
from torch import nn

from dalib.adaptation.self_ensemble import EmaTeacher
from dalib.models.classifier import ImageClassifier


def classifier(bottleneck_dim: int | None = 7, **settings) -> ImageClassifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    backbone.out_features = 6
    return ImageClassifier(backbone, 5, bottleneck_dim, **settings)


def images(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bottleneck_dim", [7, None])
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.5}, {"standardize": True}, {"bottleneck_norm": False}])
@pytest.mark.parametrize("training", [True, False])
def test_a_call_is_backbone_then_pool_then_classify(bottleneck_dim, settings, training):
    network = classifier(bottleneck_dim, **settings).train(training)
    if "standardize" in settings:
        network.set_feature_statistics(torch.randn(6), torch.rand(6) + 0.5)
    torch.manual_seed(1)
    expected = network(images())
    torch.manual_seed(1)
    got = network.classify(network.pool_layer(network.backbone(images())))
    assert isinstance(got, tuple) == training
    for one, other in zip(got if training else [got], expected if training else [expected], strict=True):
        torch.testing.assert_close(one, other)


def test_dropout_changes_no_keys_and_standardisation_adds_its_two():
    keys = [
        "bottleneck.0.weight", "bottleneck.0.bias",
        "bottleneck.1.weight", "bottleneck.1.bias", "bottleneck.1.running_mean", "bottleneck.1.running_var",
        "bottleneck.1.num_batches_tracked", "head.weight", "head.bias",
    ]  # fmt: skip
    for settings, more in (
        ({}, []),
        ({"dropout": 0.5}, []),
        ({"standardize": True}, ["feature_mean", "feature_std"]),
    ):
        found = [name for name in classifier(**settings).state_dict() if not name.startswith("backbone.")]
        assert found == [*more, *keys]


def test_a_bottleneck_without_norm_is_linear_and_relu():
    assert [type(layer) for layer in classifier(bottleneck_norm=False).bottleneck] == [nn.Linear, nn.ReLU]


@pytest.mark.parametrize("bottleneck_dim", [7, None])
def test_dropout_is_before_the_bottleneck_and_before_the_head(bottleneck_dim):
    network = classifier(bottleneck_dim, dropout=0.5, bottleneck_norm=False)
    calls = []
    network.dropout.register_forward_hook(lambda module, args, output: calls.append((args[0], output)))
    pooled = torch.ones(400, 6)
    predictions, features = network.classify(pooled)
    assert calls[0][0] is pooled
    assert calls[-1][1] is features
    assert len(calls) == (1 if bottleneck_dim is None else 2)
    torch.testing.assert_close(predictions, network.head(features))
    assert (calls[0][1] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert set(calls[0][1].unique().tolist()) == {0.0, 2.0}


def test_evaluation_drops_nothing():
    network = classifier(dropout=0.9).eval()
    assert torch.equal(network(images()), network(images()))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="dropout: expected"):
        classifier(dropout=rate)


def test_statistics_centre_and_scale_the_pooled_features():
    network = classifier(None, standardize=True).eval()
    pooled = torch.randn(500, 6) * torch.arange(1.0, 7) + 3
    torch.testing.assert_close(network.classify(pooled), network.head(pooled))
    network.set_feature_statistics(pooled.mean(dim=0), pooled.std(dim=0))
    network.train()
    _, features = network.classify(pooled.half())  # as stored features are
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(dim=0), torch.ones(6), atol=1e-3, rtol=0)


def test_a_constant_feature_is_only_centred():
    network = classifier(None, standardize=True)
    network.set_feature_statistics(torch.full((6,), 2.0), torch.zeros(6))
    assert network.classify(torch.full((3, 6), 2.5))[1].tolist() == [[0.5] * 6] * 3


def test_statistics_are_saved_copied_to_the_teacher_and_not_learnt():
    network = classifier(standardize=True)
    network.set_feature_statistics(torch.arange(6.0), torch.full((6,), 2.0))
    assert torch.equal(EmaTeacher(network, 0.9).module.feature_mean, torch.arange(6.0))
    other = classifier(standardize=True)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.feature_std, torch.full((6,), 2.0))
    assert not [name for name, _ in network.named_parameters() if name.startswith("feature")]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (torch.zeros(5), torch.ones(5)),
        (torch.zeros(6), torch.ones(1)),
        (torch.zeros(6), -torch.ones(6)),
        (torch.full((6,), float("nan")), torch.ones(6)),
        (torch.zeros(6), torch.full((6,), float("inf"))),
    ],
)
def test_statistics_that_are_none_are_refused(mean, std):
    with pytest.raises(ValueError, match="mean, std: expected"):
        classifier(standardize=True).set_feature_statistics(mean, std)


def test_statistics_of_a_classifier_that_does_not_standardise_are_refused():
    with pytest.raises(ValueError, match="standardize=True"):
        classifier().set_feature_statistics(torch.zeros(6), torch.ones(6))


def test_frozen_parameters_are_in_no_group():
    network = classifier()
    network.backbone[0].requires_grad_(False)
    old, new = network.get_parameters(0.1)
    assert [id(one) for one in old["params"]] == [id(one) for one in network.backbone[1].parameters()]
    assert len(new["params"]) == 6
    network.backbone.requires_grad_(False)
    (only,) = network.get_parameters(0.1)
    assert only["lr"] == 0.1
    torch.optim.Adam([only])
