"""How many images a second a frozen network takes: `python benchmarks/extraction.py`.

Prints Markdown: ways to call a network of timm's in evaluation mode, with random weights, on random images. Needs no
data.

    --model NAME        of timm's, tf_efficientnet_lite0 by default
    --batches N [N ..]  images in a call, 32 by default
    --size N            height and width, 224 by default
    --threads N         of torch, 2 by default
    --rounds N          9 by default
    --only WAY [WAY ..] by number, see the list that is printed; all by default, but for those below
    --compile           torch.compile with frozen weights as well: needs a C++ compiler, and half a minute
    --jit               TorchScript with oneDNN as well (deprecated in torch)
    --onnx              onnxruntime as well: needs the packages onnx, onnxscript and onnxruntime

How it is measured: on the CPU, all contestants in one process and in turn. A throughput is that of the median round; a
ratio is the median of the ratios within one round to the plain network in channels_last, so that a machine that slows
down for some rounds slows down both sides of it. With one thread the clock is the process's CPU time, which does not
run while other programs do; with more it is the wall's, which tells little on a machine that does other work at the
same time. Preparation, by the wall's clock, is all that comes before the first quick call, warming up included.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import timm
import torch
from torch import Tensor, nn

from dalib.models.inference import FastInference, fast_inference, folded

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[Tensor], Tensor]

REFERENCE = "channels_last"


class Contestant(NamedTuple):
    name: str
    call: Call
    images: Tensor
    preparation: float
    difference: float


def network(name: str) -> nn.Module:
    """With random statistics of batch normalisation, which folding would not show were they 0 and 1."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def without_gradients(call: Call, *, inference: bool = True) -> Call:
    def run(images: Tensor) -> Tensor:
        with torch.inference_mode() if inference else torch.no_grad():
            return call(images)

    return run


def channels_last(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to(memory_format=torch.channels_last)


def through_jit(model: nn.Module, images: Tensor) -> Call:
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(channels_last(folded(model, images[:1])), images))  # type: ignore[no-untyped-call]
        return without_gradients(torch.jit.optimize_for_inference(frozen), inference=False)


def through_compile(model: nn.Module) -> Call:
    import torch._inductor.config as inductor

    inductor.freezing = True
    return without_gradients(torch.compile(channels_last(model)), inference=False)


def through_onnx(model: nn.Module, images: Tensor) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(folded(model, images[:1]), (images,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])


def fused(model: nn.Module, shape: tuple[int, ...], *, whole: bool) -> FastInference:
    fast = fast_inference(model, shape)
    return FastInference(fast.network, None, fast.variant, fast.speedup) if whole else fast


def ways(model: nn.Module, images: Tensor, arguments: argparse.Namespace) -> list[tuple[str, Callable[[], Call], bool]]:
    """Name, how it is made, and whether it takes channels_last."""
    shape = tuple(images.shape)
    found: list[tuple[str, Callable[[], Call], bool]] = [
        (REFERENCE, lambda: without_gradients(channels_last(model)), True),
        ("channels first", lambda: without_gradients(model), False),
        ("channels_last, no_grad", lambda: without_gradients(channels_last(model), inference=False), True),
        (
            "folded, channels first",
            lambda: without_gradients(folded(model, images[:1]).to(memory_format=torch.contiguous_format)),
            False,
        ),
        ("folded, channels_last", lambda: without_gradients(folded(model, images[:1])), True),
        (
            "folded, channels_last, 4 at a time",
            lambda: FastInference(folded(model, images[:1]), 4, "folded", 1.0),
            True,
        ),
        ("fast_inference, whole batch", lambda: fused(model, shape, whole=True), True),
        ("fast_inference", lambda: fused(model, shape, whole=False), True),
        ("fast_inference, bfloat16", lambda: fast_inference(model, shape, bfloat16=True), True),
    ]
    if arguments.jit:
        found.append(("folded, TorchScript with oneDNN", lambda: through_jit(model, images), True))
    if arguments.compile:
        found.append(("torch.compile, frozen", lambda: through_compile(model), True))
    if arguments.onnx:
        found.append(("folded, onnxruntime", lambda: through_onnx(model, images), False))
    if arguments.only:
        found = [one for number, one in enumerate(found) if number in {0, *arguments.only}]
    return found


def prepared(model: nn.Module, images: Tensor, arguments: argparse.Namespace) -> list[Contestant]:
    with torch.inference_mode():
        expected = model(images)
    contestants = []
    for name, make, last in ways(model, images, arguments):
        batch = images.contiguous(memory_format=torch.channels_last) if last else images
        start = time.perf_counter()
        call = make()
        output = call(batch)
        call(batch)
        seconds = time.perf_counter() - start
        difference = ((output - expected).abs().max() / expected.abs().max()).item()
        if isinstance(call, FastInference) and name.startswith("fast"):
            name = f"{name} ({call.variant}, {call.chunk or 'all'} at a time)"
        contestants.append(Contestant(name, call, batch, seconds, difference))
    return contestants


def race(contestants: list[Contestant], rounds: int) -> list[list[float]]:
    """Seconds of each contestant in each round; each round starts with another."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: list[list[float]] = [[] for _ in contestants]
    for number in range(rounds):
        for place in range(len(contestants)):
            index = (number + place) % len(contestants)
            start = clock()
            contestants[index].call(contestants[index].images)
            seconds[index].append(clock() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="a network of timm's")
    parser.add_argument("--batches", type=int, nargs="+", default=[32], metavar="N", help="images in a call")
    parser.add_argument("--size", type=int, default=224, metavar="N", help="height and width")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="torch threads")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--only", type=int, nargs="+", metavar="WAY", help="numbers of the rows; row 0 is always there")
    for extra in ("compile", "jit", "onnx"):
        parser.add_argument(f"--{extra}", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # of the compilers
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "timm"))
    print(f"{arguments.model}, {arguments.size} pixels, {arguments.threads} threads, {platform.machine()}, {versions}")
    model = network(arguments.model)
    for batch in arguments.batches:
        images = torch.randn(batch, 3, arguments.size, arguments.size)
        contestants = prepared(model, images, arguments)
        seconds = race(contestants, arguments.rounds)
        print(f"\n| {batch} images in a call | images/s | times channels_last | difference | preparation, s |")
        print("| --- | --- | --- | --- | --- |")
        for contestant, times in zip(contestants, seconds, strict=True):
            ratio = statistics.median(first / own for first, own in zip(seconds[0], times, strict=True))
            print(
                f"| {contestant.name} | {batch / statistics.median(times):.0f} | {ratio:.2f} | "
                f"{contestant.difference:.0e} | {contestant.preparation:.1f} |"
            )


if __name__ == "__main__":
    main()
