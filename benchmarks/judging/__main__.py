"""The study behind the judgement: what can be seen of two models without target labels, beside the truth.

    python benchmarks/judging record --root data --out study
    python benchmarks/judging see --out study
    python benchmarks/judging tables
    python benchmarks/judging runs --out study
    python benchmarks/judging starts --root data --out study
    python benchmarks/judging witnesses --out study

``record`` trains each task, some of them spoilt on purpose, and keeps what the models say, and the true labels beside
it. ``see`` computes what the judgement sees of each recording, and keeps that as a line of ``seen.jsonl``, which
``tables`` reads: how often the judgement of a run is right, and what is fitted. ``runs`` reads the recordings: how well
several rules choose among runs and checkpoints. True labels score them and choose nothing inside a training.
``starts`` compares where the adaptation on features starts; ``witnesses``, who tells the classes' names best.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from record import COLD, PACKAGES, SPOILT, record_all
from starts import starts
from tasks import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "see", "tables", "runs", "starts", "witnesses"])
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--seen", type=Path, default=Path(__file__).with_name("seen.jsonl"))
    parser.add_argument("--spoilt", type=int, default=8, help="so many tasks of photo-features are also spoilt")
    parser.add_argument("--families", nargs="+", help="to record; all without")
    parser.add_argument("--seeds", type=int, default=2, help="of starts")
    parser.add_argument(
        "--precision", default="float32", help="in which the frozen backbone computes: float32 or bfloat16"
    )
    parser.add_argument("--backwards", action="store_true", help="the last task first: for a second process")
    given = parser.parse_args()
    if given.action == "record":
        tasks = [
            replace(task, settings={"feature_precision": given.precision, **task.settings})
            if task.network in PACKAGES
            else task
            for task in TASKS
            if given.families is None or task.family in given.families
        ]
        good = [(task, "good") for task in tasks]
        of_features = [task for task in tasks if task.network == "lite0"]
        spoilt = [(task, recipe) for task in of_features[: given.spoilt] for recipe in SPOILT if recipe != COLD]
        jobs = [*good, *spoilt, *((task, COLD) for task in of_features)]
        record_all(jobs[::-1] if given.backwards else jobs, given.root, given.out)
    elif given.action == "starts":
        starts(given.root, given.out, given.seeds)
    elif given.action == "runs":
        from runs import runs

        runs(given.out)
    elif given.action == "witnesses":
        from witnesses import witnesses

        witnesses(given.out)
    elif given.action == "see":
        from seen import see

        see(given.out, given.seen)
    else:
        from recall_tables import recall_tables
        from tables import tables

        tables(given.seen)
        recall_tables(given.seen)


if __name__ == "__main__":
    main()
