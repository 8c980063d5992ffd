import pytest
import torch
from torch import nn

from dalib.models.backbones import DigitsBackbone, PaperLargeBackbone, PaperSmallBackbone, SmallBackbone
from dalib.models.classifier import ImageClassifier


def weight_shapes(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def kinds(network: nn.Module) -> list[str]:
    short = {"Conv2d": "conv", "BatchNorm2d": "norm", "ReLU": "relu", "MaxPool2d": "pool", "Dropout": "drop"}
    return [short.get(type(layer).__name__, type(layer).__name__.lower()) for layer in network.layers]


def convolution_sizes(network: nn.Module, images: torch.Tensor) -> list[int]:
    sizes: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    network(images)
    return sizes


CONVOLUTION = ["conv", "norm", "relu"]


@pytest.mark.parametrize(("channels", "size", "fully_connected"), [(1, 28, 1024), (3, 32, 1600), (1, 16, 64)])
def test_the_small_network_has_the_papers_shapes(channels, size, fully_connected):
    network = PaperSmallBackbone(channels, size)
    assert weight_shapes(network) == [
        (32, channels, 5, 5),
        (64, 32, 3, 3),
        (64, 64, 3, 3),
        (256, fully_connected),
    ]
    assert kinds(network) == [
        *CONVOLUTION, "pool", *CONVOLUTION, *CONVOLUTION, "pool", "flatten", "drop", "linear", "relu",
    ]  # fmt: skip
    assert network(torch.zeros(2, channels, size, size)).shape == (2, network.out_features) == (2, 256)


def test_the_large_network_has_the_papers_shapes():
    network = PaperLargeBackbone()
    assert weight_shapes(network) == [
        (128, 3, 3, 3),
        (128, 128, 3, 3),
        (128, 128, 3, 3),
        (256, 128, 3, 3),
        (256, 256, 3, 3),
        (256, 256, 3, 3),
        (512, 256, 3, 3),
        (256, 512, 1, 1),
        (128, 256, 1, 1),
    ]
    three = CONVOLUTION * 3
    assert kinds(network) == [*three, "pool", "drop", *three, "pool", "drop", *three, "adaptiveavgpool2d", "flatten"]


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 12)])
def test_the_large_network_gives_128_features(channels, size):
    network = PaperLargeBackbone(channels)
    assert network(torch.zeros(2, channels, size, size)).shape == (2, network.out_features) == (2, 128)


def test_only_the_last_3x3_convolution_of_the_large_network_shrinks_its_maps():
    assert convolution_sizes(PaperLargeBackbone(1).eval(), torch.zeros(1, 1, 32, 32)) == [32] * 3 + [16] * 3 + [6] * 3


@pytest.mark.parametrize("make", [PaperSmallBackbone, PaperLargeBackbone])
def test_the_papers_dropout_is_one_half(make):
    rates = [module.p for module in make().modules() if isinstance(module, nn.Dropout)]
    assert rates
    assert set(rates) == {0.5}


@pytest.mark.parametrize("make", [PaperSmallBackbone, PaperLargeBackbone])
def test_every_convolution_is_followed_by_a_norm_of_its_width(make):
    layers = list(make().layers)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert [layers[i].out_channels for i in convolutions] == [layers[i + 1].num_features for i in convolutions]


@pytest.mark.parametrize("size", [15, 8, 0, -28])
def test_the_small_network_refuses_images_that_leave_nothing(size):
    with pytest.raises(ValueError, match="size: expected at least 16"):
        PaperSmallBackbone(size=size)


def test_the_large_network_refuses_images_that_leave_nothing():
    with pytest.raises(ValueError, match="12"):
        PaperLargeBackbone().eval()(torch.zeros(1, 3, 11, 11))


@pytest.mark.parametrize(
    ("backbone", "shape", "head"),
    [(PaperSmallBackbone(), (2, 1, 28, 28), (10, 256)), (PaperLargeBackbone(), (2, 3, 32, 32), (10, 128))],
    ids=["small", "large"],
)
def test_a_head_without_bottleneck_completes_the_papers_network(backbone, shape, head):
    classifier = ImageClassifier(backbone, 10, bottleneck_dim=None)
    predictions, _ = classifier(torch.zeros(shape))
    assert predictions.shape == (2, 10)
    assert weight_shapes(classifier)[-1] == head


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 16), (1, 4)])
def test_the_small_backbone_has_five_convolutions_in_three_scales(channels, size):
    network, images = SmallBackbone(channels), torch.zeros(2, channels, size, size)
    assert network(images).shape == (2, network.out_features) == (2, 128)
    assert weight_shapes(network) == [
        (32, channels, 3, 3),
        (32, 32, 3, 3),
        (64, 32, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
    ]
    assert convolution_sizes(network, images) == [size, size, size // 2, size // 2, size // 4]


@pytest.mark.parametrize(("size", "side"), [(16, 1), (20, 2), (24, 3), (28, 4)])
def test_the_digits_network_pools_before_it_normalises_and_says_its_width(size, side):
    network = DigitsBackbone(1, size)
    assert weight_shapes(network) == [(32, 1, 5, 5), (64, 32, 3, 3), (96, 64, 3, 3), (96, 96, 3, 3)]
    pooled = ["conv", "pool", "norm", "relu"]
    assert kinds(network) == [*pooled, *pooled, *CONVOLUTION, *CONVOLUTION, "flatten", "drop"]
    assert network.out_features == 96 * side**2
    assert network(torch.zeros(2, 1, size, size)).shape == (2, network.out_features)


def test_the_digits_network_refuses_images_of_which_nothing_is_left():
    with pytest.raises(ValueError, match="at least 16"):
        DigitsBackbone(1, 15)
