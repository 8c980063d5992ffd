import pytest
import torch
from torch import nn

from dalib.adaptation.self_ensemble import EmaTeacher
from dalib.models.classifier import GlobalMeanPool, ImageClassifier, logits_of


def backbone(width: int = 6) -> nn.Module:
    layer = nn.Conv2d(3, width, 3)
    layer.out_features = width
    return layer


def small_classifier(bottleneck_dim: int | None = 7, **settings) -> ImageClassifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    backbone.out_features = 6
    return ImageClassifier(backbone, 5, bottleneck_dim, **settings)


def images(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def parameter_names_of(classifier: ImageClassifier, group: dict) -> list[str]:
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    return [names[id(parameter)] for parameter in group["params"]]


# --- ImageClassifier


def test_training_gives_predictions_and_features_and_evaluation_predictions_alone():
    classifier = ImageClassifier(backbone(), num_classes=31)
    predictions, features = classifier.train()(images())
    assert predictions.shape == (4, 31)
    assert features.shape == (4, 256)
    predictions = classifier.eval()(images())
    assert isinstance(predictions, torch.Tensor)
    assert predictions.shape == (4, 31)


def test_the_features_are_what_the_head_saw():
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=7)
    predictions, features = classifier(images())
    torch.testing.assert_close(classifier.head(features), predictions)
    assert features.min() >= 0


def test_features_of_the_head_enter_there_where_they_are_taken():
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=7)
    features = torch.randn(4, 7)
    with pytest.raises(RuntimeError):
        classifier(features)
    classifier.takes_head_features = True
    predictions, seen = classifier(features)
    torch.testing.assert_close(predictions, classifier.head(features))
    assert seen is features
    assert torch.equal(classifier.eval()(features), predictions)
    predictions.sum().backward()
    assert [name for name, each in classifier.named_parameters() if each.grad is not None] == [
        "head.weight",
        "head.bias",
    ]


def test_it_computes_pool_bottleneck_and_head_in_this_order():
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=7).eval()
    linear, norm, relu = classifier.bottleneck
    assert [type(layer) for layer in (linear, norm, relu)] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    pooled = classifier.backbone(images()).flatten(2).mean(dim=2)
    torch.testing.assert_close(classifier(images()), classifier.head(norm(linear(pooled)).clamp_min(0)))


@pytest.mark.parametrize(("bottleneck_dim", "expected"), [(256, 256), (7, 7), (None, 6)])
def test_features_dim_is_the_width_that_the_head_sees(bottleneck_dim, expected):
    classifier = ImageClassifier(backbone(width=6), 5, bottleneck_dim=bottleneck_dim)
    _, features = classifier(images())
    assert classifier.features_dim == features.shape[1] == classifier.head.in_features == expected


def test_without_a_bottleneck_the_head_works_on_the_pooled_features():
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=None)
    _, features = classifier(images())
    torch.testing.assert_close(features, classifier.backbone(images()).mean(dim=(2, 3)))
    assert not list(classifier.bottleneck.parameters())


def test_a_backbone_of_flat_features_needs_no_pooling():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    flat.out_features = 6
    classifier = ImageClassifier(flat, 5, bottleneck_dim=None)
    _, features = classifier(images())
    torch.testing.assert_close(features, flat(images()))


class Tokens(nn.Module):
    """Gives (N, 3, D) for an image, as a transformer without pooling does."""

    out_features = 8

    def forward(self, images):
        return images.mean(dim=2)


@pytest.mark.parametrize("bottleneck_dim", [None, 7])
@pytest.mark.parametrize("training", [True, False])
def test_a_backbone_whose_output_is_not_what_it_says_is_refused(bottleneck_dim, training):
    wrong = backbone(6)
    wrong.out_features = 8
    for given, shape in ((wrong, r"\(4, 6\) from Conv2d"), (Tokens(), r"\(4, 3, 8\) from Tokens")):
        classifier = ImageClassifier(given, 5, bottleneck_dim).train(training)
        with pytest.raises(ValueError, match=rf"backbone: expected \(N, 8\).* got {shape}; set out_features"):
            classifier(images())


def test_a_given_pool_layer_replaces_the_mean():
    peak = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=None, pool_layer=peak)
    _, features = classifier(images())
    torch.testing.assert_close(features, classifier.backbone(images()).amax(dim=(2, 3)))


def test_a_given_head_replaces_the_linear_one():
    head = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 5))
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim=7, head=head)
    predictions, features = classifier(images())
    assert classifier.head is head
    torch.testing.assert_close(predictions, head(features))


@pytest.mark.parametrize(("finetune", "backbone_rate"), [(True, 0.001), (False, 0.01)])
def test_only_a_finetuned_backbone_learns_at_a_tenth_of_the_rate(finetune, backbone_rate):
    classifier = ImageClassifier(backbone(), 5, finetune=finetune)
    rates = {
        name: group["lr"]
        for group in classifier.get_parameters(base_lr=0.01)
        for name in parameter_names_of(classifier, group)
    }
    for name, rate in rates.items():
        assert rate == pytest.approx(backbone_rate if name.startswith("backbone.") else 0.01), name


@pytest.mark.parametrize("finetune", [True, False])
@pytest.mark.parametrize("bottleneck_dim", [None, 7])
def test_every_parameter_is_in_exactly_one_group(finetune, bottleneck_dim):
    pool = nn.Sequential(nn.Conv2d(6, 6, 1), GlobalMeanPool())
    classifier = ImageClassifier(backbone(), 5, bottleneck_dim, finetune=finetune, pool_layer=pool)
    groups = classifier.get_parameters()
    names = [name for group in groups for name in parameter_names_of(classifier, group)]
    assert sorted(names) == sorted(name for name, _ in classifier.named_parameters())
    torch.optim.SGD(groups)


def test_the_default_rate_is_1():
    assert [group["lr"] for group in ImageClassifier(backbone(), 5).get_parameters()] == [0.1, 1.0]


@pytest.mark.parametrize("width", [None, 0, -3, "256", 6.0])
def test_a_backbone_without_a_usable_width_is_refused(width):
    layer = nn.Conv2d(3, 6, 3)
    if width is not None:
        layer.out_features = width
    with pytest.raises(ValueError, match=r"backbone: expected an attribute out_features, .* on Conv2d"):
        ImageClassifier(layer, 5)


@pytest.mark.parametrize(("num_classes", "bottleneck_dim"), [(0, 7), (-1, 7), (5, 0), (5, -1)])
def test_sizes_below_1_are_refused(num_classes, bottleneck_dim):
    with pytest.raises(ValueError, match="num_classes, bottleneck_dim: expected at least 1"):
        ImageClassifier(backbone(), num_classes, bottleneck_dim)


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="bottle_neck"):
        ImageClassifier(backbone(), 5, bottle_neck=None)


def test_the_mean_pool_leaves_features_as_they_are_and_averages_maps():
    features = torch.randn(2, 3)
    assert GlobalMeanPool()(features) is features
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert GlobalMeanPool()(maps).tolist() == [[3.0]]


# --- ImageClassifier on features that are computed beforehand: dropout, standardisation, frozen parts


@pytest.mark.parametrize("bottleneck_dim", [7, None])
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.5}, {"standardize": True}, {"bottleneck_norm": False}])
@pytest.mark.parametrize("training", [True, False])
def test_a_call_is_backbone_then_pool_then_classify(bottleneck_dim, settings, training):
    network = small_classifier(bottleneck_dim, **settings).train(training)
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
        found = [name for name in small_classifier(**settings).state_dict() if not name.startswith("backbone.")]
        assert found == [*more, *keys]


def test_a_bottleneck_without_norm_is_linear_and_relu():
    assert [type(layer) for layer in small_classifier(bottleneck_norm=False).bottleneck] == [nn.Linear, nn.ReLU]


@pytest.mark.parametrize("bottleneck_dim", [7, None])
def test_dropout_is_before_the_bottleneck_and_before_the_head(bottleneck_dim):
    network = small_classifier(bottleneck_dim, dropout=0.5, bottleneck_norm=False)
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
    network = small_classifier(dropout=0.9).eval()
    assert torch.equal(network(images()), network(images()))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="dropout: expected"):
        small_classifier(dropout=rate)


def test_statistics_centre_and_scale_the_pooled_features():
    network = small_classifier(None, standardize=True).eval()
    pooled = torch.randn(500, 6) * torch.arange(1.0, 7) + 3
    torch.testing.assert_close(network.classify(pooled), network.head(pooled))
    network.set_feature_statistics(pooled.mean(dim=0), pooled.std(dim=0))
    network.train()
    _, features = network.classify(pooled.half())  # as stored features are
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(dim=0), torch.ones(6), atol=1e-3, rtol=0)


def test_a_constant_feature_is_only_centred():
    network = small_classifier(None, standardize=True)
    network.set_feature_statistics(torch.full((6,), 2.0), torch.zeros(6))
    assert network.classify(torch.full((3, 6), 2.5))[1].tolist() == [[0.5] * 6] * 3


def test_statistics_are_saved_copied_to_the_teacher_and_not_learnt():
    network = small_classifier(standardize=True)
    network.set_feature_statistics(torch.arange(6.0), torch.full((6,), 2.0))
    assert torch.equal(EmaTeacher(network, 0.9).module.feature_mean, torch.arange(6.0))
    other = small_classifier(standardize=True)
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
        small_classifier(standardize=True).set_feature_statistics(mean, std)


def test_statistics_of_a_classifier_that_does_not_standardise_are_refused():
    with pytest.raises(ValueError, match="standardize=True"):
        small_classifier().set_feature_statistics(torch.zeros(6), torch.ones(6))


def test_frozen_parameters_are_in_no_group():
    network = small_classifier()
    network.backbone[0].requires_grad_(False)
    old, new = network.get_parameters(0.1)
    assert [id(one) for one in old["params"]] == [id(one) for one in network.backbone[1].parameters()]
    assert len(new["params"]) == 6
    network.backbone.requires_grad_(False)
    (only,) = network.get_parameters(0.1)
    assert only["lr"] == 0.1
    torch.optim.Adam([only])


# --- logits_of


@pytest.mark.parametrize("n", [1, 2, 3])
def test_logits_have_one_row_per_image_in_evaluation_mode(n):
    classifier = ImageClassifier(backbone(), 5).eval()
    logits = logits_of(classifier, images(n))
    assert logits.shape == (n, 5)
    assert torch.equal(logits, classifier(images(n)))


def test_logits_in_training_mode_are_the_predictions():
    classifier = ImageClassifier(backbone(), 5).train()
    assert torch.equal(logits_of(classifier, images()), classifier(images())[0])


@pytest.mark.parametrize("wrap", [lambda z: z, lambda z: (z,), lambda z: [z, None], lambda z: (z, z, z)])
def test_logits_are_found_alone_or_first_in_a_sequence(wrap):
    class Returns(nn.Module):
        def forward(self, x):
            return wrap(x)

    x = torch.randn(2, 3)
    assert logits_of(Returns(), x) is x


@pytest.mark.parametrize(
    "output",
    [None, {}, (), [], "logits", (None, torch.zeros(2, 3)), torch.zeros(3), torch.zeros(2, 3, 1), (torch.zeros(3),)],
    ids=["none", "dict", "tuple", "list", "string", "none first", "vector", "maps", "vector first"],
)
def test_an_output_without_logits_is_refused(output):
    class Returns(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(TypeError, match=r"expected logits \(N, K\) .*Returns"):
        logits_of(Returns(), images())
