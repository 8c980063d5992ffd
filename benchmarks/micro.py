"""What the parts of a step cost, beside the libraries that do the same: `python benchmarks/micro.py`.

Prints Markdown: the teacher's update, augmentation, and the training step (what the loop adds to its computing,
and how fast that is beside a large product of matrices). Needs no data; the other libraries come with
`pip install '.[bench]'` in a checkout.

    --json FILE     write the numbers too
    --quick         three rounds of everything: does it run, not how fast
    --threads N     of torch, 1 by default; more tell nothing on a machine that does other work at the same time
    --only PART     teacher, augmentation or step

How it is measured: on the CPU, all contestants in one process and in turn, round after round, each round starting with
another. A time is the median over rounds; a ratio is the median of the ratios within one round, so that a machine that
slows down for some rounds slows down both sides of it. Above 1, ours is faster. With one thread the clock is the
process's CPU time, which does not run while other programs do; with more it is the wall's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dalib.adaptation.teacher import EmaTeacher
from dalib.augment.views import View, tfa_operations
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.preprocessing import Preprocessing
from dalib.engine.fit import Training, fit
from dalib.engine.runlog import MetricsLog
from dalib.models.backbones import PaperSmallBackbone
from dalib.models.classifier import ImageClassifier
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.presets import from_preset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dalib.core.types import Batch

ALPHA = 0.99
OTHERS = {"timm": "timm", "torchvision": "torchvision", "kornia": "kornia", "ema_pytorch": "ema-pytorch"}

#: batch, channels, height, width; whether the views flip; rounds. The paper's digits, small photographs and VisDA.
BATCHES = [((256, 1, 28, 28), False, 41), ((64, 3, 32, 32), True, 41), ((36, 3, 224, 224), True, 15)]


COUNTS = (
    "GFLOP",
    "MB moved at least",
    "GFLOP/s",
    "GFLOP/s of a 2048 product",
    "share of the product's",
)
"""What :func:`measure_step` gives beside milliseconds."""


class Result(NamedTuple):
    """One contestant: median milliseconds a call, and how many times longer than ours it takes."""

    name: str
    milliseconds: float
    ratio: float


def race(contestants: Mapping[str, Callable[[], object]], rounds: int, seconds_a_turn: float = 0.005) -> list[Result]:
    """Every contestant in turn, ``rounds`` times; the first is ours. Quick calls are repeated to fill a turn."""
    names = list(contestants)
    calls: dict[str, int] = {}
    for name, call in contestants.items():
        seconds_of(call, 2)  # the first calls allocate memory and find their kernels
        calls[name] = max(1, round(seconds_a_turn / seconds_of(call, 1)))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(seconds_of(contestants[name], calls[name]))
    ours = seconds[names[0]]
    return [
        Result(
            name,
            1e3 * statistics.median(seconds[name]),
            statistics.median(theirs / own for theirs, own in zip(seconds[name], ours, strict=True)),
        )
        for name in names
    ]


def seconds_of(call: Callable[[], object], calls: int) -> float:
    """Mean seconds of one of so many calls."""
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


# --- the teacher's update


def paper_small_network() -> nn.Module:
    return ImageClassifier(PaperSmallBackbone(), 10, bottleneck_dim=None)


def resnet50() -> nn.Module:
    import timm

    return timm.create_model("resnet50")


def race_teachers(student: nn.Module, rounds: int) -> list[Result]:
    """One plain step of the average a call: the same student and decay, no warm-up, no step left out.

    Each treats buffers as it does by default: ours leaves the teacher's alone, AveragedModel copies the student's, timm
    and ema_pytorch average them. Ours that averages them too is in the table.
    """
    from ema_pytorch import EMA
    from timm.utils.model_ema import ModelEmaV3
    from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

    def ema(**settings: bool) -> EMA:
        # its decay grows with the steps unless its minimum is the decay itself
        average = EMA(student, beta=ALPHA, min_value=ALPHA, update_after_step=0, update_every=1, **settings)
        average.initted.fill_(True)  # already a copy of the student
        average.step.fill_(2)  # past the steps at which it copies
        return average

    def averaged(**settings: Any) -> AveragedModel:
        average = AveragedModel(student, **settings)
        average.update_parameters(student)  # its first update copies
        return average

    ours, ours_with_buffers = EmaTeacher(student, ALPHA), EmaTeacher(student, ALPHA, buffers="ema")
    timms = ModelEmaV3(student, decay=ALPHA)
    per_tensor = averaged(avg_fn=get_ema_avg_fn(ALPHA))  # type: ignore[no-untyped-call]
    fused = averaged(multi_avg_fn=get_ema_multi_avg_fn(ALPHA))  # type: ignore[no-untyped-call]
    emas, emas_fused = ema(), ema(use_foreach=True)
    averages: dict[str, nn.Module] = {
        "dalib EmaTeacher": ours.module,
        "dalib EmaTeacher, buffers='ema'": ours_with_buffers.module,
        "timm ModelEmaV3": timms.module,
        "torch AveragedModel, avg_fn": per_tensor.module,
        "torch AveragedModel, multi_avg_fn": fused.module,
        "ema_pytorch EMA": emas.ema_model,
        "ema_pytorch EMA, use_foreach": emas_fused.ema_model,
    }
    updates: list[Callable[[], object]] = [
        ours.update,
        ours_with_buffers.update,
        lambda: timms.update(student),
        lambda: per_tensor.update_parameters(student),
        lambda: fused.update_parameters(student),
        emas.update,
        emas_fused.update,
    ]
    contestants = dict(zip(averages, updates, strict=True))
    require_equal_averages(student, averages, contestants)
    return race(contestants, rounds)


def require_equal_averages(
    student: nn.Module, averages: dict[str, nn.Module], updates: dict[str, Callable[[], object]]
) -> None:
    """Three steps of a student that moves; AssertionError unless all hold the average that the equation gives."""
    expected = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    for _ in range(3):
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
                expected[name] = ALPHA * expected[name] + (1 - ALPHA) * parameter
        for update in updates.values():
            update()
    for contestant, average in averages.items():
        got = {name: parameter.detach() for name, parameter in average.named_parameters()}
        torch.testing.assert_close(got, expected, msg=partial("{}: {}".format, contestant))


# --- augmentation


def race_augmentations(shape: tuple[int, int, int, int], flip: bool, rounds: int) -> list[Result]:
    """uint8 images -> standardised each by itself, warped each by a map of its own, with Gaussian noise.

    Ours is the paper's TFA: shift by up to 2 pixels, normal noise of 0.1 on the matrix, flip. The others take ranges of
    rotation, scale and shear with the standard deviations that this noise has. None of them standardises an image by
    itself: before them stand torch's std_mean and kornia's normalize, as their users write it, and once our function,
    so that only warp and noise differ. torchvision draws one map for a batch, hence image by image.
    """
    import kornia
    from torchvision.transforms import v2

    _, channels, _, size = shape
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    normalize = Preprocessing(size=size, channels=channels).normalize
    ours = View(normalize, tfa_operations(flip=flip))
    degrees, scale, shear = 7.0, (0.88, 1.12), 10.0  # sqrt(3) times 0.1 / sqrt(2), 0.1 / sqrt(2) and 0.1

    mirror = [kornia.augmentation.RandomHorizontalFlip(p=0.5)] if flip else []
    warp = kornia.augmentation.RandomAffine(degrees, (2 / size, 2 / size), scale, shear, p=1.0)
    noise = kornia.augmentation.RandomGaussianNoise(mean=0.0, std=0.1, p=1.0)
    kornias = nn.Sequential(*mirror, warp, noise)
    kornias_container = kornia.augmentation.AugmentationSequential(*mirror, warp, noise, data_keys=["input"])

    one_by_one = v2.Compose(
        [
            *([v2.RandomHorizontalFlip(0.5)] if flip else []),
            v2.RandomAffine(degrees, (2 / size, 2 / size), scale, shear, v2.InterpolationMode.BILINEAR),
            v2.GaussianNoise(0.0, 0.1, clip=False),
        ]
    )

    def standardized(images: Tensor) -> Tensor:
        values = images.float()
        std, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0)
        of_each = (each[:, None].expand(-1, channels) for each in (mean, std))
        normalized: Tensor = kornia.enhance.normalize(values, *of_each)
        return normalized

    contestants: dict[str, Callable[[Tensor], Tensor]] = {
        "dalib View, TFA": lambda images: ours(images, generator),
        "kornia, nn.Sequential": lambda images: kornias(standardized(images)),
        "kornia, AugmentationSequential": lambda images: kornias_container(standardized(images)),
        "kornia, nn.Sequential after our normalisation": lambda images: kornias(normalize(images)),
        "torchvision v2, image by image": lambda images: torch.stack([one_by_one(i) for i in standardized(images)]),
    }
    for name, augment in contestants.items():
        require_views(name, augment, images)
    return race({name: partial(augment, images) for name, augment in contestants.items()}, rounds)


def require_views(name: str, augment: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """AssertionError unless every copy of one image gets a view of its own, standardised and of the same shape."""
    before = images.clone()
    views = augment(images[:1].expand_as(images).contiguous())
    assert torch.equal(images, before), f"{name}: changed its input"
    assert views.shape == images.shape, f"{name}: shape {tuple(views.shape)}"
    assert views.dtype == torch.float32, f"{name}: dtype {views.dtype}"
    distinct = views.flatten(1).unique(dim=0)  # type: ignore[no-untyped-call]
    assert len(distinct) == len(images), f"{name}: images share their draws"
    assert abs(float(views.mean())) < 0.1, f"{name}: mean {float(views.mean())}"
    assert 0.5 < float(views.std()) < 1.1, f"{name}: standard deviation {float(views.std())}"


# --- the step


def synthetic_training(preset: str) -> Training:
    """What ``dalib train --preset`` puts together, on random images."""
    config = from_preset(preset, source="mnist", target="usps")
    preprocessing = image_network.make_preprocessing(config)
    generator = torch.Generator().manual_seed(0)
    shape = (2, 2000, preprocessing.channels, preprocessing.size, preprocessing.size)
    source, target = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (2000,), generator=generator)
    names = tuple(map(str, range(2000)))
    return recipe.make_training(
        config,
        image_network.image_inputs(config, preprocessing),
        LabelledImages(source, labels, tuple("0123456789"), names),
        UnlabelledImages(target, names),
        torch.device("cpu"),
        steps=1000,
    )


def measure_step(training: Training, steps: int = 5, rounds: int = 9) -> dict[str, float]:
    """Milliseconds a step of ``fit``, of the bare step, and of what is between them; then how fast the step computes.

    The bare step is forward of student and teacher, objective, backward and optimiser, on a batch that is there. To it
    ``fit`` adds ``batch_at`` (order, rows, augmentation), logging, the teacher's update, and everything else: seeds,
    rates, the loop. Parts are measured within ``fit``; medians over rounds in which bare step, ``fit`` and a large
    product of matrices, the yardstick of what this machine can compute, run in turn.
    """
    method, optimizer, stream = training.method, training.optimizer, training.stream
    ready = stream.batch_at(0)
    loss, optimizer_step = method.loss, optimizer.step  # the bare step's are not timed within

    def bare_step() -> None:
        total = loss(ready, 0).total
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer_step()

    left, right = torch.randn(2, 2048, 2048)

    def product() -> None:
        torch.mm(left, right)

    counter = FlopCounterMode(display=False)
    with counter:
        bare_step()
    operations = counter.get_total_flops()

    events: list[tuple[str, float, float]] = []

    def watch(owner: object, name: str, part: str) -> None:
        call = getattr(owner, name)

        def call_timed(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            result = call(*args, **kwargs)
            events.append((part, start, clock()))
            return result

        setattr(owner, name, call_timed)

    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder) / "metrics.jsonl")
        watch(stream, "batch_at", "batch_at")
        watch(method, "loss", "forward")
        watch(optimizer, "step", "optimizer")
        watch(method, "after_step", "teacher's update")
        for name in ("record", "take_means", "write"):
            watch(log, name, "logging")

        def whole_steps() -> None:
            fit(replace(training, steps=steps), log)

        for call in (bare_step, product, whole_steps):
            seconds_of(call, 1)
        seen: list[dict[str, float]] = []
        for number in range(rounds):
            events.clear()
            bare = seconds_of(bare_step, steps) if number % 2 else None
            whole = seconds_of(whole_steps, 1)
            bare = bare or seconds_of(bare_step, steps)
            parts = {part: value / steps for part, value in split(whole, events).items()}
            seen.append({**parts, "bare step, alone": bare, "product": seconds_of(product, 3)})
    medians = {part: 1e3 * statistics.median(row[part] for row in seen) for part in seen[0]}
    yardstick = 2 * 2048**3 / statistics.median(row["product"] for row in seen)
    return {
        **{part: value for part, value in medians.items() if part != "product"},
        "GFLOP": operations / 1e9,
        "MB moved at least": minimum_bytes(training, ready) / 1e6,
        "GFLOP/s": operations / statistics.median(row["bare step, alone"] for row in seen) / 1e9,
        "GFLOP/s of a 2048 product": yardstick / 1e9,
        "share of the product's": statistics.median(
            operations / row["bare step, alone"] / (2 * 2048**3 / row["product"]) for row in seen
        ),
    }


def minimum_bytes(training: Training, batch: Batch) -> int:
    """What a step reads and writes in memory if every layer reads its input and writes its output once.

    Forward of the student on both domains and of the teacher, backward as twice the student's forward; Adam reads and
    writes weight, gradient and two moments.
    """
    student = training.method.student
    moved = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        moved += sum(tensor.nbytes for tensor in (*inputs, output))

    leaves = [module for module in student.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    with torch.no_grad():
        student(batch.source)
    for hook in hooks:
        hook.remove()
    weights = sum(parameter.nbytes for parameter in student.parameters())
    return 2 * 3 * moved + moved + 8 * weights


def split(whole: float, events: list[tuple[str, float, float]]) -> dict[str, float]:
    """Seconds of ``fit`` by part; what is between forward and optimiser is the backward pass."""
    parts = dict.fromkeys(("batch_at", "logging", "teacher's update"), 0.0)
    computing = last_forward_started = 0.0
    for part, start, end in events:
        if part == "forward":
            last_forward_started = start
        elif part == "optimizer":
            computing += end - last_forward_started
        else:
            parts[part] += end - start
    everything_else = whole - computing - sum(parts.values())
    return {
        "step of fit": whole,
        "forward, backward, optimiser within it": computing,
        **parts,
        "everything else": everything_else,
    }


# --- the page


def require_installed(script: str, packages: Mapping[str, str]) -> None:
    """Ends the script with a message where one of these modules, each of a package, cannot be imported."""
    missing = [package for module, package in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit(
            f"{script} compares with {', '.join(missing)}, which is not installed: pip install '.[bench]' in a checkout"
        )


def environment() -> dict[str, Any]:
    """What a reader needs to know before comparing numbers."""
    packages = ("torch", "torchvision", "timm", "kornia", "ema-pytorch")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def cpu_model() -> str:
    described = Path("/proc/cpuinfo")  # Linux alone says it there
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def print_environment(machine: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = machine["torch_threads"]
    measured = "CPU time" if threads == 1 else "wall-clock time"
    print(f"{machine['cpu']}, {machine['cores']} cores, torch threads: {threads}, {measured}.")
    print(f"Python {machine['python']}, {versions}.\n")


def print_race(title: str, results: list[Result]) -> None:
    print(f"| {title} | ms | time / ours |\n| --- | ---: | ---: |")
    for name, milliseconds, ratio in results:
        print(f"| {name} | {milliseconds:.3g} | {ratio:.2f} |")
    print(flush=True)


def print_step(preset: str, numbers: dict[str, float]) -> None:
    print(f"| a step of preset {preset} | | share of the step |\n| --- | ---: | ---: |")
    whole = numbers["step of fit"]
    for part, value in numbers.items():
        if part in COUNTS:
            print(f"| {part} | {value:.3g} | |")
        else:
            print(f"| {part}, ms | {value:.3g} | {value / whole:.1%} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of the parts of a step, beside other libraries.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file too")
    parser.add_argument("--quick", action="store_true", help="three rounds: does it run, not how fast")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch threads, 1 by default")
    parser.add_argument("--only", choices=("teacher", "augmentation", "step"), help="one part alone")
    arguments = parser.parse_args()
    require_installed("micro.py", OTHERS)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    def rounds(usual: int) -> int:
        return 3 if arguments.quick else usual

    def wanted(part: str) -> bool:
        return arguments.only in (None, part)

    numbers: dict[str, Any] = {"environment": environment()}
    print_environment(numbers["environment"])
    races: dict[str, list[Result]] = {}
    if wanted("teacher"):
        for name, make in (("the paper's small network", paper_small_network), ("ResNet-50", resnet50)):
            title = f"update of the teacher, {name}"
            races[title] = race_teachers(make(), rounds(31))
            print_race(title, races[title])
    if wanted("augmentation"):
        for shape, flip, usual in BATCHES:
            title = f"augmentation, {'x'.join(map(str, shape))}{', flip' if flip else ''}"
            races[title] = race_augmentations(shape, flip, rounds(usual))
            print_race(title, races[title])
    numbers["races"] = {title: [result._asdict() for result in results] for title, results in races.items()}
    if wanted("step"):
        numbers["step"] = {}
        for preset in ("paper-small", "digits"):
            numbers["step"][preset] = measure_step(synthetic_training(preset), rounds=rounds(9))
            print_step(preset, numbers["step"][preset])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
