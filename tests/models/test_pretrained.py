import copy
import subprocess
import sys
from itertools import chain

import pytest
import timm
import torch
from torch import nn

from dalib.adaptation.self_ensemble import EmaTeacher
from dalib.models.classifier import ImageClassifier
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.run.recipe import image_network

SMALL = "resnet10t"


def images(n: int = 2, channels: int = 3, size: int = 32, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)


def norms(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("resnet10t", 3, 32),
        ("mobilenetv3_small_050", 1, 32),  # its num_features is 288, and its features are 1024
        ("tf_efficientnet_lite0", 3, 64),
        ("vit_tiny_patch16_224", 3, 32),
        ("vit_tiny_patch16_224", 1, 48),
    ],
)
def test_features_have_the_width_that_is_said(name, channels, size):
    backbone = PretrainedBackbone(name, channels, size)
    assert backbone.training
    assert backbone(images(2, channels, size)).shape == (2, backbone.out_features)
    assert ImageClassifier(backbone, 5).eval()(images(2, channels, size)).shape == (2, 5)


def test_the_width_of_mobilenet_is_not_what_timm_calls_its_features():
    backbone = PretrainedBackbone("mobilenetv3_small_050", size=32)
    assert (backbone.out_features, backbone.network.num_features) == (1024, 288)


def test_measuring_the_width_leaves_the_statistics_alone():
    assert all((norm.running_mean == 0).all() for norm in norms(PretrainedBackbone(SMALL, size=32)))


def test_preprocessing_is_that_of_timms_weights():
    lite = pretrained_settings("tf_efficientnet_lite0")
    assert (lite.mean, lite.std, lite.interpolation, lite.input_size) == ((0.5,) * 3, (0.5,) * 3, "bicubic", 224)
    assert pretrained_settings("resnet50").mean == (0.485, 0.456, 0.406)
    backbone = PretrainedBackbone(SMALL, size=32)
    assert backbone.input_size == (3, 176, 176)
    assert (backbone.mean, backbone.interpolation) == ((0.485, 0.456, 0.406), "bicubic")
    assert PretrainedBackbone(SMALL, 1, 32).mean == pytest.approx((0.449,), abs=1e-3)


@pytest.mark.parametrize("make", [pretrained_settings, PretrainedBackbone])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rensnet50", "did you mean resnet50"),
        ("efficientnetlite0", "efficientnet_lite0"),
        ("", "list_models"),
        ("resnet50.unheard_of", "Invalid pretrained tag"),
    ],
)
def test_unknown_names_are_answered_with_the_closest(make, name, message):
    with pytest.raises(ValueError, match=message):
        make(name)


@pytest.mark.parametrize(("channels", "size"), [(0, 32), (3, 0), (3, -1)])
def test_sizes_below_1_are_refused(channels, size):
    with pytest.raises(ValueError, match="expected at least 1"):
        PretrainedBackbone(SMALL, channels, size)


def test_no_pretrained_weights_are_asked_for(monkeypatch):
    asked = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **more: asked.append(more) or create(*args, **more))
    PretrainedBackbone(SMALL, size=32)
    assert {one["pretrained"] for one in asked} == {False}


def test_timm_is_imported_only_when_it_is_needed():
    code = "import dalib.models.pretrained, dalib.models.weights, sys; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- frozen stages


@pytest.mark.parametrize(("name", "size"), [(SMALL, 32), ("vit_tiny_patch16_224", 32), ("tf_efficientnet_lite0", 32)])
def test_stages_hold_every_parameter_once_from_the_stem_on(name, size):
    backbone = PretrainedBackbone(name, size=size)
    stages = backbone.stages()
    parameters = [parameter for parameter, _ in backbone.network.named_parameters()]
    assert sorted(chain.from_iterable(stages)) == sorted(parameters)
    assert parameters[0] in stages[0]
    assert parameters[-1] in stages[-1]


def test_the_stem_and_the_first_stage_of_a_resnet_can_be_frozen():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.freeze_stages(2)
    frozen = {name.split(".")[0] for name, one in backbone.network.named_parameters() if not one.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    backbone.train()
    resting = {name.split(".")[0] for name, one in backbone.network.named_modules() if one in norms(backbone)}
    assert {name for name in resting if not any(n.training for n in norms(backbone.network.get_submodule(name)))} == {
        "conv1",
        "bn1",
        "layer1",
    }


@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224"])
@pytest.mark.parametrize("count", [0, 1, 3, "all"])
def test_frozen_parameters_are_those_of_the_first_stages(name, count):
    backbone = PretrainedBackbone(name, size=32)
    backbone.freeze_stages(count)
    stages = backbone.stages()
    expected = set(chain.from_iterable(stages if count == "all" else stages[:count]))
    assert {n for n, one in backbone.network.named_parameters() if not one.requires_grad} == expected


def test_a_frozen_backbone_stays_as_it_is_in_training():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.freeze_stages("all")
    backbone.eval().train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(images())
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_what_is_frozen_no_more_learns_again():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.freeze_stages("all")
    backbone.freeze_stages(0)
    assert all(one.requires_grad for one in backbone.parameters())
    assert all(norm.training for norm in norms(backbone))


@pytest.mark.parametrize("count", [-1, 6])
def test_numbers_of_stages_that_there_are_not_are_refused(count):
    with pytest.raises(ValueError, match="5 stages"):
        PretrainedBackbone(SMALL, size=32).freeze_stages(count)


def test_the_frozen_part_of_a_teacher_stays_in_evaluation_mode():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.freeze_stages(2)
    student = ImageClassifier(backbone, 3)
    teacher = EmaTeacher(student, 0.9)
    teacher.train()
    teacher(images())
    teacher.update()
    copied = teacher.module.backbone
    assert copied is not backbone
    assert not copied.network.bn1.training
    assert copied.network.layer4[0].bn1.training
    assert torch.equal(copied.network.bn1.running_mean, torch.zeros(64))


# --- normalisation at rest


def test_normalisation_at_rest_makes_features_independent_of_the_batch():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.rest_norms()
    backbone.eval().train()
    before = copy.deepcopy(backbone.state_dict())
    whole, alone = backbone(images(4)), backbone(images(4)[:1])
    assert backbone.training
    torch.testing.assert_close(whole[:1], alone)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_scale_and_shift_learn_while_the_statistics_rest():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.freeze_stages(2)
    backbone.rest_norms()
    backbone.train()
    backbone(images()).square().sum().backward()
    assert backbone.network.bn1.weight.grad is None  # of a frozen stage
    assert backbone.network.layer4[0].bn2.weight.grad.abs().sum() > 0
    assert not any(norm.training for norm in norms(backbone))


def test_normalisation_at_rest_can_be_woken_up_to_the_frozen_stages():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.rest_norms()
    backbone.freeze_stages(2)  # the order does not matter
    assert not any(norm.training for norm in norms(backbone))
    backbone.rest_norms(False)
    assert not backbone.network.bn1.training
    assert backbone.network.layer4[0].bn1.training


def test_the_normalisation_of_a_teacher_rests_too():
    backbone = PretrainedBackbone(SMALL, size=32)
    backbone.rest_norms()
    teacher = EmaTeacher(ImageClassifier(backbone, 3, 4), 0.9).eval().train()
    teacher(images())
    copied = teacher.module.backbone
    assert copied is not backbone
    assert not any(norm.training for norm in norms(copied))
    assert all((norm.running_mean == 0).all() for norm in norms(copied))
    assert all(norm.training for norm in norms(teacher.module.bottleneck))  # only the backbone's


# --- checkpointing


def after_a_step(backbone: nn.Module, size: int) -> tuple[dict, dict]:
    backbone.train()
    backbone(images(4, size=size, dtype=torch.float64)).square().sum().backward()
    gradients = {name: one.grad for name, one in backbone.named_parameters() if one.grad is not None}
    return gradients, dict(backbone.state_dict())


@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224"])
@pytest.mark.parametrize("copied", [False, True])
def test_checkpointing_changes_neither_gradients_nor_statistics(name, copied):
    plain = PretrainedBackbone(name, size=32).double()
    saving = PretrainedBackbone(name, size=32, checkpointing=True).double()
    saving.load_state_dict(plain.state_dict())
    saving = copy.deepcopy(saving) if copied else saving
    for _ in range(2):
        gradients, state = after_a_step(plain, 32)
        others, other_state = after_a_step(saving, 32)
    assert gradients.keys() == others.keys()
    for one, other in ((gradients, others), (state, other_state)):
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, msg=key)
    assert all(norm.momentum == 0.1 for norm in norms(saving))


def test_checkpointing_counts_once_with_synchronised_norms_too():
    student = ImageClassifier(PretrainedBackbone(SMALL, size=32, checkpointing=True), 3)
    before = [(len(norm._forward_pre_hooks), len(norm._forward_hooks)) for norm in norms(student.backbone)]
    found = image_network.with_synchronized_norms(student, torch.device("cuda"))
    after = [(len(norm._forward_pre_hooks), len(norm._forward_hooks)) for norm in norms(found.backbone)]
    assert before == after == [(1, 1)] * len(before)
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms(found.backbone))


def test_without_the_hooks_a_batch_would_count_twice():
    """Says what the hooks are for: where this fails, torch has mended it and they can go."""
    saving = PretrainedBackbone(SMALL, size=32, checkpointing=True).double()
    for norm in norms(saving):
        norm._forward_pre_hooks.clear()
    _, state = after_a_step(saving, 32)
    assert 2 in {int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}


def test_checkpointing_where_there_is_none_is_refused(monkeypatch):
    def refuse(network, enable=True):
        assert not enable

    monkeypatch.setattr(timm.models.resnet.ResNet, "set_grad_checkpointing", refuse)
    with pytest.raises(ValueError, match="checkpointing: resnet10t has none"):
        PretrainedBackbone(SMALL, size=32, checkpointing=True)
