"""The scikit-learn estimator on tables that shift, beside SKADA's shallow methods, with everybody's defaults.

    OMP_NUM_THREADS=1 python benchmarks/tables.py --seeds 5        # needs pip install skada

Labels of the target are read afterwards, to measure; no setting was chosen by them, and none differs by table. What
standardize='source' does inside the network was changed after they had been read: RESULTS.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import rotate
from skada import CORALAdapter, GaussianReweightAdapter, LinearOTMappingAdapter, PerDomain, SubspaceAlignmentAdapter
from skada import make_da_pipeline as pipeline_of
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dalib.sklearn import SelfEnsembleClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Source rows and labels, target rows and labels."""


def changed_digits(change: Callable[[np.ndarray], np.ndarray], seed: int) -> Table:
    """The 64 pixels of 8x8 digits; a random half is the target, and changed."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    source, target = order[::2], order[1::2]
    return images[source], labels[source], change(images[target]), labels[target]


def turned(rows: np.ndarray) -> np.ndarray:
    return rotate(rows.reshape(-1, 8, 8), 30, axes=(1, 2), reshape=False, order=1).reshape(len(rows), -1)


def split_by_column(load: Callable[..., tuple[np.ndarray, np.ndarray]], column: int, seed: int) -> Table:
    """The rows below the column's median are the source, the others the target; a random 80% of each."""
    rows, labels = load(return_X_y=True)
    some = np.random.default_rng(seed).random(len(rows)) < 0.8
    low = rows[:, column] <= np.median(rows[:, column])
    return rows[some & low], labels[some & low], rows[some & ~low], labels[some & ~low]


TABLES: dict[str, Callable[[int], Table]] = {
    "digits, target turned by 30 degrees": lambda seed: changed_digits(turned, seed),
    "digits, target 0.4 x + 4": lambda seed: changed_digits(lambda rows: 0.4 * rows + 4, seed),
    "breast cancer, by mean texture": lambda seed: split_by_column(load_breast_cancer, 1, seed),
    "wine, by magnesium": lambda seed: split_by_column(load_wine, 4, seed),
}

VARIANTS: dict[str, dict[str, object]] = {
    "standardize='source'": {"standardize": "source"},
    "standardize='source', information=0": {"standardize": "source", "information": 0.0},
}
"""For targets whose class shares may differ much."""


def measured(table: Table, seed: int) -> Iterator[tuple[str, float]]:
    """Accuracy in percent on the target, of each method."""
    rows, labels, target, truth = table
    both = np.concatenate([rows, target]), np.concatenate([labels, np.full(len(target), -1)])
    domains = np.repeat([1, -2], [len(rows), len(target)])
    regression = LogisticRegression(max_iter=2000)
    for name, steps in (
        ("logistic regression, source-only", (StandardScaler().fit(rows), regression)),
        ("logistic regression, each domain standardised", (PerDomain(StandardScaler()), regression)),
        ("SKADA CORAL", (StandardScaler(), CORALAdapter(), regression)),
        ("SKADA subspace alignment", (StandardScaler(), SubspaceAlignmentAdapter(random_state=seed), regression)),
        ("SKADA linear optimal transport", (StandardScaler(), LinearOTMappingAdapter(), regression)),
        (
            "SKADA Gaussian reweighting",
            (StandardScaler(), GaussianReweightAdapter(), regression.set_fit_request(sample_weight=True)),
        ),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of singular covariances and the like: defaults are what is measured
            if name.endswith("source-only"):
                scaler, model = steps
                predicted = model.fit(scaler.transform(rows), labels).predict(scaler.transform(target))
            else:
                try:
                    model = pipeline_of(*steps).fit(*both, sample_domain=domains)
                except ValueError:  # a covariance that cannot be inverted
                    yield name, math.nan
                    continue
                predicted = model.predict(target, sample_domain=domains[len(rows) :])
        yield name, 100 * float(np.mean(predicted == truth))
    fitted = SelfEnsembleClassifier(random_state=seed, device="cpu").fit(*both, sample_domain=domains)
    yield "ours, source-only", 100 * fitted.source_only_.score(target, truth)
    yield "ours, adapted", 100 * fitted.adapted_.score(target, truth)
    yield "ours, the selected model", 100 * fitted.score(target, truth)
    for name, settings in VARIANTS.items():
        fitted = SelfEnsembleClassifier(random_state=seed, device="cpu", **settings).fit(*both, sample_domain=domains)
        yield f"ours, source-only, {name}", 100 * fitted.source_only_.score(target, truth)
        yield f"ours, adapted, {name}", 100 * fitted.adapted_.score(target, truth)
        yield f"ours, the selected model, {name}", 100 * fitted.score(target, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    for name, make in TABLES.items():
        since = time.monotonic()
        found: dict[str, list[float]] = {}
        for seed in range(seeds):
            for method, accuracy in measured(make(seed), seed):
                found.setdefault(method, []).append(accuracy)
        print(f"\n| {name} | mean | worst - best |\n| --- | ---: | --- |")
        for method, each in found.items():
            if any(map(math.isnan, each)):
                print(f"| {method} | fails | {sum(map(math.isnan, each))} of {seeds} seeds |")
                continue
            print(f"| {method} | {statistics.mean(each):.1f} | {min(each):.1f} - {max(each):.1f} |")
        print(f"\n{(time.monotonic() - since) / seeds:.1f} s a seed", flush=True)


if __name__ == "__main__":
    main()
