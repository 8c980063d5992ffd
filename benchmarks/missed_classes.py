"""What ``--classes auto`` believes of made targets, by how well its models know the classes.

    python benchmarks/missed_classes.py --seeds 3

Classes are Gaussian clouds in 64 dimensions, at several distances and of 12 to 129 classes; the target's are displaced.
Logistic regression stands for source-only, and on standardised domains for aligned. The table counts targets by the
accuracy of source-only on its validation rows: beyond a half, or not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import product

import torch

from dalib.judge.evidence import Evidence
from dalib.models.linear import fit_logistic
from dalib.run.classes.fewer import target_kind

WIDTH = 64
KINDS = ("same", "fewer", "other")


def models_of(
    classes: int, distance: float, shift: float, share: float, seed: int
) -> tuple[dict[str, Evidence], torch.Tensor]:
    """Returns the evidence of both models on a target with a share of the classes, and the labels they learnt from."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    centres, moved = distance * normal(classes, WIDTH), 0.7 * shift * (normal(1, WIDTH) + normal(classes, WIDTH))
    there = torch.randperm(classes, generator=generator)[: max(2, round(share * classes))]
    count = min(2000, max(150, 10 * classes))
    labels, held_out = torch.arange(classes).repeat(12), torch.arange(classes).repeat(4)
    drawn = there[torch.randint(len(there), (count,), generator=generator)]
    train, validation = (centres[each] + normal(len(each), WIDTH) for each in (labels, held_out))
    target = (centres + moved)[drawn] + normal(count, WIDTH)
    rows, known = _standardized(train, train), _standardized(validation, train)
    found = {}
    weight, bias = fit_logistic(rows, labels, classes, 0.01)
    for name, like in (("source-only", train), ("aligned", target)):
        unknown = _standardized(target, like)
        found[name] = Evidence(
            (known @ weight.T + bias).softmax(dim=1), held_out, (unknown @ weight.T + bias).softmax(dim=1)
        )
    return found, labels


def _standardized(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Returns the rows less the mean of others, in their standard deviations."""
    return (rows - like.mean(dim=0)) / like.std(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[tuple[float, bool], Counter[str]] = {}
    worlds = product(
        (12, 31, 65, 129), ((1.0, 0.5), (0.6, 0.5), (0.5, 0.8), (0.35, 0.5), (0.25, 0.5)), (1.0, 0.8, 0.33)
    )
    for classes, (distance, shift), share in worlds:
        for seed in range(given.seeds):
            models, labels = models_of(classes, distance, shift, share, seed)
            known = models["source-only"].validation_accuracy >= 0.5
            believed = target_kind(models, labels, classes).believed
            counts.setdefault((share, known), Counter())[believed] += 1
    print(f"| classes in the target | accuracy | {' | '.join(KINDS)} |\n| --- | --- |{' ---: |' * len(KINDS)}")
    for (share, known), found in sorted(counts.items(), reverse=True):
        row = " | ".join(str(found[each]) for each in KINDS)
        print(f"| {share:.0%} | {'at least' if known else 'below'} 50% | {row} |")


if __name__ == "__main__":
    main()
