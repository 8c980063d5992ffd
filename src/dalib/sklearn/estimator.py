"""Self-ensembling as an estimator of scikit-learn, for images and for tables; domains as SKADA gives them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from dalib.augment.tables import FeatureMask, FeatureNoise
from dalib.augment.views import View
from dalib.core.console import say
from dalib.core.devices import choose_device
from dalib.core.errors import UserError
from dalib.core.seeds import derive_seed
from dalib.core.words import share_in_words
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.sparse import SparseRows
from dalib.data.split import split_by_groups
from dalib.engine.predict import predict_probabilities
from dalib.engine.results import InMemory
from dalib.engine.train import Observer, Statistics
from dalib.models.architecture import Architecture
from dalib.models.classifier import ImageClassifier
from dalib.models.tables import TableBackbone
from dalib.run.features.inputs import Inputs, Views
from dalib.run.judge import judge
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.run_models import FinishedModel, RunModels
from dalib.run.recipe.task import Task, train_task
from dalib.run.settings.config import EveryConfig, OptimizerConfig, SelfEnsembleConfig, TrainConfig, ViewsConfig
from dalib.run.start.domains import Domains
from dalib.sklearn.given_rows import (
    checked_rows,
    numbered_classes,
    source_rows,
    split_into_domains,
    warn_of_constant_rows,
)
from dalib.sklearn.groups import numbered_groups
from dalib.sklearn.linear import LinearModel, LinearTask, is_clearly_better, matrix_of
from dalib.sklearn.readers import (
    Pixels,
    Readers,
    Table,
    Words,
    and_more,
    are_counts,
    are_whole,
    preprocessing_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dalib.core.types import Augment
    from dalib.records.judgement import Judgement
    from dalib.sklearn.given_rows import GivenRows
    from dalib.sklearn.groups import RowGroups

Standardize = Literal["each domain", "source", False]
Prior = Literal["source", "uniform", "estimate"]
Select = Literal["judged", "last"]
Keep = Literal["better", "adapted"]

AUTO_HIDDEN = (128,)
"""Widths of the perceptron where ``hidden`` is auto."""

LARGEST_FOR_DIGITS = 32
"""Pixels; of larger images the backbone for characters would have too many features."""

_IN_MEMORY = Architecture(backbones=("in memory",), bottleneck_dim=None, channels=1, size=1)
"""Stands for the networks that the estimator makes and gives: none is built of it, and they predict a row as it is."""


class SelfEnsembleClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns classes from a labelled source and adapts to an unlabelled target, of images or of rows of a table.

    Images are uint8 (N, H, W), (N, H, W, C) or (N, C, H, W); they train a small convolutional network on random warps.
    A table is (N, D) of finite numbers, such as measurements or the embeddings of another network; it trains a
    perceptron, on noise and on values left out. A table of counts, such as those of words, or any matrix of
    scipy.sparse, trains a linear model, and is never made dense as a whole.

    The source-only model of a table is logistic regression, with the penalty that cross-validation on the source
    chooses, unless the perceptron is better on the source's validation rows by more than their number explains. No gain
    is thus claimed over a baseline that is weaker than logistic regression.

    Args:
        steps: of each of two trainings, source-only and then the adaptation that starts from its weights. Linear models
            are fitted to their optimum: steps, batch, lr, noise, masking, threshold, weight, alpha, information and
            select do not apply to them.
        batch: source rows, and as many target rows, a step.
        lr: highest learning rate, of AdamW.
        hidden: widths of the perceptron, such as (128,); () is a linear model, which adapts by fitting the source's
            labels and its own sharpened predictions for the target, brought to the shares of ``prior``, in turn. auto
            is linear for counts and sparse tables; for other tables it adapts a perceptron of 128, beside the better of
            logistic regression and that perceptron as the source-only model. Tables only, and so are the next four.
        noise: in the random views of a row, in units of each feature's standard deviation.
        masking: share of the values of a view that are replaced by the feature's mean.
        standardize: each feature to mean 0 and standard deviation 1: each domain by itself, both by the source's, or
            not at all (False). The source-only model knows the source's alone. Hidden layers do likewise: with each
            domain they have batch normalisation, which sees one domain at a time, else layer normalisation. A sparse
            table is divided by each column's root mean square, and not centred.
        counts: whether a table holds counts, whose rows then become log(1 + x), weighted by how rare each column is
            (by the domains that ``standardize`` names), and of length 1. auto: where no value is negative and at least
            four of five are 0; the logarithm is left out where values are not whole. With ``standardize`` False there
            is none of this.
        threshold: a target row counts where the teacher's largest probability is above it.
        weight: of the consistency of student and teacher, a squared distance summed over classes.
        alpha: decay of the teacher's moving average.
        information: weight of the mutual information between target rows and predicted classes; not the paper's, 0 is
            off.
        prior: shares of the target's classes that ``information`` draws to: source (those of the source), uniform, or
            estimate (from the predictions; needs ``validation_share``).
        select: the weights of the adaptation that predict: judged, those of the evaluation, of ten, whose predictions
            for the target are surest and most various; or the last. Neither uses a target label.
        keep: what predicts: the better of source-only and adapted, as judged without target labels; or
            adapted, regardless of the signs.
        validation_share: of the source's rows of each class, kept from training to judge; 0 keeps none.
        random_state: seeds everything; with a number, a fit on a CPU gives the same again.
        device: auto, cpu, cuda or mps.
        verbose: show the progress of each training, with losses and the time left: a bar in a terminal or a notebook,
            lines elsewhere. A linear model prints a line for each round. Like other estimators of scikit-learn, fit
            shows nothing by default.

    Attributes:
        classes_: (C,) the source's labels.
        n_features_in_, feature_names_in_: of a table; names where it had some.
        source_only_: the estimator without adaptation, fitted, for comparison; ``adapted_`` is the other.
        judgement_: what a run's judgement.json holds: ``shipped`` (the one that predicts), ``outcome``, ``headline``,
            ``reasons``, and in ``models`` the label-free scores and, from 20 validation rows, the estimated accuracy
            of each.
        history_: lines of metrics of each training; of a linear model, of each round.

    Domains are given in one of two ways: ``fit(X_source, y_source, X_target)``, or SKADA's
    ``fit(X, y, sample_domain=d)`` with the rows of both, where a negative number marks the target. What ``y`` holds
    there is never looked at; SKADA writes -1. ``fit`` writes no file. A pickle holds the networks, and like all pickles
    is for those who trust where it comes from.

    Source: French, Mackiewicz & Fisher, ICLR 2018; views and network of tables are our choice, and linear models adapt
    by :class:`dalib.adaptation.self_training.SelfTraining`.

    >>> from sklearn.datasets import make_blobs
    >>> X, y = make_blobs(200, centers=[[0, 0], [6, 0]], random_state=0)
    >>> classifier = SelfEnsembleClassifier(steps=50, random_state=0).fit(X, y, X + [8, 0])
    >>> float(classifier.score(X + [8, 0], y)), float(classifier.source_only_.score(X + [8, 0], y))
    (1.0, 0.5)
    """

    # rows of both domains travel through pipelines and searches with their domains, where routing is switched on
    __metadata_request__fit = {"sample_domain": True}  # noqa: RUF012 - scikit-learn's way to declare it
    __metadata_request__predict = {"sample_domain": True, "allow_source": True}  # noqa: RUF012
    __metadata_request__predict_proba = {"sample_domain": True, "allow_source": True}  # noqa: RUF012
    __metadata_request__score = {"sample_domain": True, "allow_source": True}  # noqa: RUF012

    def __init__(  # scikit-learn clones and searches an estimator by its arguments, so they are flat and many
        self,
        *,
        steps: int = 1000,
        batch: int = 64,
        lr: float = 2e-3,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        noise: float = 0.1,
        masking: float = 0.1,
        standardize: Standardize = "each domain",
        counts: bool | Literal["auto"] = "auto",
        threshold: float = 0.6,
        weight: float = 3.0,
        alpha: float = 0.99,
        information: float = 0.1,
        prior: Prior = "source",
        select: Select = "judged",
        keep: Keep = "better",
        validation_share: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.hidden = hidden
        self.noise = noise
        self.masking = masking
        self.standardize = standardize
        self.counts = counts
        self.threshold = threshold
        self.weight = weight
        self.alpha = alpha
        self.information = information
        self.prior = prior
        self.select = select
        self.keep = keep
        self.validation_share = validation_share
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's names
        y: ArrayLike,
        X_target: ArrayLike | None = None,  # noqa: N803
        *,
        sample_domain: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> SelfEnsembleClassifier:
        """Trains source-only and adapted, judges both, and predicts with the one that seems better from now on.

        Args:
            X: rows of the source, dense or sparse; with ``sample_domain``, of both domains.
            y: (N,) a class for each row, numbers or strings; those of target rows are not looked at.
            X_target: rows of the target. In a pipeline give ``sample_domain`` instead, because the steps before this
                one change ``X`` alone.
            sample_domain: (N,) whole numbers: negative is the target, else the source, of which there may be several.
            groups: (N,) numbers or strings, equal for rows of ``X`` that belong together, such as those of one patient:
                the validation split keeps them whole, with nearly the same share of each class, and the judgement
                counts them, those of the target too where ``sample_domain`` marks it.

        Raises:
            UserError: a ValueError: no target, both ways at once, one class alone, or a setting out of its range.
            TrainingDivergedError: a loss that is not finite.

        Warns:
            UserWarning: rows of a domain that are all the same.
        """
        self._check_settings()
        domains = split_into_domains(self, X, y, X_target, sample_domain)
        self.classes_, numbers = numbered_classes(domains.labels)
        warn_of_constant_rows(domains)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        together = numbered_groups(groups, domains)
        kept = self._kept_from_training(numbers, seed, together)
        readers = self._readers(domains.source[~kept], domains.target)
        config = self._config(seed, domains.source)
        data = self._data(domains, numbers, kept, readers)
        self.history_: dict[str, list[dict[str, Any]]] = {}
        linear = not isinstance(readers["adapted"].of_target, Pixels) and self._is_linear(data)
        done = self._fit_linear(data, seed) if linear else self._fit_networks(config, data, readers)
        settings = recipe.make_judge_settings(config)
        if linear:
            settings = replace(settings, steps=done.trained["adapted"].ended)
        trained, said = done.trained, done.everything
        if together is not None:
            grouped = partial(together.of_evidence, kept)
            trained = {name: replace(each, evidence=grouped(each.evidence)) for name, each in trained.items()}
            said = {name: grouped(each) for name, each in said.items()}
        self._take(done, readers, judge(trained, said, settings, data.train.classes))
        return self

    def _fit_linear(self, data: _Data, seed: int) -> RunModels:
        """Fits logistic regression of the source, and trains it on the target's predictions."""
        task = data.linear_task(seed)
        first = task.logistic_regression()
        adapted = task.self_trained(first, self.prior, partial(self._print_round, "adapted"))
        return RunModels({"source-only": self._noted("source-only", first), "adapted": self._noted("adapted", adapted)})

    def _fit_networks(self, config: TrainConfig, data: _Data, readers: Mapping[str, Readers]) -> RunModels:
        """Trains the network on the source and then on both domains.

        Where the network is not clearly better than logistic regression on the source's validation rows, that is the
        source-only model; the adaptation starts from the network all the same.
        """
        student, weights = self._student(config, data.train, readers), None
        done = RunModels()
        for name, training in recipe.trainings(config):
            reader, rows = readers[name], data.target[name]
            plain, results = reader.of_target.plain, InMemory()
            task = Task(
                name,
                training,
                Domains(data.train, data.validation, UnlabelledImages(rows, ()), to_predict=rows),
                Inputs(_IN_MEMORY, self._views(config, data.train.images, rows, reader), plain, plain),
                results,
                student=student,
                weights=weights,
                # of the rows that the model is for, as they will be predicted: training saw them changed at random
                statistics=Statistics(data.train.images if name == "source-only" else rows, plain),
                confidence=recipe.confidence_of(config),
            )
            observer = Observer(progress=bool(self.verbose))
            done = done.with_model(name, train_task(task, self._device(), before=done.source_only, observer=observer))
            self.history_[name] = results.lines
            if name == "source-only" and isinstance(self.hidden, str) and not isinstance(reader.of_target, Pixels):
                weights = done.trained[name].model.state_dict()
                regression = data.linear_task(config.seed).logistic_regression()
                if not is_clearly_better(done.everything[name], regression.evidence):
                    done = done.with_model(name, self._noted(name, regression))
        return done

    def _noted(self, name: str, model: LinearModel) -> FinishedModel:
        """Notes the metrics of a linear model, and returns it as one that predicts."""
        self.history_[name] = model.lines
        return FinishedModel(model.trained, model.evidence)

    def _is_linear(self, data: _Data) -> bool:
        """Returns whether both models are linear: as asked for, or because a sparse table has too many columns."""
        if isinstance(self.hidden, str):  # auto
            return isinstance(data.train.images, SparseRows)
        return not len(self.hidden)

    def _data(
        self, domains: GivenRows, numbers: NDArray[np.intp], kept: NDArray[np.bool_], readers: Mapping[str, Readers]
    ) -> _Data:
        """Reads the rows of both domains."""
        names = tuple(map(str, self.classes_.tolist()))
        train, validation = (
            LabelledImages(
                readers["source-only"].of_source(domains.source[rows], "X", domains.source_rows[rows]),
                torch.from_numpy(numbers[rows].astype(np.int64)),
                names,
                (),
            )
            for rows in (~kept, kept)
        )
        target = {
            name: reader.of_target(domains.target, domains.argument_of_target, domains.target_rows)
            for name, reader in readers.items()
        }
        return _Data(train, validation, target)

    def _kept_from_training(
        self, numbers: NDArray[np.intp], seed: int, groups: RowGroups | None = None
    ) -> NDArray[np.bool_]:
        """Returns which source rows are the validation split, of their classes as numbers."""
        if groups is None or not self.validation_share:
            kept = _kept(numbers, self.validation_share, seed)
        else:
            labels, own = torch.from_numpy(numbers.astype(np.int64)), derive_seed(seed, "validation")
            kept = np.zeros(len(numbers), dtype=bool)
            kept[split_by_groups(labels, groups.source, self.validation_share, own)[1].numpy()] = True
        if self.prior == "estimate" and not kept.any():
            raise UserError(
                f"prior='estimate': it is made with source rows kept from training, and validation_share="
                f"{self.validation_share} keeps none of the {len(kept)}; expected a larger share, or prior='source'"
            )
        return kept

    def _take(self, done: RunModels, readers: Mapping[str, Readers], judgement: Judgement) -> None:
        """Sets the fitted attributes, those with a trailing underscore."""
        networks = {name: each.model.cpu().eval() for name, each in done.trained.items()}
        self.models_ = {name: _Model(networks[name], reader) for name, reader in readers.items()}
        self.judgement_ = judgement.to_json()
        self.predicts_: str = judgement.shipped
        self.source_only_, self.adapted_ = self._as("source-only"), self._as("adapted")

    def predict_proba(
        self,
        X: ArrayLike,  # noqa: N803
        *,
        sample_domain: ArrayLike | None = None,
        allow_source: bool = False,
    ) -> NDArray[np.float64]:
        """Probabilities (N, C) of ``classes_``.

        Args:
            X: rows of the target; with ``sample_domain``, of either domain.
            sample_domain: (N,) as in :meth:`fit`; None is all target. Rows of the source are standardised by the
                source's mean and standard deviation.
            allow_source: must be True for rows of the source, as in SKADA.

        Raises:
            UserError: rows of another kind or width than those of :meth:`fit`, or rows of the source unannounced.
        """
        check_is_fitted(self)
        values = checked_rows(self, X, "X", reset=False, least=1)
        model, device = self.models_[self.predicts_], self._device()
        count = values.shape[0]
        of_source = np.zeros(count, dtype=bool)
        if sample_domain is not None:
            of_source = source_rows(sample_domain, count)
            if of_source.any() and not allow_source:
                raise UserError(
                    f"sample_domain: {of_source.sum()} of {count} rows are of the source, and the model is the "
                    "target's; leave them out, or pass allow_source=True"
                )
        network = model.network if device.type == "cpu" else copy.deepcopy(model.network).to(device)
        found = np.empty((count, len(self.classes_)))
        for which, reader in ((of_source, model.readers.of_source), (~of_source, model.readers.of_target)):
            if which.any():
                rows = reader(values[which], "X", np.flatnonzero(which))
                found[which] = predict_probabilities(network, rows, reader.plain, device=device).numpy()
        if (lost := ~np.isfinite(found).all(axis=1)).any():
            raise UserError(
                f"X: row {np.flatnonzero(lost)[0]}: the network gives no probabilities for it; its values are far from "
                f"those of fit{and_more(lost)}"
            )
        return found

    def predict(
        self,
        X: ArrayLike,  # noqa: N803
        *,
        sample_domain: ArrayLike | None = None,
        allow_source: bool = False,
    ) -> NDArray[Any]:
        """Returns the most probable class (N,) of each row; arguments and errors as :meth:`predict_proba`."""
        found = self.predict_proba(X, sample_domain=sample_domain, allow_source=allow_source)
        classes: NDArray[Any] = self.classes_[found.argmax(axis=1)]
        return classes

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
        allow_source: bool = False,
    ) -> float:
        """Returns the accuracy on rows with these labels; other arguments and errors as :meth:`predict_proba`."""
        predicted = self.predict(X, sample_domain=sample_domain, allow_source=allow_source)
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        return tags

    def _readers(self, source: Any, target: Any) -> dict[str, Readers]:
        """Returns how arrays become rows, for each training; the source-only one knows the source alone."""
        if source.ndim > 2:
            pixels = Pixels(preprocessing_of(source))
            return {name: Readers(pixels, pixels) for name in ("source-only", "adapted")}
        if not self.standardize:
            of_source: Table | Words = Table.unchanged(source.shape[1])
            return {name: Readers(of_source, of_source) for name in ("source-only", "adapted")}
        guessed = are_counts(source) and are_counts(target) if self.counts == "auto" else self.counts
        if guessed:
            read: Callable[[Any], Table | Words] = partial(Words.of, logarithm=are_whole(source) and are_whole(target))
        else:
            read = Table.of
        of_source = read(source)
        of_target = read(target) if self.standardize == "each domain" else of_source
        return {"source-only": Readers(of_source, of_source), "adapted": Readers(of_source, of_target)}

    def _config(self, seed: int, source: NDArray[Any]) -> TrainConfig:
        """Returns the configuration; its steady part is that of the presets ``digits`` and ``photo-features``."""
        every = max(1, int(self.steps) // 10)
        small = source.ndim > 2 and preprocessing_of(source).size <= LARGEST_FOR_DIGITS
        config = TrainConfig(
            steps=int(self.steps),
            batch=int(self.batch),
            seed=seed,
            prior=self.prior,
            select=self.select,
            keep=self.keep,
            backbone="digits" if small else "small",
            views=ViewsConfig("strong-warp", "strong-warp", "weak-warp"),
            self_ensemble=SelfEnsembleConfig(
                alpha=self.alpha,
                teacher_dropout=False,
                over_classes="sum",
                weight=self.weight,
                threshold=self.threshold,
                ramp_up_steps=int(self.steps) // 5,
                class_balance=0.0,
                information=self.information,
            ),
            optimizer=OptimizerConfig("adamw", self.lr, weight_decay=0.01, schedule="one-cycle", label_smoothing=0.1),
            every=EveryConfig(log=every, evaluate=every, checkpoint=int(self.steps)),
        )
        return replace(config, model=replace(config.model, bottleneck_dim=256)) if small else config

    def _views(self, config: TrainConfig, source: Any, target: Any, readers: Readers) -> Views:
        if isinstance(readers.of_target, Pixels):
            return image_network.make_views(config, readers.of_target.preprocessing)
        of_target = self._table_view(target)
        return Views(self._table_view(source), of_target, of_target)

    def _table_view(self, rows: Tensor | SparseRows) -> Augment:
        mean, std = _moments(rows)
        return View(Tensor.float, (FeatureNoise(self.noise, std), FeatureMask(self.masking, mean)))

    def _student(
        self, config: TrainConfig, train: LabelledImages, readers: Mapping[str, Readers]
    ) -> Callable[[], ImageClassifier]:
        """Makes the network, with the weights that the seed gives."""
        reader, count = readers["adapted"].of_target, len(train.classes)

        def make() -> ImageClassifier:
            if isinstance(reader, Pixels):
                return image_network.make_student(
                    config, image_network.architecture_of(config, reader.preprocessing), count
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(config.seed, "weights"))
                by_batch = self.standardize == "each domain"
                hidden = AUTO_HIDDEN if isinstance(self.hidden, str) else tuple(map(int, self.hidden))
                backbone = TableBackbone(train.images[torch.arange(1)].shape[1], hidden, by_batch=by_batch)
                return ImageClassifier(backbone, count, None, finetune=False)

        return make

    def _as(self, name: str) -> SelfEnsembleClassifier:
        """This estimator, predicting with the model of that name; the networks are shared."""
        other = copy.copy(self)
        for each in ("source_only_", "adapted_"):
            other.__dict__.pop(each, None)
        other.predicts_ = name
        return other

    def _device(self) -> torch.device:
        return choose_device(self.device)

    def _print_round(self, name: str, line: dict[str, float]) -> None:
        if self.verbose:
            say(f"{name} round {line['step']}: {share_in_words(line['changed'])} of the target changed their class")

    def _check_settings(self) -> None:
        """Refuses the first setting that is out of its range."""
        for name, least in (("steps", 1), ("batch", 2)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise UserError(f"{name}={value!r}: expected a whole number of at least {least}")
        ranges: tuple[tuple[str, str, Callable[[float], bool]], ...] = (
            ("lr", "above 0", lambda value: value > 0),
            ("noise", "of at least 0", lambda value: value >= 0),
            ("masking", "of at least 0 and below 1", lambda value: 0 <= value < 1),
            ("threshold", "from 0 to 1", lambda value: 0 <= value <= 1),
            ("weight", "of at least 0", lambda value: value >= 0),
            ("alpha", "from 0 to 1", lambda value: 0 <= value <= 1),
            ("information", "of at least 0", lambda value: value >= 0),
            ("validation_share", "of at least 0 and below 1", lambda value: 0 <= value < 1),
        )
        for name, expected, fits in ranges:
            value = getattr(self, name)
            if not isinstance(value, Real) or not np.isfinite(float(value)) or not fits(float(value)):
                raise UserError(f"{name}={value!r}: expected a number {expected}")
        if self.counts not in ("auto", True, False):
            raise UserError(f"counts={self.counts!r}: expected 'auto', True or False")
        for name, choices in (("standardize", Standardize), ("prior", Prior), ("select", Select), ("keep", Keep)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise UserError(f"{name}={value!r}: expected one of {', '.join(map(repr, get_args(choices)))}")
        hidden = self.hidden
        if isinstance(hidden, str):
            is_fit = hidden == "auto"
        else:
            is_fit = np.iterable(hidden) and all(isinstance(each, Integral) and each > 0 for each in hidden)
        if not is_fit:
            raise UserError(
                f"hidden={hidden!r}: expected 'auto', or whole numbers of at least 1 in a tuple, such as (128,), or ()"
            )


def judged_score(estimator: Any, X: Any = None, y: Any = None) -> float:  # noqa: ARG001, N803 - scorers are called so
    """Scores a fitted estimator without a target label, for ``GridSearchCV(..., scoring=judged_score)``.

    Args:
        estimator: a fitted :class:`SelfEnsembleClassifier`, or a pipeline that ends in one, of scikit-learn's or
            SKADA's.
        X, y: not looked at: it is judged by the target that it was fitted to.

    Returns:
        ``target_class_ami`` of the model that predicts, which ``dalib compare`` ranks runs by.

    Raises:
        UserError: another kind of estimator.
        NotFittedError: it was not fitted.

    Misleads: as :func:`dalib.judge.scores.class_ami`.
    """
    fitted = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    unfitted = getattr(fitted, "base_estimator", fitted)  # as SKADA's pipelines wrap it
    if not isinstance(unfitted, SelfEnsembleClassifier):
        raise UserError(
            f"estimator: expected a SelfEnsembleClassifier, or a pipeline that ends in one, got "
            f"{type(unfitted).__name__}; JudgedScorer() scores any classifier"
        )
    fitted = getattr(fitted, "base_estimator_", fitted)
    check_is_fitted(fitted, "judgement_")
    return float(fitted.judgement_["models"][fitted.predicts_]["scores"]["target_class_ami"])


@dataclass(frozen=True)
class _Data:
    """The rows of both domains as models take them; the target's for each of the two models."""

    train: LabelledImages
    validation: LabelledImages
    target: dict[str, Any]

    def linear_task(self, seed: int) -> LinearTask:
        return LinearTask(self.train, self.validation, self.target["source-only"], self.target["adapted"], seed)


@dataclass(frozen=True)
class _Model:
    network: nn.Module
    readers: Readers


def _moments(rows: Tensor | SparseRows) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation (D,) of the columns."""
    if isinstance(rows, Tensor):
        return rows.mean(dim=0), rows.std(dim=0, correction=0)
    matrix: Any = matrix_of(rows)
    mean, square = (
        np.asarray(each.mean(axis=0), dtype=np.float64).ravel() for each in (matrix, matrix.multiply(matrix))
    )
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def _kept(numbers: NDArray[np.intp], share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which rows of the source judge: of each class that share, rounded down, so that training has every class."""
    kept = np.zeros(len(numbers), dtype=bool)
    random = np.random.default_rng(derive_seed(seed, "validation"))
    for number in np.unique(numbers):
        rows = random.permutation(np.flatnonzero(numbers == number))
        kept[rows[: int(share * len(rows))]] = True
    return kept
