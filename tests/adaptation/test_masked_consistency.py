"""Masked consistency against its equation, written again in NumPy."""

import pytest
import torch
from equations import cross_entropy, image_batch, image_student, logits_of, softmax
from torch import nn

from dalib.adaptation.masked_consistency import MaskedConsistency, MaskedConsistencyConfig, masked
from dalib.adaptation.mcc import Mcc
from dalib.adaptation.source_only import SourceOnly
from dalib.core.types import Batch


def test_whole_patches_are_hidden_each_image_by_itself():
    torch.manual_seed(0)
    hidden = masked(torch.ones(200, 2, 8, 8), ratio=0.7, patch=0.25)
    patches = hidden.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert torch.equal(patches.amin(dim=4), patches.amax(dim=4))
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert hidden.mean().item() == pytest.approx(0.3, abs=0.03)
    assert not torch.equal(hidden[0], hidden[1])


@pytest.mark.parametrize("patch", [MaskedConsistencyConfig().patch, MaskedConsistency(Mcc(image_student())).patch])
def test_the_authors_patches_are_a_grid_of_four_by_four(patch):
    torch.manual_seed(0)
    hidden = masked(torch.ones(50, 1, 8, 8), ratio=0.5, patch=patch)[:, 0]
    patches = hidden.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    assert torch.equal(patches.amin(dim=3), patches.amax(dim=3))
    assert len(patches[..., 0].flatten(1).T.unique(dim=0)) == 16


def test_features_have_no_patches():
    with pytest.raises(ValueError, match="N, C, H, W"):
        masked(torch.ones(3, 5), 0.5, 0.5)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_masked_consistency_is_its_equation_beside_the_method(threshold):
    batch = image_batch()
    method = MaskedConsistency(Mcc(image_student()), weight=2.0, threshold=threshold, patch=0.25)
    batch = Batch(batch.source, batch.labels, batch.target[:1])
    q = softmax(logits_of(method.teacher.module, batch.target[0]))
    torch.manual_seed(3)
    z = logits_of(method.student, masked(batch.target[0], 0.7, 0.25))
    expected = 2 * (q.max(axis=1) > threshold).mean() * cross_entropy(z, q.argmax(axis=1)).mean()
    torch.manual_seed(3)
    losses = method.loss(batch, step=0)
    assert losses.parts["masked"].item() == pytest.approx(expected, rel=1e-6)
    alone = Mcc(image_student()).loss(batch, step=0)
    for name, part in alone.parts.items():
        assert losses.parts[name].item() == pytest.approx(part.item())


def test_a_method_without_target_views_is_given_none_of_them():
    method = MaskedConsistency(SourceOnly(image_student()))
    assert method.target_views == 1
    assert tuple(method.loss(image_batch(1), step=0).parts) == ("supervised", "masked")


def test_its_teacher_has_no_dropout_and_goes_on_after_a_stop():
    def make():
        return MaskedConsistency(SourceOnly(nn.Sequential(nn.Dropout(0.5), *image_student()).double()))

    method = make()
    assert not method.teacher.module[0].training
    assert method.teacher.module.training
    with torch.no_grad():
        method.student[2].weight += 1
    method.after_step(0)
    other = make()
    other.load_state_dict(method.state_dict())
    assert other.teacher.updates == 1
    assert torch.equal(other.teacher.module[2].weight, method.teacher.module[2].weight)


@pytest.mark.parametrize("settings", [{"ratio": 1.0}, {"patch": 0.0}, {"weight": -1.0}, {"threshold": 1.5}])
def test_masked_consistency_refuses_settings_out_of_range_by_name(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got {value}$"):
        MaskedConsistency(SourceOnly(image_student()), **settings)
