"""The scikit-learn estimator on tables that shift, beside logistic regression and SKADA's shallow methods.

    OMP_NUM_THREADS=1 python benchmarks/tables.py --seeds 5
    OMP_NUM_THREADS=1 python benchmarks/tables.py --seeds 3 --root data --only reviews

Everybody has their defaults, and logistic regression also the penalty that cross-validation on the source chooses.
SKADA's methods are left out where skada is not installed, and on reviews, whose covariances have 5000 columns. With a
root there are also reviews, counts of words (reviews/{books,dvd}_{train,test}.svmlight), and features of photographs
(embeddings/PAIR-DOMAIN.npz: x, y). Labels of the target are read afterwards, to measure; no setting differs by table.
What standardize='source' does inside the network was changed after they had been read (RESULTS.md); scaling and
self-training of counts were chosen on other texts (LOG.md).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import at_least_one
from scipy.ndimage import rotate
from scipy.sparse import issparse, vstack
from sklearn.datasets import load_breast_cancer, load_digits, load_svmlight_file, load_wine
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from dalib.sklearn import SelfEnsembleClassifier

try:
    import skada
except ImportError:
    skada = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Table = tuple[Any, np.ndarray, Any, np.ndarray]
"""Source rows and labels, target rows and labels; one that ends in a third pair has other rows to measure on."""


def changed_digits(change: Callable[[np.ndarray], np.ndarray], seed: int) -> Table:
    """The 64 pixels of 8x8 digits; a random half is the target, and changed."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    source, target = order[::2], order[1::2]
    return images[source], labels[source], change(images[target]), labels[target]


def turned(rows: np.ndarray) -> np.ndarray:
    images = rotate(rows.reshape(-1, 8, 8), 30, axes=(1, 2), reshape=False, order=1)
    return np.asarray(images).reshape(len(rows), -1)


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

VARIANTS: dict[str, dict[str, Any]] = {
    "standardize='source'": {"standardize": "source"},
    "standardize='source', information=0": {"standardize": "source", "information": 0.0},
}
"""For targets whose class shares may differ much."""


def reviews(root: Path, source: str, target: str) -> tuple[Any, ...]:
    """Counts of 5000 words of reviews, good or bad; the last pair are rows that nobody adapts to."""

    def read(name: str) -> tuple[Any, np.ndarray]:
        rows, labels = load_svmlight_file(str(root / "reviews" / f"{name}.svmlight"), n_features=5000)
        return rows.tocsr(), (labels > 0).astype(int)

    return *read(f"{source}_train"), *read(f"{target}_train"), *read(f"{target}_test")


def embeddings(source: Path, target: Path) -> Table:
    """Features of photographs by a frozen network, with the names of their classes."""
    one, other = (np.load(each) for each in (source, target))
    return one["x"].astype(np.float64), one["y"], other["x"].astype(np.float64), other["y"]


def always(make: Callable[[], tuple[Any, ...]]) -> Callable[[int], tuple[Any, ...]]:
    """Returns how a table is made that is the same for every seed."""
    return lambda seed: make()


def tables_in(root: Path | None) -> dict[str, Callable[[int], tuple[Any, ...]]]:
    """The tables by their names."""
    found: dict[str, Callable[[int], tuple[Any, ...]]] = dict(TABLES)
    if root is None:
        return found
    for pair in (("books", "dvd"), ("dvd", "books")) if (root / "reviews").is_dir() else ():
        found["reviews, {} -> {}".format(*pair)] = always(partial(reviews, root, *pair))
    files = sorted((root / "embeddings").glob("*-*.npz"))
    for source, target in permutations(files, 2):
        if source.stem.split("-")[0] == target.stem.split("-")[0]:
            name = f"embeddings, {source.stem} -> {target.stem}"
            found[name] = always(partial(embeddings, source, target))
    return found


def regressions(rows: Any) -> Iterator[tuple[str, Any]]:
    """Logistic regression of the source alone, as a user of scikit-learn would write it."""
    if issparse(rows):
        scaling, scaled = FunctionTransformer(lambda table: table.log1p(), accept_sparse=True), "log(1 + x)"
    else:
        scaling, scaled = StandardScaler(), "standardised"
    yield f"logistic regression, {scaled}", make_pipeline(scaling, LogisticRegression(max_iter=2000))
    chosen = LogisticRegressionCV(
        Cs=np.logspace(-4, 2, 7),
        cv=3,
        max_iter=2000,
        scoring="neg_log_loss",
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    yield f"logistic regression, {scaled}, C by the source", make_pipeline(scaling, chosen)


def shallow(seed: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """SKADA's methods, with logistic regression behind them."""
    regression = LogisticRegression(max_iter=2000)
    yield "logistic regression, each domain standardised", (skada.PerDomain(StandardScaler()), regression)
    yield "SKADA CORAL", (StandardScaler(), skada.CORALAdapter(), regression)
    alignment = skada.SubspaceAlignmentAdapter(random_state=seed)
    yield "SKADA subspace alignment", (StandardScaler(), alignment, regression)
    yield "SKADA linear optimal transport", (StandardScaler(), skada.LinearOTMappingAdapter(), regression)
    weighted = regression.set_fit_request(sample_weight=True)
    yield "SKADA Gaussian reweighting", (StandardScaler(), skada.GaussianReweightAdapter(), weighted)


def measured(table: tuple[Any, ...], seed: int, variants: bool) -> Iterator[tuple[str, float]]:
    """Accuracy in percent on the target, of each method."""
    rows, labels, target, _, *_ = table
    asked, truth = table[-2:]
    together = vstack([rows, target]).tocsr() if issparse(rows) else np.concatenate([rows, target])
    # SKADA's mark for a label that is hidden; classes may have names
    hidden = np.full(len(table[3]), -1) if labels.dtype.kind in "iu" else np.full(len(table[3]), labels[0])
    both = together, np.concatenate([labels, hidden])
    domains = np.repeat([1, -2], [rows.shape[0], target.shape[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular covariances and the like: defaults are what is measured
        for name, model in regressions(rows):
            yield name, 100 * float(np.mean(model.fit(rows, labels).predict(asked) == truth))
        for name, steps in () if skada is None or issparse(rows) or labels.dtype.kind not in "iu" else shallow(seed):
            try:
                model = skada.make_da_pipeline(*steps).fit(*both, sample_domain=domains)
            except ValueError:  # a covariance that cannot be inverted
                yield name, math.nan
                continue
            predicted = model.predict(asked, sample_domain=np.full(len(truth), -2))
            yield name, 100 * float(np.mean(predicted == truth))
    for name, settings in {"": {}, **(VARIANTS if variants else {})}.items():
        fitted = SelfEnsembleClassifier(random_state=seed, device="cpu", **settings)
        fitted.fit(*both, sample_domain=domains)
        for model, each in (("source-only", fitted.source_only_), ("adapted", fitted.adapted_), ("selected", fitted)):
            yield f"ours, {model}{', ' * bool(name)}{name}", 100 * each.score(asked, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=at_least_one, default=5)
    parser.add_argument("--root", type=Path, help="folder with reviews and embeddings")
    parser.add_argument("--only", default="", help="tables whose name has this in it")
    parser.add_argument("--variants", action="store_true", help="other settings of ours, too")
    asked = parser.parse_args()
    if asked.root is not None and not asked.root.is_dir():
        parser.error(f"--root {asked.root}: no such folder")
    tables = {name: make for name, make in tables_in(asked.root).items() if asked.only in name}
    if not tables:
        parser.error(f"--only {asked.only}: no such table; there are {', '.join(tables_in(asked.root))}")
    for name, make in tables.items():
        since = time.monotonic()
        found: dict[str, list[float]] = {}
        for seed in range(asked.seeds):
            for method, accuracy in measured(make(seed), seed, asked.variants):
                found.setdefault(method, []).append(accuracy)
        print(f"\n| {name} | mean | worst - best |\n| --- | ---: | --- |")
        for method, each in found.items():
            if any(map(math.isnan, each)):
                print(f"| {method} | fails | {sum(map(math.isnan, each))} of {asked.seeds} seeds |")
                continue
            print(f"| {method} | {statistics.mean(each):.1f} | {min(each):.1f} - {max(each):.1f} |")
        print(f"\n{(time.monotonic() - since) / asked.seeds:.1f} s a seed", flush=True)


if __name__ == "__main__":
    main()
