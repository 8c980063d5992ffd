"""Measures what each domain's own batch-normalisation statistics in a frozen backbone are worth, and what foretells it.

Logistic regression on plain features of EfficientNet-Lite0, each domain standardised, trained on the source:
``python benchmarks/domain_statistics.py DATA`` with DATA/FAMILY/DOMAIN/CLASS/*.jpg; every two domains of a family are
a direction and its way back. Labels of the target measure, and choose nothing.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression

from dalib.data.sources import open_labelled
from dalib.models.domain_statistics import (
    distance_of_statistics,
    mixed_statistics,
    normalisation_statistics,
    with_statistics,
)
from dalib.models.inference import fast_inference
from dalib.run.recipe import image_network
from dalib.run.settings.image_defaults import PHOTOGRAPH_SETTINGS
from dalib.run.settings.presets import from_preset

SHARES = (0.0, 0.3, 1.0)
JOINED = (0.0, 0.3)
IMAGES, OF_STATISTICS, BATCH = 280, 128, 64


class Domain:
    """The labels, the features by share, and the distance from the pretrained statistics, of some images."""

    def __init__(self, place: Path) -> None:
        config = from_preset("photo-features", **PHOTOGRAPH_SETTINGS)
        preprocessing = image_network.make_preprocessing(config)
        network = image_network.make_student(config, image_network.architecture_of(config, preprocessing), 2).eval()
        classes = sorted(each.name for each in place.iterdir() if each.is_dir())
        opened = open_labelled(str(place), preprocessing, classes, argument="source", cache="disk")
        rows = torch.randperm(len(opened.labels), generator=torch.Generator().manual_seed(0))[:IMAGES]
        images, self.labels = preprocessing.normalize(opened.images[rows]), opened.labels[rows]
        self.features: dict[float, torch.Tensor] = {}
        for share in SHARES:
            backbone = network.backbone
            if share:
                statistics = mixed_statistics(backbone, torch.split(images[:OF_STATISTICS], BATCH), share)
                backbone = with_statistics(backbone, statistics)
            if share == 0.3:
                self.distance = distance_of_statistics(normalisation_statistics(network.backbone), statistics, share)
            model = torch.nn.Sequential(backbone, network.pool_layer)
            fast = fast_inference(model, (8, *images.shape[1:]), known=("fused", 4), bfloat16=True)
            features = torch.cat([fast(part) for part in torch.split(images, 8)])
            self.features[share] = (features - features.mean(0)) / features.std(0).clamp_min(1e-5)

    def joined(self, shares: tuple[float, ...]) -> torch.Tensor:
        """Returns the features with several shares side by side, whose norms are those of one alone."""
        return torch.cat([self.features[share] for share in shares], dim=1).div(len(shares) ** 0.5)


def measured(source: Domain, target: Domain, shares: tuple[float, ...]) -> tuple[float, float]:
    """Returns the accuracy on the target in percent, and the information of the predictions, which needs no label."""
    model = LogisticRegression(C=0.01, max_iter=300).fit(source.joined(shares).numpy(), source.labels.numpy())
    p = torch.from_numpy(model.predict_proba(target.joined(shares).numpy())).clamp_min(1e-9)
    mean = p.mean(dim=0)
    information = (p * p.log()).sum(dim=1).mean() - (mean * mean.log()).sum()
    accuracy = (p.argmax(dim=1) == target.labels).double().mean()
    return 100 * accuracy.item(), information.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of families of domains")
    data: Path = parser.parse_args().data
    torch.set_num_threads(1)
    columns = [*(f"share {share:g}: accuracy, information" for share in SHARES), "0 and 0.3 joined"]
    print("| direction | farther distance |", " | ".join(columns), "|")
    print("| --- | ---: |", " | ".join("---:" for _ in columns), "|")
    for family in sorted(each for each in data.iterdir() if each.is_dir()):
        domains = {each.name: Domain(each) for each in sorted(family.iterdir()) if each.is_dir()}
        for source, target in permutations(domains, 2):
            pair = domains[source], domains[target]
            cells = [measured(*pair, shares) for shares in (*((share,) for share in SHARES), JOINED)]
            distance = max(each.distance for each in pair)
            row = " | ".join(f"{accuracy:.1f}, {information:.2f}" for accuracy, information in cells)
            print(f"| {family.name}, {source} -> {target} | {distance:.2f} | {row} |", flush=True)


if __name__ == "__main__":
    main()
