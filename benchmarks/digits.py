"""Accuracy on the digit tasks, and the time until it is reached: a Markdown table and a JSON file.

    python benchmarks/digits.py --root data                       # both directions, 5 seeds
    python benchmarks/digits.py --root data --tasks fonts:mnist --seeds 3
    python benchmarks/digits.py --root data --tasks usps:usps mnist+usps:usps --source-only   # what labels would give

Test labels are read to draw the curve and choose nothing: the accuracy reported is that of the last step. The clock
counts what a training needs (batches, augmentation, optimisation, the teacher, the log), not the measuring on test
images; reading the data is reported beside it.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from arguments import at_least_one
from micro import cpu_model

from dalib.core.devices import choose_device
from dalib.data.named import default_evaluation
from dalib.data.sources import open_labelled
from dalib.engine.distributed import ALONE
from dalib.engine.fit import Every, fit
from dalib.engine.predict import predict_probabilities, recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.models.network import make_predictor
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.presets import from_preset
from dalib.run.setup import prepare
from dalib.run.start.domains import open_domains

if TYPE_CHECKING:
    from torch import nn

    from dalib.run.settings.config import TrainConfig


@dataclass
class Result:
    """One training."""

    task: str
    seed: int
    accuracy: float = 0.0
    """Of the teacher (of the student, source-only) at the last step, in percent."""
    seconds: float = 0.0
    steps: int = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, seconds of training so far, accuracy in percent)"""
    read_seconds: float = 0.0
    source_only: float | None = None
    peak_mib: float | None = None
    """What training added to the memory of the process at most: weights, optimiser, activations."""

    def seconds_to(self, accuracy: float) -> float | None:
        """Until the first measurement at or above ``accuracy``."""
        return next((seconds for _, seconds, reached in self.curve if reached >= accuracy), None)


def measure(config: TrainConfig, every: int) -> Result:
    """Train as ``commands.train`` does, measuring on the test set every so many steps."""
    device = choose_device(config.device)
    config = prepare(config, ALONE, for_training=False).config  # as a run decides what is left to measure
    preprocessing = image_network.make_preprocessing(config)
    since = time.perf_counter()
    request = recipe.make_data_request(config)
    domains = open_domains(request, preprocessing)
    steps = recipe.steps_for(config, len(domains.train.labels), len(domains.target.names))
    result = Result(f"{request.source_name} -> {config.target}", config.seed, steps=steps)
    result.read_seconds = time.perf_counter() - since
    assert isinstance(config.target, str), "one target"
    name = default_evaluation(config.target)
    assert name is not None, f"{config.target} has no test set"
    test = open_labelled(name, preprocessing, domains.train.classes, root=config.root)

    inputs = image_network.image_inputs(config, preprocessing)
    training = recipe.make_training(config, inputs, domains.train, domains.target, device, steps=result.steps)

    def finished() -> nn.Module:
        """The model that the run would save if it ended here."""
        model = copy.deepcopy(training.method.predictor())
        if config.statistics == "recomputed":
            recompute_statistics(model, domains.target.images, preprocessing.normalize, device=device)
        return make_predictor(model, inputs.architecture).to(device)

    before = start_peak_memory()
    measuring = 0.0  # seconds spent on test images, and on models that are not the last
    start = time.perf_counter()

    def evaluate(_: int) -> dict[str, float]:
        nonlocal measuring
        now = time.perf_counter()
        model = finished()
        ready = time.perf_counter()
        predicted = predict_probabilities(model, test.images, preprocessing.normalize, device=device).argmax(dim=1)
        reached = 100 * (predicted == test.labels).double().mean().item()
        result.curve.append((len(result.curve) + 1, ready - start - measuring, reached))
        measuring += time.perf_counter() - now
        return {"test_accuracy": reached}

    with tempfile.TemporaryDirectory() as folder:
        fit(
            training,
            MetricsLog(Path(folder) / "metrics.jsonl"),
            evaluate=evaluate,
            every=Every(log=25, evaluate=every, checkpoint=result.steps),
        )
    result.curve = [(min(number * every, result.steps), seconds, reached) for number, seconds, reached in result.curve]
    _, result.seconds, result.accuracy = result.curve[-1]
    if before is not None:
        result.peak_mib = memory("VmHWM") - before
    return result


def start_peak_memory() -> float | None:
    """Start the process's record of its peak anew; its memory now, in MiB. None where the system has no such record."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def memory(entry: str) -> float:
    """An entry of Linux's /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(entry))


def table(results: list[Result], to: float) -> str:
    """Markdown: a row a task."""
    lines = [
        f"| task | seeds | accuracy, mean (worst - best) | std | source-only | training, s | s to {to} | read, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task in dict.fromkeys(result.task for result in results):
        own = [result for result in results if result.task == task]
        accuracies = [result.accuracy for result in own]
        spread = statistics.stdev(accuracies) if len(own) > 1 else 0.0
        baselines = [result.source_only for result in own if result.source_only is not None]
        times = [result.seconds_to(to) for result in own]
        reached = [seconds for seconds in times if seconds is not None]
        until = (
            f"{statistics.mean(reached):.0f} (longest {max(reached):.0f})"
            if len(reached) == len(own)
            else (f"{len(reached)} of {len(own)} got there")
        )
        lines.append(
            f"| {task} | {len(own)} | **{statistics.mean(accuracies):.2f}** "
            f"({min(accuracies):.2f} - {max(accuracies):.2f}) | {spread:.2f} "
            f"| {f'{statistics.mean(baselines):.1f}' if baselines else ''} "
            f"| {statistics.mean(result.seconds for result in own):.0f} | {until} "
            f"| {statistics.mean(result.read_seconds for result in own):.0f} |"
        )
    return "\n".join(lines)


def environment() -> dict[str, str | int]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the named data sets")
    parser.add_argument("--tasks", nargs="+", default=["mnist:usps", "usps:mnist"], metavar="SOURCE[+SOURCE]:TARGET")
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--seeds", type=at_least_one, default=5, help="how many")
    parser.add_argument("--steps", type=int, default=None, help="instead of the preset's")
    parser.add_argument("--every", type=int, default=100, help="steps between measurements on test images")
    parser.add_argument("--to", type=float, default=98.2, help="the accuracy whose time is reported, in percent")
    parser.add_argument("--source-only", action="store_true", help="train the baseline too")
    parser.add_argument("--json", type=Path, help="where to write every number")
    given = parser.parse_args()

    print(", ".join(f"{name} {value}" for name, value in environment().items()), flush=True)
    results: list[Result] = []
    for task in given.tasks:
        sources, target = task.split(":")
        for seed in range(given.seeds):
            settings = {
                "source": sources.split("+") if "+" in sources else sources,
                "target": target,
                "root": given.root,
                "seed": seed,
            }
            if given.steps is not None:
                settings["steps"] = given.steps
            config = from_preset(given.preset, **settings)
            result = measure(config, given.every)
            if given.source_only:
                result.source_only = measure(recipe.source_only(config), result.steps).accuracy
            results.append(result)
            until = result.seconds_to(given.to)
            print(
                f"{result.task} seed {seed}: {result.accuracy:.2f} after {result.steps} steps, {result.seconds:.0f} s; "
                f"{given.to} after {'-' if until is None else f'{until:.0f} s'}",
                flush=True,
            )
    print(table(results, given.to))
    peaks = [result.peak_mib for result in results if result.peak_mib is not None]
    if peaks:
        print(f"memory that training adds at its peak: {max(peaks):.0f} MiB")
    if given.json:
        content = {
            "environment": environment(),
            "config": asdict(replace(from_preset(given.preset), root=None)),
            "results": [asdict(result) for result in results],
        }
        given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
