import copy

import pytest
import timm
import torch
from torch import nn

from dalib.models import inference
from dalib.models.inference import FastInference, fast_inference, folded, gain_of_bfloat16


def with_statistics(model: nn.Module) -> nn.Module:
    """As if trained: statistics of BatchNorm that no fresh network has."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return with_statistics(timm.create_model(name, num_classes=0))


def images(n: int = 5, size: int = 48) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def always_fused(monkeypatch):
    """Whatever is measured, the fused variant counts as the quicker one."""
    monkeypatch.setattr(inference, "_seconds", lambda call, example: 1.0 if call.variant == "fused" else 2.0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet10t", 48),
        ("tf_efficientnet_lite0", 48),
        ("tf_efficientnet_lite0", 47),  # another padding of TensorFlow's kind
        ("mobilenetv3_small_050", 48),
        ("tf_efficientnet_b0", 40),  # squeeze and excitation
        ("vit_tiny_patch16_224", 224),
        ("resnetv2_50", 32),  # normalises before it convolves
    ],
)
def test_it_gives_what_the_network_gives(monkeypatch, name, size):
    always_fused(monkeypatch)
    model = network(name)
    fast = fast_inference(model, (5, 3, size, size))
    assert fast.variant == "fused"
    with torch.no_grad():
        expected = model(images(size=size))
    torch.testing.assert_close(fast(images(size=size)), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_given_model_is_left_as_it_was(monkeypatch):
    always_fused(monkeypatch)
    model = network("tf_efficientnet_lite0").train()
    before, shape = copy.deepcopy(model.state_dict()), str(model)
    fast_inference(model, (2, 3, 32, 32))
    assert str(model) == shape
    assert model.training
    assert all(one.requires_grad for one in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_other_numbers_and_sizes_of_images_are_taken(monkeypatch):
    always_fused(monkeypatch)
    model = network("tf_efficientnet_lite0")
    fast = fast_inference(model, (4, 3, 48, 48))
    for batch in (images(1), images(9), images(2, 40), images(3, 33)):
        with torch.no_grad():
            torch.testing.assert_close(fast(batch), model(batch), rtol=1e-3, atol=1e-4)


def test_batches_in_parts_come_back_whole_and_in_order():
    seen = []

    def take(part):
        seen.append(len(part))
        return part.flatten(1)[:, :1]

    batch = images(7)
    assert torch.equal(FastInference(take, 3, "plain", 1.0)(batch), batch.flatten(1)[:, :1])
    assert seen == [3, 3, 1]


def test_network_and_images_have_the_layout_of_the_device(monkeypatch):
    layouts = []

    class Watched(nn.Conv2d):
        def forward(self, images):
            layouts.append((self.weight.is_contiguous(), images.is_contiguous()))
            return super().forward(images)

    for layout in (torch.channels_last, torch.contiguous_format):
        monkeypatch.setattr(inference, "memory_format", lambda device, layout=layout: layout)
        fast_inference(Watched(3, 4, 3), (2, 3, 8, 8), known=("plain", None))(images(2, 8))
    assert layouts == [(False, False), (True, True)]


def test_no_gradient_is_kept_and_a_head_can_learn_from_the_features():
    features = fast_inference(network("resnet10t"), (2, 3, 32, 32))(images(2, 32))
    assert not features.requires_grad
    head = nn.Linear(512, 3)
    head(features).sum().backward()
    assert head.weight.grad is not None


def test_batch_normalisation_is_gone_where_it_follows_a_convolution():
    model = folded(network("tf_efficientnet_lite0"), images(1))
    assert not [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not [module for module in model.modules() if type(module).__name__ == "Conv2dSame"]


class BothWays(nn.Module):
    """Uses what a convolution gave before and after normalisation, where folding would be wrong."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        before = self.convolution(x)
        return (before + self.norm(before)).mean((2, 3))


class Breaks(nn.Module):
    """Refuses single images, with which it is looked at."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        if len(x) == 1:
            raise RuntimeError("one image")
        return self.convolution(x).mean((2, 3))


@pytest.mark.parametrize("make", [BothWays, Breaks])
def test_what_cannot_be_transformed_stays_plain(monkeypatch, make):
    always_fused(monkeypatch)
    model = with_statistics(make())
    monkeypatch.setattr(inference, "_CHUNKS", ())
    fast = fast_inference(model, (4, 3, 16, 16))
    with torch.no_grad():
        torch.testing.assert_close(fast(images(4, 16)), model(images(4, 16)))
    assert fast.variant == "plain"


class ActivationFirst(nn.Module):
    """An activation in place, then BatchNorm: the norm does not follow the convolution."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(8))

    def forward(self, x):
        return self.layers(x).mean((2, 3))


def test_an_activation_between_convolution_and_norm_is_seen(monkeypatch):
    always_fused(monkeypatch)
    model = with_statistics(ActivationFirst())
    fast = fast_inference(model, (4, 3, 16, 16))
    assert fast.variant == "fused"
    with torch.no_grad():
        torch.testing.assert_close(fast(images(4, 16)), model(images(4, 16)), rtol=1e-4, atol=1e-5)


def test_other_dtypes_stay_plain(monkeypatch):
    always_fused(monkeypatch)
    assert fast_inference(network("resnet10t").double(), (4, 3, 32, 32)).variant == "plain"


def test_what_is_not_quicker_stays_plain(monkeypatch):
    monkeypatch.setattr(inference, "_seconds", lambda call, example: 2.0 if call.variant == "fused" else 1.0)
    fast = fast_inference(network("resnet10t"), (4, 3, 32, 32))
    assert (fast.variant, fast.speedup, fast.chunk) == ("plain", 1.0, None)


@pytest.mark.parametrize("shape", [(3, 32, 32), (0, 3, 32, 32), (1, 3, -1, 32)])
def test_shapes_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match="example_shape"):
        fast_inference(nn.Identity(), shape)


@pytest.mark.parametrize("quicker", ["plain", "fused"])
@pytest.mark.parametrize("known", [("plain", None), ("fused", 2), ("fused", None)])
def test_a_choice_made_before_is_taken_again_whatever_is_quicker_now(monkeypatch, known, quicker):
    monkeypatch.setattr(inference, "_seconds", lambda call, example: 1.0 if call.variant == quicker else 2.0)
    fast = fast_inference(network("resnet10t"), (4, 3, 32, 32), known=known)
    assert (fast.variant, fast.chunk) == known


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t", "vit_tiny_patch16_224"])
def test_bfloat16_gives_what_the_network_gives_but_for_rounding(name):
    size = 224 if name.startswith("vit") else 48
    model = network(name)
    fast = fast_inference(model, (5, 3, size, size), bfloat16=True)
    with torch.no_grad():
        expected = model(images(size=size))
    output = fast(images(size=size))
    assert output.dtype == torch.float32
    assert not torch.equal(output, expected)
    assert (output - expected).norm() < 0.05 * expected.norm()
    assert all(one.dtype == torch.float32 for one in model.parameters())


def test_bfloat16_takes_other_numbers_and_sizes_of_images():
    model = network("tf_efficientnet_lite0")
    fast = fast_inference(model, (4, 3, 48, 48), bfloat16=True)
    for batch in (images(1), images(9), images(2, 40)):
        with torch.no_grad():
            expected = model(batch)
        assert (fast(batch) - expected).norm() < 0.05 * expected.norm()


def test_a_choice_in_bfloat16_that_is_kept_gives_the_same_numbers_to_the_bit():
    model = network("tf_efficientnet_lite0")
    first = fast_inference(model, (8, 3, 48, 48), bfloat16=True)
    again = fast_inference(model, (8, 3, 48, 48), bfloat16=True, known=(first.variant, first.chunk))
    assert (again.variant, again.chunk) == (first.variant, first.chunk)
    assert torch.equal(first(images(8)), again(images(8)))


def test_bfloat16_gains_nothing_on_a_processor_without_it(monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda: False)
    assert gain_of_bfloat16(network("resnet10t"), (2, 3, 32, 32)) == 1


@pytest.mark.parametrize(("seconds", "gain"), [(1.0, 2.0), (1.9, 1.0), (3.0, 1.0)])
def test_bfloat16_is_worth_it_from_a_fifth_on(monkeypatch, seconds, gain):
    def made(model, shape, *, bfloat16):
        return FastInference(model, None, "bfloat16" if bfloat16 else "float32", 1.0)

    monkeypatch.setattr(inference, "has_bfloat16", lambda: True)
    monkeypatch.setattr(inference, "fast_inference", made)
    monkeypatch.setattr(inference, "_seconds", lambda call, example: seconds if call.variant == "bfloat16" else 2.0)
    assert gain_of_bfloat16(network("resnet10t"), (2, 3, 32, 32)) == gain
    known = {rounded: made(network("resnet10t"), None, bfloat16=rounded) for rounded in (False, True)}
    monkeypatch.setattr(inference, "fast_inference", None)
    assert gain_of_bfloat16(network("resnet10t"), (2, 3, 32, 32), known.__getitem__) == gain


def test_bfloat16_is_not_taken_where_its_output_is_too_far_away(monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda: True)
    monkeypatch.setattr(inference, "_BFLOAT16_ERROR", 0.0)
    assert gain_of_bfloat16(network("resnet10t"), (2, 3, 32, 32)) == 1
