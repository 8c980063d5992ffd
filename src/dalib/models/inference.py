"""Fast forward passes of a frozen network, for features that are computed once."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.core.devices import device_of, memory_format
from dalib.models.padding import padding_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNKS = (2, 4)
_TRIED = 16  # images that a choice is made on
_TOLERANCE = 1e-3  # the largest difference to the plain network, as a share of the largest output
_BFLOAT16_ERROR = 0.05  # of the output's norm; its 8 bits give about 0.01 behind fifty layers
WORTH_BFLOAT16 = 1.2  # times as fast; for less, nobody wants other numbers


@dataclass(frozen=True)
class FastInference:
    """Calls a network without gradients: images (N, C, H, W) -> the network's output in evaluation mode."""

    network: Callable[[Tensor], Tensor]
    chunk: int | None
    """Images that go through the network at a time; None for the whole batch."""
    variant: str
    """``'plain'`` or ``'fused'``."""
    speedup: float
    """Times the throughput of the plain float32 network, as measured once; 1 for the plain one."""

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad():  # inference_mode is hardly quicker, and nothing can be learnt from what it gives
            images = images.contiguous(memory_format=memory_format(images.device))
            if self.chunk is None or len(images) <= self.chunk:
                return self.network(images)
            return torch.cat([self.network(part) for part in torch.split(images, self.chunk)])


def fast_inference(
    model: nn.Module,
    example_shape: Sequence[int],
    *,
    known: tuple[str, int | None] | None = None,
    bfloat16: bool = False,
) -> FastInference:
    """Returns the fastest way to call ``model`` in evaluation mode whose output agrees with the plain one.

    On a CPU, batch normalisation is folded into the convolutions before it, padding of TensorFlow's kind into their
    kernels, and convolution and activation are one call of oneDNN; a batch goes through in small parts, which stay in
    the processor's cache. What is faster is measured here on random images, in a few seconds, and used only if it gives
    what the plain network gives. Whatever cannot be transformed (other devices and dtypes, transformers) is left plain.

    Args:
        model: images -> a tensor (N, ...). It is copied, and not changed: what is learnt later is not seen.
        example_shape: (N, C, H, W) of the calls to come. Other N are taken as well, and other H and W by the plain
            network alone.
        known: variant and chunk of a choice that was made before, taken again if it still agrees. Two ways give numbers
            that differ in their last bits, and which is faster may change with what else the machine does: to get the
            same numbers again, keep the choice.
        bfloat16: compute in bfloat16, from float32 images to a float32 output; batch normalisation is folded in float32
            before. The output then differs from the plain one by rounding, and whether it is faster is not asked here:
            see :func:`gain_of_bfloat16`.

    Raises:
        ValueError: a shape that is not of four positive numbers.

    Source: folding as in Jacob et al. 2018, section 3.2; the rest is our choice, measured in benchmarks/extraction.py.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> fast = fast_inference(model, (4, 3, 16, 16))
    >>> images = torch.randn(4, 3, 16, 16)
    >>> torch.allclose(fast(images), model(images), atol=1e-4)
    True
    """
    if len(example_shape) != 4 or min(example_shape) < 1:
        raise ValueError(f"example_shape: expected (N, C, H, W), got {tuple(example_shape)}")
    plain = _frozen_copy(model)
    alone = FastInference(_cast(plain) if bfloat16 else plain, None, "plain", 1.0)
    batch = example_shape[0]
    if known == ("plain", None) or not _can_be_fused(plain):
        return alone
    example = torch.randn(min(batch, _TRIED), *example_shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        fused = _fused(plain, example[:1], bfloat16=bfloat16)
        expected = alone(example)
        chunks = (*(c for c in _CHUNKS if c < batch), None) if known is None else (known[1],)
        candidates = [FastInference(fused, chunk, "fused", 1.0) for chunk in chunks]
        quickest, best = _quickest(candidates, example, expected, bfloat16=bfloat16)
    except Exception:  # a network that cannot be transformed can still be called
        return alone
    speedup = _seconds(alone, example) / quickest
    if speedup <= 1 and known is None:
        return alone
    network = _OfOneSize(fused, alone.network, (example_shape[2], example_shape[3]))
    return FastInference(network, best.chunk, "fused", speedup)


def gain_of_bfloat16(
    model: nn.Module, example_shape: Sequence[int], fastest: Callable[[bool], FastInference] | None = None
) -> float:
    """Measures how many times as fast the network is in bfloat16, each number type in its fastest way.

    Args:
        model, example_shape: as for :func:`fast_inference`.
        fastest: whether in bfloat16 -> the fastest way, where it is known; None looks for it.

    Returns:
        1 where bfloat16 is not worth its rounding: on other devices than a CPU, on a CPU without instructions for it,
        if it gains less than a fifth, and if its output is too far from that of float32.
    """
    if not _can_be_fused(model) or not has_bfloat16():
        return 1.0
    exact, rounded = (
        fast_inference(model, example_shape, bfloat16=bfloat16) if fastest is None else fastest(bfloat16)
        for bfloat16 in (False, True)
    )
    example = torch.randn(tuple(example_shape), generator=torch.Generator().manual_seed(0))
    if not _agree(rounded(example), exact(example), bfloat16=True):
        return 1.0
    rounds = [(_seconds(exact, example), _seconds(rounded, example)) for _ in range(3)]  # in turn: machines change pace
    gain = min(seconds for seconds, _ in rounds) / min(seconds for _, seconds in rounds)
    return gain if gain >= WORTH_BFLOAT16 else 1.0


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """Returns a copy in evaluation mode with batch normalisation and SAME padding folded into the convolutions.

    Args:
        model: float, on the device of ``example``; is not changed.
        example: images (1, C, H, W); SAME padding depends on H and W, so that the copy takes images of this size alone.

    A convolution is paired with the normalisation that was given its output. What else a network's code does with
    that output is not seen here: compare the copy's outputs.
    """
    model = with_static_padding(model, example)
    parents = _places(model)
    for convolution, norm in _followed_by(model, example, nn.BatchNorm2d):
        if norm.running_mean is None or not isinstance(getattr(norm, "drop", _NOTHING), nn.Identity):
            continue
        weight, bias = torch.nn.utils.fuse_conv_bn_weights(
            cast("Any", convolution.weight),
            convolution.bias,
            norm.running_mean,
            cast("Any", norm.running_var),
            norm.eps,
            cast("Any", norm.weight),
            cast("Any", norm.bias),
        )
        convolution.weight = nn.Parameter(weight.detach(), requires_grad=False)
        convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)
        parent, name = parents[norm]
        setattr(parent, name, getattr(norm, "act", nn.Identity()))  # timm's norms hold the activation after them
    return model


def with_static_padding(model: nn.Module, example: Tensor) -> nn.Module:
    """Returns a copy in evaluation mode for images of one size, with SAME padding folded into the kernels.

    Args:
        model: float, on the device of ``example``; is not changed.
        example: images (1, C, H, W) of the size.
    """
    model = _frozen_copy(model)
    for convolution, (_, _, height, width) in _input_shapes(model, example).items():
        if type(convolution).__name__ == "Conv2dSame":
            _make_padding_static(convolution, height, width)
    return model


_NOTHING = nn.Identity()


class _OfOneSize:
    """The fused network for the size that it was made for, and the plain one for other sizes."""

    def __init__(
        self, fused: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], size: tuple[int, int]
    ) -> None:
        self.fused, self.plain, self.size = fused, plain, size

    def __call__(self, images: Tensor) -> Tensor:
        fits = tuple(images.shape[-2:]) == self.size and images.dtype == torch.float32
        output: Tensor = (self.fused if fits else self.plain)(images)
        return output


class _InBfloat16(nn.Module):
    """A network in bfloat16 between float32 images and a float32 output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network  # in bfloat16 already: fused layers cannot be cast any more

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.network(images.bfloat16())
        return output.float()


class _OneDnnConvolution(nn.Module):
    """Convolution and activation in one call of oneDNN, with the weights in the layout that it prefers."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None, shape: Sequence[int]) -> None:
        super().__init__()
        padding = [int(p) for p in convolution.padding]
        self.geometry = (padding, list(convolution.stride), list(convolution.dilation), convolution.groups)
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        # a plain attribute: this layout can be neither moved nor copied as parameters are
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight.detach(), *self.geometry, list(shape)
        )
        self.activation = ("none", [], "") if activation is None else _ACTIVATIONS[type(activation)]

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self.weight, self.bias, *self.geometry, *self.activation
        )
        return output


_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float], str]] = {
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
}


def _frozen_copy(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model).eval().requires_grad_(False)
    return cast("nn.Module", cast("Any", model).to(memory_format=memory_format(device_of(model))))


def _can_be_fused(model: nn.Module) -> bool:
    tensors = [*model.parameters(), *model.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    onednn: Any = torch.backends.mkldnn
    return bool(onednn.is_available()) and all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in floats
    )


def has_bfloat16() -> bool:
    """Returns whether the processor multiplies in bfloat16; others would convert each operand, which takes longer."""
    processor: Any = torch.cpu
    return bool(processor._is_avx512_bf16_supported() or processor._is_amx_tile_supported())


def _cast(model: nn.Module) -> nn.Module:
    return _InBfloat16(copy.deepcopy(model).to(torch.bfloat16))


def _fused(model: nn.Module, example: Tensor, *, bfloat16: bool = False) -> nn.Module:
    """Folds in float32, whatever the network computes in then."""
    model = folded(model, example)
    if not bfloat16:
        return _with_onednn(model, example)
    return _InBfloat16(_with_onednn(model.to(torch.bfloat16), example.bfloat16()))


def _with_onednn(model: nn.Module, example: Tensor) -> nn.Module:
    """Replaces convolutions, and activations behind them, in place."""
    shapes = _input_shapes(model, example)
    parents = _places(model)
    activations = dict(_followed_by(model, example, tuple(_ACTIVATIONS)))
    for convolution, shape in shapes.items():
        if isinstance(convolution.padding, str) or type(convolution) is not nn.Conv2d:
            continue
        activation = activations.get(convolution)
        parent, name = parents[convolution]
        setattr(parent, name, _OneDnnConvolution(convolution, activation, shape))
        if activation is not None:
            parent, name = parents[activation]
            setattr(parent, name, nn.Identity())
    return model


def _make_padding_static(convolution: nn.Conv2d, height: int, width: int) -> None:
    """Pads a convolution of TensorFlow's kind evenly, for one size of image.

    Where one more pixel is needed at the bottom and right, the kernel gets zeros at its top and left instead: a copy
    of the maps with a border costs more.
    """
    pads = []
    for pixels, kernel, stride, dilation in zip(
        (height, width), convolution.kernel_size, convolution.stride, convolution.dilation, strict=True
    ):
        total = padding_of(pixels, kernel, stride, dilation)
        if total % 2 and dilation > 1:
            return  # zeros in the kernel would be dilated, too
        pads.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = pads
    weight = F.pad(convolution.weight.detach(), (right - left, 0, bottom - top, 0))
    convolution.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    convolution.kernel_size = (weight.shape[2], weight.shape[3])
    convolution.padding = (bottom, right)
    convolution.__class__ = nn.Conv2d


def _places(model: nn.Module) -> dict[nn.Module, tuple[nn.Module, str]]:
    return {child: (parent, name) for parent in model.modules() for name, child in parent.named_children()}


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """Returns the convolutions whose weight is used unchanged, by the names of torch and timm."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and type(module).__name__ in ("Conv2d", "Conv2dSame")
        and module.padding_mode == "zeros"
        and not module._forward_hooks
        and not module._forward_pre_hooks
    ]


def _input_shapes(model: nn.Module, example: Tensor) -> dict[nn.Conv2d, Sequence[int]]:
    """Returns the input shapes of convolutions that are called once, in the order of the calls."""
    shapes: dict[nn.Conv2d, list[Sequence[int]]] = {}

    def note(module: nn.Module, args: Any) -> None:
        shapes.setdefault(cast("nn.Conv2d", module), []).append(tuple(args[0].shape))

    handles = [module.register_forward_pre_hook(note) for module in _convolutions(model)]
    _run(model, example, handles)
    return {module: calls[0] for module, calls in shapes.items() if len(calls) == 1}


def _followed_by(model: nn.Module, example: Tensor, kinds: Any) -> list[tuple[nn.Conv2d, Any]]:
    """Returns pairs of a convolution and the module of these kinds that gets its output, each called once."""
    made_by: dict[int, nn.Module] = {}
    kept: list[Tensor] = []  # an id is unique only as long as its tensor lives
    pairs: list[tuple[nn.Conv2d, nn.Module]] = []
    calls: dict[nn.Module, int] = {}
    convolutions = set(_convolutions(model))

    def before(module: nn.Module, args: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        maker = made_by.get(id(args[0])) if args else None
        if isinstance(maker, nn.Conv2d) and maker in convolutions and isinstance(module, kinds):
            pairs.append((maker, module))

    def after(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            kept.append(output)
            made_by[id(output)] = module  # an activation in place gives the tensor that it got

    handles: list[Any] = []
    for module in model.modules():
        if not list(module.children()) or isinstance(module, kinds):
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    _run(model, example, handles)
    makers = [maker for maker, _ in pairs]
    return [
        (maker, module)
        for maker, module in pairs
        if calls[maker] == calls[module] == 1 and makers.count(maker) == 1 and type(module).__name__ in _KNOWN
    ]


_KNOWN = {"BatchNorm2d", "BatchNormAct2d", *(kind.__name__ for kind in _ACTIVATIONS)}


def _run(model: nn.Module, example: Tensor, handles: list[Any]) -> None:
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()


def _quickest(
    candidates: Sequence[FastInference], example: Tensor, expected: Tensor, *, bfloat16: bool
) -> tuple[float, FastInference]:
    """Returns the quickest of those that agree, with its seconds; infinitely many if none does."""
    seconds = [  # the comparison warms up
        _seconds(one, example) if _agree(one(example), expected, bfloat16=bfloat16) else float("inf")
        for one in candidates
    ]
    return min(zip(seconds, candidates, strict=True), key=lambda pair: pair[0])


def _agree(output: Tensor, expected: Tensor, *, bfloat16: bool = False) -> bool:
    if output.shape != expected.shape or not bool(output.isfinite().all()):
        return False
    if bfloat16:
        return bool((output - expected).norm() <= _BFLOAT16_ERROR * expected.norm())
    return bool((output - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def _seconds(call: Callable[[Tensor], Tensor], example: Tensor) -> float:
    """Measures the fastest of some calls: other processes make single calls slower, never faster."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        call(example)
        found.append(time.perf_counter() - start)
    return min(found)
