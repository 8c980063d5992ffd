"""Draws a short training, fonts to handwritten digits: student and teacher, and the share of images in the mask.

The labels of the held-out digits serve only to draw the first figure.
"""

import sys

import matplotlib.pyplot as plt
import torch
from _style import BLUE, GREEN, ORANGE, WIDTH, save, styled
from torch import Tensor, nn

from dalib.data.sources import open_labelled, open_source, open_target
from dalib.engine.fit import train_step
from dalib.models.classifier import logits_of
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.config import OptimizerConfig, SelfEnsembleConfig, TrainConfig

STEPS, EVERY, BATCH, SEED = 150, 10, 32, 0
ALPHA, RATE = 0.95, 1e-2  # an average over some twenty steps, of a student that is moved far by each of them


def train() -> dict[str, list[float]]:
    """Trains from random weights, with a high and constant learning rate, and measures at each tenth step."""
    config = TrainConfig(
        steps=STEPS,
        batch=BATCH,
        seed=SEED,
        optimizer=OptimizerConfig(lr=RATE, schedule="constant"),
        self_ensemble=SelfEnsembleConfig(alpha=ALPHA),
    )
    preprocessing = image_network.make_preprocessing(config)
    source = open_source("fonts", preprocessing, seed=SEED)
    target = open_target("digits", preprocessing)
    held_out = open_labelled("digits-held-out", preprocessing, source.classes, argument="--evaluate")
    inputs = image_network.image_inputs(config, preprocessing)
    training = recipe.make_training(config, inputs, source, target, torch.device("cpu"), steps=STEPS)
    images = preprocessing.normalize(held_out.images[torch.arange(len(held_out.labels))])
    course: dict[str, list[float]] = {name: [] for name in ("step", "student", "teacher", "mask_rate", "agreement")}
    torch.manual_seed(SEED)
    for step in range(STEPS):
        losses = train_step(training, step)
        if (step + 1) % EVERY == 0:
            course["step"].append(step + 1)
            course["student"].append(accuracy(training.method.student, images, held_out.labels))
            course["teacher"].append(accuracy(training.method.predictor(), images, held_out.labels))
            for name in ("mask_rate", "agreement"):
                course[name].append(losses.metrics[name].item() * 100)
    return course


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns percent, with the statistics of these images in batch normalisation; leaves the model as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    modes = [module.training for module in dropouts]
    for module in dropouts:
        module.eval()
    correct = (logits_of(model, images).argmax(dim=1) == labels).float().mean().item()
    for module, mode in zip(dropouts, modes, strict=True):
        module.train(mode)
    model.load_state_dict(before)
    return correct * 100


def draw(folder: str) -> None:
    course = train()
    styled()
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    axes.plot(course["step"], course["student"], color=BLUE, lw=1.3, label="student")
    axes.plot(course["step"], course["teacher"], color=ORANGE, lw=2, label="teacher, its average")
    axes.set(xlabel="step", ylabel="accuracy on held-out digits, %", xlim=(0, STEPS))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderpad=0)
    save(figure, folder, "average")

    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    axes.plot(course["step"], course["mask_rate"], color=GREEN, lw=2, label="mask rate: the teacher is confident")
    axes.plot(course["step"], course["agreement"], color=BLUE, lw=1.3, label="student and teacher agree")
    axes.set(xlabel="step", ylabel="target images of the batch, %", xlim=(0, STEPS), ylim=(0, 102))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderpad=0)
    save(figure, folder, "mask")


if __name__ == "__main__":
    draw(sys.argv[1])
