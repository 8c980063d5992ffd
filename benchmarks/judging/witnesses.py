"""Compares witnesses of the classes' names, for models that were not trained by one run (dalib.judge.witness)."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from seen import BASELINES, MODELS, right_of, spoilt_of, structures_of

from dalib.judge.better import probability_better, signs_of, votes_of
from dalib.judge.comparison import MIN_CERTAINTY
from dalib.judge.signs import head_classes
from dalib.judge.witness import renamed_pairs, witness_of

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("adapted", "aligned", "checkpoints", "spoilt")


def witnesses(out: Path) -> None:
    """Prints a table: each model of each recording beside source-only, which is the reference, by each witness."""
    torch.set_num_threads(1)
    told: dict[tuple[str, str], list[tuple[float, float]]] = {}
    most = 0.0
    for file in sorted((out / "recorded").glob("*--good.safetensors")):
        kept = load_file(file)
        truth, classes = kept["truth"], int(kept["classes"])
        said = {name: kept[f"{name}/target"].float() for name in MODELS if f"{name}/target" in kept}
        structure, _ = structures_of(kept, classes)
        reference = said["source-only"]
        both = {name: said[name] for name in ("source-only", "adapted")}
        seen_by = {
            "source-only, the reference": reference,
            "aligned, as in a run": said.get("aligned", reference),
            "classifiers of the source": witness_of(both, head_classes(structure), "source-only").target,
            "mean of adapted and source-only": witness_of(both, None, None).target,
        }
        shown = {name: (name, each) for name, each in said.items() if name not in BASELINES[1:]}
        shown |= {name: ("checkpoints", kept[name].float()) for name in kept if name.startswith("adapted/course/")}
        shown |= {
            name: ("spoilt", each) for name, each in spoilt_of(said, classes).items() if name.startswith("adapted")
        }
        for kind, each in shown.values():
            gain, votes = right_of(each, truth) - right_of(reference, truth), votes_of(each, reference, structure)
            for name, witness in seen_by.items():
                signs, of_reference = (signs_of(target, witness, structure) for target in (each, reference))
                told.setdefault((kind, name), []).append((gain, probability_better(signs, of_reference, votes)))
        pairs = (renamed_pairs({one: said[one], other: said[other]}) for one, other in combinations(said, 2))
        most += sum(len(each) for each in pairs)
    print("| models beside source-only | witness | better one named | log loss | told at 90% | of these wrong |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for kind in KINDS:
        for (of, name), pairs_seen in told.items():
            if of == kind:
                print(f"| {kind} | {name} | {_row([each for each in pairs_seen if abs(each[0]) > 0.05])} |")
    print(f"\npairs of a run's models that count as renamed: {most:.0f}")


def _row(seen: list[tuple[float, float]]) -> str:
    right = [(chance >= 0.5) == (gain > 0) for gain, chance in seen]
    loss = [-math.log(max(1e-3, chance if gain > 0 else 1 - chance)) for gain, chance in seen]
    sure = [good for (_, chance), good in zip(seen, right, strict=True) if max(chance, 1 - chance) >= MIN_CERTAINTY]
    count = len(seen)
    return f"{sum(right)} of {count} | {sum(loss) / count:.3f} | {len(sure)} | {len(sure) - sum(sure)}"
