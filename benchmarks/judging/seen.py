"""What the judgement sees of a task, beside the truth: computed of a recording once, and kept as a line of JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from literature import average_threshold_confidence, difference_of_confidences
from safetensors.torch import load_file
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from dalib.judge.better import Signs, signs_of, vote_ratio, votes_of
from dalib.judge.calibrated import Agreements, agreements_of
from dalib.judge.comparison import shared_representation
from dalib.judge.estimate import apply_temperature, fit_temperature
from dalib.judge.evidence import Evidence
from dalib.judge.recalls import ClassAgreement, class_agreements
from dalib.judge.scores import mutual_information
from dalib.judge.signs import head_classes
from dalib.judge.structure import Representation, Structure, structure_of

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.judge.neighbours import Votes

MODELS = ("adapted", "aligned", "source-only")
BASELINES = MODELS[1:]
WEIGHTS_OF = ("neighbours", "names", "votes", "aligned")
SIGNS = WEIGHTS_OF[:-1]

FEWEST_OF_A_CLASS = 5
"""Target images of a class whose recall is known well enough to be compared with an estimate."""


@dataclass(frozen=True)
class Pair:
    """Two labellings of one target, seen without labels, and the truth.

    Attributes:
        seen: differences of the signs times the trust in the witness, and 1 for aligned beside source-only, of a task
            that nobody spoilt; in the order of WEIGHTS_OF.
        gain: of the first over the second, in points.
        weight: in the fit; what the study makes itself counts less than what was trained.
    """

    seen: list[float]
    gain: float
    weight: float


@dataclass(frozen=True)
class SeenClass:
    """One class of a task, seen without labels, and its true recall by one model, a share."""

    recall: float
    agreement: ClassAgreement


@dataclass(frozen=True)
class Recorded:
    """One task: the pairs of its models, others that teach the fit, each model's accuracy and recalls by class."""

    name: str
    family: str
    good: bool
    models: dict[tuple[str, str], Pair]
    pairs: list[Pair]
    accuracy: dict[str, float]
    classes: dict[str, float]
    stopped: bool
    agreements: dict[str, Agreements]
    literature: dict[str, dict[str, float]]
    others: dict[str, float]
    recalls: dict[str, list[SeenClass]]


def read(file: Path) -> Recorded:
    """Computes all that the tables need of a recording."""
    kept = load_file(file)
    truth, classes = kept["truth"], int(kept["classes"])
    said = {name: kept[f"{name}/target"].float() for name in MODELS if f"{name}/target" in kept}
    compared, learnt_from = structures_of(kept, classes)
    candidates = {**said, **spoilt_of(said, classes)}
    courses = sorted(name for name in kept if name.startswith("adapted/course/"))[:2]
    candidates |= {name: kept[name].float() for name in courses}
    of_models = list(combinations(said, 2))
    pairs = [*((one, other, 1.0) for one, other in of_models), *((name, "source-only", 0.3) for name in courses)]
    pairs += [(name.split("~")[0], name, 0.15) for name in candidates if "~" in name]
    witness = said.get("aligned", said["source-only"])
    signs = {name: signs_of(each, witness, compared) for name, each in candidates.items()}
    right = {name: right_of(each, truth) for name, each in candidates.items()}
    good = file.stem.endswith("--good")
    found = [
        Pair(
            [
                *_difference(signs[one], signs[other], votes_of(candidates[one], candidates[other], compared)),
                float(good and (one, other) == BASELINES),
            ],
            right[one] - right[other],
            weight,
        )
        for one, other, weight in pairs
    ]
    return Recorded(
        name=file.stem,
        family=file.stem.split("--")[0],
        good=good,
        models=dict(zip(of_models, found, strict=False)),
        pairs=found,
        accuracy={name: right[name] for name in said},
        classes={name: _effective(p) for name, p in said.items()},
        stopped=bool(kept["adapted/stopped"]),
        agreements=_agreements(kept, said, compared, learnt_from),
        literature={name: _literature(kept, name) for name in said},
        others=_others(said, compared, classes),
        recalls=_recalls(kept, said, learnt_from),
    )


def structures_of(kept: dict[str, torch.Tensor], classes: int) -> tuple[Structure, Structure]:
    """As a run makes them: what models are compared by, and what the classifiers of the estimate learn from.

    Both are the features of a frozen backbone. Networks from scratch are compared by those of the installed network;
    the classifiers learn from the networks' own, side by side.
    """
    if "neutral/target" not in kept:
        plain = structure_of(Representation(kept["plain/target"], kept["plain/train"], kept["train_labels"]), classes)
        return plain, plain
    neutral = Representation(kept["neutral/target"], kept["neutral/train"], kept["neutral/train_labels"])
    models = [
        Evidence(
            kept[f"{name}/validation"],
            kept["labels"],
            kept[f"{name}/target"],
            None,
            kept[f"{name}/validation_features"],
            kept[f"{name}/target_features"],
        )
        for name in ("source-only", "adapted")
    ]
    shared = shared_representation(models)
    assert shared is not None
    return structure_of(neutral, classes), structure_of(shared, classes)


def spoilt_of(said: dict[str, torch.Tensor], classes: int) -> dict[str, torch.Tensor]:
    """Labellings that are worse on purpose: names exchanged in twos and in circles, classes merged, noise."""
    found = {}
    generator = np.random.default_rng(0)
    for name, p in said.items():
        often = torch.bincount(p.argmax(dim=1), minlength=classes).argsort(descending=True).tolist()
        for kind, chosen in (("exchanged", often[:2]), ("circle", often[: max(3, classes // 3)])):
            if len(chosen) <= classes:
                order = list(range(classes))
                for place, each in enumerate(chosen):
                    order[each] = chosen[(place + 1) % len(chosen)]
                found[f"{name}~{kind}"] = p[:, order]
        merged = p.clone()
        merged[:, often[0]] += merged[:, often[1]]
        merged[:, often[1]] = 0
        noisy, rows = p.clone(), torch.from_numpy(generator.random(len(p)) < 0.25)
        noisy[rows] = noisy[rows][:, torch.from_numpy(generator.permutation(classes))]
        found |= {f"{name}~merged": merged, f"{name}~noisy": noisy}
    return found


def _difference(one: Signs, other: Signs, votes: Votes) -> list[float]:
    first, second, ratio = asdict(one), asdict(other), vote_ratio(votes)
    return [one.trust * (ratio if name == "votes" else first[name] - second[name]) for name in SIGNS]


def right_of(p: torch.Tensor, truth: torch.Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def _effective(p: torch.Tensor) -> float:
    shares = torch.bincount(p.argmax(dim=1), minlength=p.shape[1]).double() / len(p)
    return math.exp(float(torch.special.entr(shares).sum()))


def _agreements(
    kept: dict[str, torch.Tensor], said: dict[str, torch.Tensor], compared: Structure, learnt_from: Structure
) -> dict[str, Agreements]:
    heads, aligned = head_classes(learnt_from), said.get("aligned")
    found = {}
    for name, p in said.items():
        validation, other = _proper(kept[f"{name}/validation"]), None if name == "aligned" else aligned
        found[name] = agreements_of(validation, kept["labels"], _proper(p), heads, compared, other)
    return found


def _recalls(
    kept: dict[str, torch.Tensor], said: dict[str, torch.Tensor], learnt_from: Structure
) -> dict[str, list[SeenClass]]:
    """The classes of which there are enough images, for each model; none where no classifier could be trained."""
    heads, truth = head_classes(learnt_from), kept["truth"]
    if not len(heads):
        return {}
    found = {}
    for name, p in said.items():
        agreements = class_agreements(_proper(kept[f"{name}/validation"]), kept["labels"], _proper(p), heads)
        right = p.argmax(dim=1) == truth
        found[name] = [
            SeenClass(right[truth == index].double().mean().item(), agreement)
            for index, agreement in enumerate(agreements)
            if int((truth == index).sum()) >= FEWEST_OF_A_CLASS
        ]
    return found


def _literature(kept: dict[str, torch.Tensor], name: str) -> dict[str, float]:
    labels = kept["labels"]
    validation, target = (_proper(kept[f"{name}/{side}"]) for side in ("validation", "target"))
    temperature = fit_temperature(validation, labels)
    calm, calm_source = (apply_temperature(each, temperature) for each in (target, validation))
    powers = target.clamp_min(1e-9).log().softmax(dim=1).pow(4).mean()
    return {
        "ATC": average_threshold_confidence(calm_source, labels, calm),
        "DoC": difference_of_confidences(calm_source, labels, calm),
        "MaNo": float(powers) ** 0.25 * target.shape[1] ** 0.25,
    }


def _proper(p: torch.Tensor) -> torch.Tensor:
    p = p.double()
    return p / p.sum(dim=1, keepdim=True)


def _others(said: dict[str, torch.Tensor], structure: Structure, classes: int) -> dict[str, float]:
    """Differences of scores that were studied and not taken."""
    clusters = KMeans(classes, n_init=3, random_state=0).fit_predict(structure.target.numpy())
    scores = {
        name: {
            "agreement with clusters (ClassAMI)": float(adjusted_mutual_info_score(p.argmax(dim=1).numpy(), clusters)),
            "mutual information": mutual_information(_proper(p)),
        }
        for name, p in said.items()
    }
    return {score: scores["adapted"][score] - scores["source-only"][score] for score in scores["adapted"]}


def see(out: Path, to: Path) -> None:
    """Writes what is seen of each recording as a line of JSON; lines of tasks that are not recorded there stay."""
    torch.set_num_threads(1)
    lines = {} if not to.exists() else {json.loads(line)["name"]: line for line in to.read_text().splitlines()}
    for file in sorted((out / "recorded").glob("*.safetensors")):
        lines[file.stem] = _as_line(read(file))
    to.write_text("".join(f"{lines[name]}\n" for name in sorted(lines)))


def seen_in(file: Path) -> list[Recorded]:
    return [_of_line(json.loads(line)) for line in file.read_text().splitlines()]


def _as_line(task: Recorded) -> str:
    models = {"/".join(names): pair for names, pair in task.models.items()}
    return json.dumps(_rounded(asdict(task) | {"models": {name: asdict(pair) for name, pair in models.items()}}))


def _of_line(kept: dict[str, Any]) -> Recorded:
    models = {tuple(names.split("/")): Pair(**pair) for names, pair in kept["models"].items()}
    return Recorded(
        **kept
        | {
            "models": models,
            "pairs": [Pair(**pair) for pair in kept["pairs"]],
            "agreements": {name: Agreements(**each) for name, each in kept["agreements"].items()},
            "recalls": {
                name: [SeenClass(each["recall"], ClassAgreement(**each["agreement"])) for each in seen]
                for name, seen in kept["recalls"].items()
            },
        }
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value
