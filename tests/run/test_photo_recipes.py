"""The recipes of others for photographs are theirs, setting by setting; ours fit together."""

import pytest
import torch
from torch import nn

from dalib.adaptation.losses import mean_squared_distance, squared_distance
from dalib.augment.geometry import CentreCrop, RandomAffine, RandomCrop
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.presets import from_preset

SOURCE, TARGET, CLASSES = 6, 5, ("a", "b", "c")


def training(preset, **settings):
    config = from_preset(preset, **{"backbone": "test_resnet", "weights": None, "batch": 4, **settings})
    preprocessing = image_network.make_preprocessing(config)
    inputs = image_network.image_inputs(config, preprocessing)
    shape = (3, preprocessing.size, preprocessing.size)
    pixels = torch.randint(0, 256, (SOURCE, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = tuple(map(str, range(SOURCE)))
    source = LabelledImages(pixels, torch.arange(SOURCE) % len(CLASSES), CLASSES, names)
    target = UnlabelledImages(pixels[:TARGET], names[:TARGET])
    made = recipe.make_training(config, inputs, source, target, torch.device("cpu"), steps=100)
    return config, preprocessing, inputs, made


def rates(made):
    return [group["initial_lr"] for group in made.optimizer.param_groups]


def test_transfer_learning_librarys_recipe_is_to_the_letter():
    config, preprocessing, inputs, made = training("photo-tllib", init="a-run")  # the backbone counts as pretrained
    assert (preprocessing.size, preprocessing.crop, preprocessing.fit) == (256, 224, "stretch")
    assert type(made.optimizer) is torch.optim.Adam
    assert rates(made) == pytest.approx([1e-5, 1e-4])  # the pretrained backbone at a tenth
    assert made.schedule(1000) == pytest.approx(2**-0.75)
    assert made.method.consistency_loss.distance_measure is squared_distance  # a sum over classes
    assert made.method.consistency_weight == 3.0
    assert made.method.threshold == 0.8
    assert made.method.class_balance_weight == 0.01
    assert made.method.teacher.alpha == 0.99
    assert (from_preset("photo-tllib").batch, config.steps) == (36, 10_000)
    assert isinstance(inputs.views.student.crop, RandomCrop)
    assert inputs.views.source == inputs.views.student
    assert isinstance(inputs.views.teacher.crop, CentreCrop)
    assert inputs.views.teacher.colours == ()


def test_the_papers_recipe_for_photographs_is_to_the_letter():
    config, preprocessing, inputs, made = training("photo-paper", init="a-run")
    assert preprocessing.input_size == 160
    assert type(made.optimizer) is torch.optim.Adam
    assert rates(made) == pytest.approx([1e-6, 1e-5])
    assert made.schedule(1000) == 1
    assert made.method.consistency_loss.distance_measure is mean_squared_distance
    assert made.method.consistency_weight == 10.0
    assert made.method.threshold == 0.9
    # theirs: 0.01 of the sum over classes, times the weight; ours counts the mean
    assert made.method.class_balance_weight == pytest.approx(0.01 * 10 * len(CLASSES))
    assert from_preset("photo-paper").batch == 56
    student = made.method.student
    assert [type(layer).__name__ for layer in student.bottleneck] == ["Linear", "ReLU"]
    assert student.bottleneck[0].out_features == 512
    assert student.backbone.frozen_stages == 2  # the first convolution and the first stage
    assert not next(student.backbone.parameters()).requires_grad
    warp = inputs.views.student.warps[0]
    assert isinstance(warp, RandomAffine)
    assert (warp.rotation_sigma, warp.flip) == (0.2, True)
    assert warp.scale == pytest.approx(4 / 3)
    assert isinstance(inputs.views.common, RandomCrop)
    assert config.model.averaged_views == 16
    assert config.select == "most-confident"


def test_student_and_teacher_of_the_paper_share_the_crop():
    *_, inputs, _ = training("photo-paper")
    rows = torch.arange(176, dtype=torch.uint8).view(1, 1, 1, 176).expand(8, 3, 176, 176).contiguous()
    crop = inputs.views.common(rows, torch.Generator().manual_seed(0))
    assert crop.shape == (8, 3, 160, 160)
    assert len(crop[:, 0, 0, 0].unique()) > 1  # each image its own


@pytest.mark.parametrize("preset", ["photo", "photo-tllib", "photo-paper"])
def test_a_step_of_each_recipe_moves_the_student(preset):
    *_, made = training(preset, **{"data.size": 80, "data.crop": 64})
    batch = made.stream.batch_at(0)
    assert {tuple(view.shape) for view in (batch.source, *batch.target)} == {(4, 3, 64, 64)}
    before = made.method.student.head.weight.detach().clone()
    made.method.loss(batch, 0).total.backward()
    made.optimizer.step()
    assert not torch.equal(before, made.method.student.head.weight)


@pytest.mark.parametrize("frozen_norms", [False, True])
def test_the_normalisation_of_student_and_teacher_rests_where_the_settings_say_so(frozen_norms):
    settings = {"data.size": 80, "data.crop": 64, "model.frozen_norms": frozen_norms}
    *_, inputs, made = training("photo", **settings)
    made.method.loss(made.stream.batch_at(0), 0)
    for network in (made.method.student, made.method.teacher.module):
        of_backbone = [norm for norm in network.backbone.modules() if isinstance(norm, nn.BatchNorm2d)]
        assert {norm.training for norm in of_backbone} == {not frozen_norms}
        assert bool((of_backbone[0].running_mean == 0).all()) == frozen_norms
    assert make_classifier(inputs.architecture, 3).backbone.resting_norms == frozen_norms
    # what was saved before there was the setting
    older = {name: value for name, value in inputs.architecture.to_json().items() if name != "frozen_norms"}
    assert not make_classifier(Architecture.from_json(older), 3).backbone.resting_norms
