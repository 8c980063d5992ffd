"""No step of a training computes in float64, which mps does not have."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dalib.core.seeds import generator_for
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.engine.features import extract_features
from dalib.engine.fit import train_step
from dalib.engine.predict import predict_probabilities
from dalib.models.averaged import AveragedViews
from dalib.run.features.inputs import feature_inputs
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.config import MethodName
from dalib.run.settings.presets import configured

CPU = torch.device("cpu")
METHODS = [("source-only", 0.0)]
METHODS += [(method, masked) for method in MethodName.__args__ for masked in (0.0, 1.0) if method != "source-only"]


class WithoutFloat64(TorchDispatchMode):
    """Refuses operations that take or give float64, as mps does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, found)):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64:
                raise TypeError(f"{function}: Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_float64_would_be_found():
    with pytest.raises(TypeError, match="float64"), WithoutFloat64():
        torch.zeros(2).double()


def made(config, inputs, pixels):
    names, labels = tuple(map(str, range(len(pixels)))), torch.arange(len(pixels)) % 3
    source = LabelledImages(pixels, labels, names[:3], names)
    prior = None if config.prior == "uniform" else torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    target, initial = UnlabelledImages(pixels, names), recipe.Initial(prior=prior)
    return recipe.make_training(config, inputs, source, target, CPU, steps=2, initial=initial)


@pytest.mark.parametrize(("method", "masked"), METHODS)
def test_steps_of_every_method(method, masked):
    prior = {"prior": "source"} if method in ("self-ensemble",) else {}
    more = {"masked_consistency.weight": masked, "data.size": 16, "batch": 6, "views.student": "tfa-intensity", **prior}
    config = configured(None, {"method": method, "optimizer.schedule": "one-cycle", **more})
    inputs = image_network.image_inputs(config, image_network.make_preprocessing(config))
    training = made(config, inputs, torch.randint(0, 256, (12, 1, 16, 16), dtype=torch.uint8))
    with WithoutFloat64():
        for step in range(2):
            losses = train_step(training, step)
        predicted = predict_probabilities(training.method.predictor(), training.stream.target, inputs.plain, device=CPU)
    assert losses.total.dtype == torch.float32
    assert predicted.shape == (12, 3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_on_photographs_and_on_features(precision):
    more = {"data.size": 36, "data.crop": 32, "batch": 6, "precision": precision, "backbone": "test_resnet"}
    config = configured("photo", more)
    inputs = image_network.image_inputs(config, image_network.make_preprocessing(config))
    pixels = torch.randint(0, 256, (12, 3, 36, 36), dtype=torch.uint8)
    training = made(config, inputs, pixels)
    student = training.method.student
    with WithoutFloat64():
        train_step(training, 0)
        views = [inputs.views.student, inputs.views.teacher]
        features = extract_features(student.backbone.eval(), pixels, views, device=CPU, seed=0)
        predict_probabilities(AveragedViews(student, 3, flip=True), pixels, inputs.plain, device=CPU)
    config = configured("photo-features", {**more, "weights": "unused.safetensors", "features": 2})
    architecture = image_network.image_inputs(config, image_network.make_preprocessing(config)).architecture
    training = made(config, feature_inputs(architecture, features.shape[2]), features)
    with WithoutFloat64():
        assert train_step(training, 0).total.isfinite()


def test_a_generator_belongs_to_a_device_and_is_seeded_the_same_way():
    first, again = (torch.rand(3, generator=generator_for("cpu", 0, "views", 1)) for _ in range(2))
    assert torch.equal(first, again)
