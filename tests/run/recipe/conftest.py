"""A source-only model, which tests of what is made of it share."""

import pytest
import torch

from dalib.engine.results import InMemory
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.shared_inputs import training_inputs
from dalib.run.recipe.task import Task, train_task
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import changed
from dalib.run.start.domains import open_domains

CPU = torch.device("cpu")


@pytest.fixture(scope="package")
def made():
    """The source-only model of a small network with batch normalisation, and what it was trained on."""
    config = TrainConfig(steps=4, batch=16)
    for setting, value in {"data.validation_share": 0.1, "every.evaluate": 4}.items():
        config = changed(config, setting.split("."), value, setting)
    preprocessing = image_network.make_preprocessing(config)
    request = recipe.make_data_request(config)
    images = image_network.image_inputs(config, preprocessing)
    inputs = training_inputs(images, request, open_domains(request, preprocessing), CPU)
    name, training = recipe.trainings(config)[0]
    model = train_task(Task(name, training, inputs.domains, inputs.of(name)[0], InMemory()), CPU)
    return RunModels({name: model}), inputs
