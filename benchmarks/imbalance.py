"""What --prior is worth where the target's classes are imbalanced, and what it costs where they are not.

    python benchmarks/imbalance.py --root data --out imbalance --seeds 2

``labels`` is what ``dalib query`` and ``dalib eval --labels`` tell of the run with the uniform prior, from a hundred
labels, chosen by ``query`` and looked up.

Fonts to USPS digits, resampled: balanced, and with shares that fall from 30% to 3%. The target is written as a folder
of images; its labels are read afterwards, to measure, and choose nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from arguments import at_least_one
from PIL import Image
from safetensors.torch import load_file

from dalib.core.files import read_json
from dalib.data.named import read_arrays
from dalib.run.classes.prior import read_prior
from dalib.run.finished.label_estimates import evaluate_labels
from dalib.run.finished.query import query
from dalib.run.settings.presets import from_preset
from dalib.run.train import train

PRIORS = ("uniform", "estimate", "labels", "true")
"""The last one is what no user knows: what could be gained at most."""
SHARES = {"balanced": np.full(10, 0.1), "imbalanced": np.geomspace(0.3, 0.03, 10) / np.geomspace(0.3, 0.03, 10).sum()}


def write_target(folder: Path, root: Path, shares: np.ndarray, seed: int, count: int = 2000) -> Path:
    """A flat folder of images named CLASS-NUMBER.png; which class gets which share is drawn by the seed.

    Returns:
        A file of the shares, as ``--prior`` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digits = read_arrays("usps", root, argument="--root")
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(shares)
    for digit, share in enumerate(drawn):
        rows = generator.permutation(np.flatnonzero(digits.labels == digit))[: round(count * share)]
        for row in rows:
            Image.fromarray(digits.pixels[row].squeeze()).save(folder / f"{digit}-{row}.png")
    true = folder.with_suffix(".json")
    true.write_text(json.dumps({str(digit): float(share) for digit, share in enumerate(drawn)}))
    return true


def accuracy(out: Path) -> tuple[float, float]:
    """Of the adapted model, over images and as the mean of classes, in percent."""
    names = read_json(out / "images.json")["target"]
    truth = torch.tensor([int(Path(name).name.split("-")[0]) for name in names])
    right = (load_file(out / "predictions.safetensors")["target/adapted"].argmax(dim=1) == truth).double()
    by_class = [right[truth == digit].mean().item() for digit in range(10)]
    return 100 * right.mean().item(), 100 * statistics.fmean(by_class)


def label(run: Path, count: int, seed: int) -> None:
    """Labels images of a run's target as a person would, and lets the run estimate the class shares."""
    chosen = run.with_suffix(".csv")
    for left in (chosen, chosen.with_suffix(".html")):
        left.unlink(missing_ok=True)
    query(run, count, str(chosen), seed=seed)
    with chosen.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with chosen.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "label": Path(row["path"]).name.split("-")[0]} for row in rows)
    evaluate_labels(run, str(chosen))


def distance(one: Path, other: Path) -> float:
    """Returns half the sum of the differences of two files of shares, in percent."""
    digits = [str(digit) for digit in range(10)]
    return 50 * float((read_prior(one, digits) - read_prior(other, digits)).abs().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--out", default="imbalance")
    parser.add_argument("--seeds", type=at_least_one, default=2)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--balance", type=float, default=0.3, help="weight of class balance; the preset has none")
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--targets", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--priors", nargs="+", default=PRIORS, choices=PRIORS)
    given = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        for kind in given.targets:
            shares = SHARES[kind]
            target = Path(given.out) / f"{kind}-{seed}"
            true = write_target(target, Path(given.root), shares, seed)
            uniform = Path(given.out) / f"run-{kind}-{seed}-uniform"
            for prior in given.priors:
                out = Path(given.out) / f"run-{kind}-{seed}-{prior}"
                if prior == "labels":
                    with contextlib.redirect_stdout(io.StringIO()):
                        label(uniform, given.labels, seed)
                    print(f"{kind} {seed}: shares from labels are off by {distance(uniform, true):.1f}%", flush=True)
                settings = {
                    "source": "fonts",
                    "target": str(target),
                    "prior": {"true": str(true), "labels": str(uniform)}.get(prior, prior),
                    "out": str(out),
                    "overwrite": True,
                    "seed": seed,
                    "steps": given.steps,
                    "baseline_steps": 300,
                    "data.channels": 1,
                    "every.evaluate": 100,
                    "self_ensemble.class_balance": given.balance,
                    "keep": "adapted",
                }
                with contextlib.redirect_stdout(io.StringIO()):
                    train(from_preset("digits", **settings))
                found.setdefault((kind, prior), []).append(accuracy(out))
                print(kind, seed, prior, [round(each, 2) for each in found[kind, prior][-1]], flush=True)
    print("\n| target | prior | accuracy, mean of seeds (least to greatest) | mean over classes |")
    print("| --- | --- | ---: | ---: |")
    for (kind, prior), each in found.items():
        images, classes = zip(*each, strict=True)
        print(
            f"| {kind} | {prior} | {statistics.fmean(images):.1f} ({min(images):.1f} to {max(images):.1f}) "
            f"| {statistics.fmean(classes):.1f} |"
        )


if __name__ == "__main__":
    main()
