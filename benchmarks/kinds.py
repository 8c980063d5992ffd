"""What ``--classes auto`` takes a target of Office-31 for: with all classes, fewer, and others as well.

    python benchmarks/kinds.py --root data --backbone lite0 --steps 400

Nothing is adapted: source-only is trained and aligned, which is what the decision rests on. ``fewer`` leaves ten of the
31 classes in the target, ``other`` the first 20 in the source. Percentages are the probabilities of the right answer.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import fewer
import unknown
from worlds import add_arguments, baselines_of, pair_of, print_table

from dalib.run.recipe.expected import decide_kind

if TYPE_CHECKING:
    from dalib.run.settings.config import TrainConfig

WORLDS = ("same", "fewer", "other")


def probabilities(config: TrainConfig) -> dict[str, float]:
    """Returns for each world the probability of it, and whether it was believed, in percent."""
    tasks = {
        "same": fewer.task_of(config, all_classes=True),
        "fewer": fewer.task_of(config, all_classes=False),
        "other": unknown.task_of(config, 20),
    }
    found = {}
    for world, (inputs, _) in tasks.items():
        kind = decide_kind(inputs, baselines_of(config, inputs))
        found[world] = 100 * getattr(kind, world)
        found[f"{world}, believed"] = 100.0 * (kind.believed == world)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    given = parser.parse_args()
    columns = [column for world in WORLDS for column in (world, f"{world}, believed")]
    print_table(map(pair_of, given.directions), given, columns, probabilities)


if __name__ == "__main__":
    main()
