"""Our SAME padding is timm's, in value and gradient."""

import pytest
import timm
import torch
from timm.layers import Conv2dSame as TimmConv2dSame

from dalib.models.padding import Conv2dSame, with_quick_padding


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (7, 11), (3, 3)])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_it_is_timms(size, kernel, stride, dilation):
    generator = torch.Generator().manual_seed(0)
    theirs = TimmConv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2).double()
    ours = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2).double()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 4, *size, generator=generator, dtype=torch.float64)
    results = []
    for convolution in (theirs, ours):
        seen = images.clone().requires_grad_()
        output = convolution(seen)
        output.square().sum().backward()
        results.append((output, seen.grad, convolution.weight.grad, convolution.bias.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_network_keeps_its_weights_and_outputs():
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, state = network(images), {name: each.clone() for name, each in network.state_dict().items()}
        after = with_quick_padding(network)(images)
    assert sum(isinstance(module, Conv2dSame) for module in network.modules()) == 5
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(state[name], each) for name, each in network.state_dict().items())
