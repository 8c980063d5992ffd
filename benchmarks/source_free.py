"""Adaptation with the source and from a kit without its images: the same recipe, data and seeds.

    python benchmarks/source_free.py office31/amazon:office31/webcam pairs/steel/neu:pairs/steel/xsdd --root data

Each direction is trained with the source, exported as a kit, and trained from the kit. Labels of the target are read
after training, to measure; they choose nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from arguments import at_least_one, direction, place_in

from dalib.core.files import read_json
from dalib.records.kit import read_header
from dalib.run import train
from dalib.run.export import export
from dalib.run.settings.image_defaults import SHORT_NAMES
from dalib.run.settings.presets import configured, from_preset

if TYPE_CHECKING:
    from dalib.records.folder import RunFolder

COLUMNS = ("source-only", "aligned", "adapted", "selected")


def measured(run: RunFolder) -> dict[str, float]:
    """Returns the accuracy of each model and the estimate of the selected one, in percent."""
    (evaluation,) = run.evaluations.iterdir()
    found = {name: 100 * model["accuracy"] for name, model in read_json(evaluation)["models"].items()}
    judgement = read_json(run.judgement)
    selected = judgement["shipped"]
    estimate = (judgement["models"][selected].get("estimate") or {}).get("value")
    return {**found, "selected": found[selected], "estimate": float("nan") if estimate is None else 100 * estimate}


def both(given: argparse.Namespace, source: str, target: str, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Returns what is measured with the source, and from its kit."""
    lengths = {"steps": given.steps, "every.evaluate": max(1, given.steps // 6), "features": given.views}
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        place = Path(temporary)
        common = {"target": target, "evaluate": target, "root": given.root, "seed": seed, **lengths}
        names = SHORT_NAMES[given.backbone]
        config = from_preset("photo-features", source=source, out=str(place / "with"), **common, **names)
        first = train.train(config)
        kit = str(export(first, "kit", place / "source.dalib"))
        settings = {**read_header(kit).settings, **common, "kit": kit, "out": str(place / "without")}
        second = train.train(configured(settings.pop("preset"), settings))
        return measured(first), measured(second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directions", nargs="+", type=direction, metavar="SOURCE:TARGET", help="named, or below --root")
    parser.add_argument("--root", default="data")
    parser.add_argument("--backbone", default="lite0", choices=sorted(SHORT_NAMES))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seeds", type=at_least_one, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| direction | {' | '.join(COLUMNS)} | its estimate | s |\n| --- |{' ---: |' * (len(COLUMNS) + 2)}")
    for source, target in given.directions:
        since = time.perf_counter()
        from_, to = (place_in(given.root, each) for each in (source, target))
        found = [both(given, from_, to, seed) for seed in range(given.seeds)]
        for number, name in enumerate(("with the source", "from the kit")):
            rows = [each[number] for each in found]
            cells = [spread([row[column] for row in rows]) for column in (*COLUMNS, "estimate")]
            print(
                f"| {source}:{target}, {name} | {' | '.join(cells)} | {time.perf_counter() - since:.0f} |", flush=True
            )


def spread(values: list[float]) -> str:
    """Returns the mean, and of several values the least and the greatest."""
    mean = f"{fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} - {max(values):.1f})"


if __name__ == "__main__":
    main()
