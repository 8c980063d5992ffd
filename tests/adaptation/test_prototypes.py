import numpy as np
import pytest
import torch
from torch import nn

from dalib.adaptation.prototypes import MOMENTUM, ClassPrototypes
from dalib.adaptation.self_ensemble import ImageClassifier, SelfEnsemble
from dalib.core.types import Batch

CLASSES = 3


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, CLASSES)), generator.normal(size=(n, 5))


def classifier() -> ImageClassifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    backbone.out_features = 6
    return ImageClassifier(backbone, CLASSES, bottleneck_dim=5)


def method_of(prototypes: float = 0.5, **settings) -> SelfEnsemble:
    return SelfEnsemble(classifier(), CLASSES, prototypes=prototypes, **{"threshold": 0.0} | settings)


def batch_of(seed: int = 0) -> Batch:
    source, first, second = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(seed))
    return Batch(source=source, labels=torch.arange(6) % CLASSES, target=(first, second))


def test_two_batches_equal_numpy():
    prototypes = ClassPrototypes(CLASSES, share=0.3, temperature=0.2)
    sums = None
    for seed in (0, 1):
        logits, features = drawn(7, seed)
        q = softmax(logits)
        directions = features / np.linalg.norm(features, axis=1, keepdims=True)
        new = q.T @ directions / 7
        sums = new if sums is None else MOMENTUM * sums + (1 - MOMENTUM) * new
        cosines = directions @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T
        expected = 0.7 * q + 0.3 * softmax(cosines / 0.2)
        refined = prototypes.refined(torch.from_numpy(logits), torch.from_numpy(features))
        np.testing.assert_allclose(refined.exp().numpy(), expected, rtol=1e-9)


def test_without_a_share_the_teacher_is_left_as_it_is():
    logits, features = map(torch.from_numpy, drawn(7, 0))
    torch.testing.assert_close(
        ClassPrototypes(CLASSES, share=0.0).refined(logits, features).exp(), logits.softmax(dim=1)
    )


def test_a_cluster_that_the_classifier_cuts_through_gets_one_class():
    features = torch.tensor([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 10)
    logits = torch.zeros(20, 2)
    logits[:10, 0] = logits[10:, 1] = 2.0
    logits[8:10] = torch.tensor([0.0, 0.5])  # two of the first ten on the wrong side of the boundary
    refined = ClassPrototypes(2, share=0.5).refined(logits, features)
    assert logits[:10].argmax(dim=1).tolist() == [0] * 8 + [1] * 2
    assert refined.argmax(dim=1).tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_features_of_length_0_stay_finite(dtype):
    logits = torch.tensor([[80.0, -80.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype)
    refined = ClassPrototypes(CLASSES, share=0.5).refined(logits, torch.zeros(2, 4, dtype=dtype))
    assert refined.dtype == torch.float32
    assert refined.isfinite().all()
    torch.testing.assert_close(refined.exp().sum(dim=1), torch.ones(2))


def test_autocast_changes_nothing():
    torch.manual_seed(0)
    batches = [(torch.randn(6, CLASSES), torch.randn(6, 5)) for _ in range(3)]
    plain, under = ClassPrototypes(CLASSES), ClassPrototypes(CLASSES)
    for logits, features in batches:
        expected = plain.refined(logits, features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            refined = under.refined(logits, features)
        assert torch.equal(refined, expected)
    assert under.sums.dtype == torch.float32
    assert torch.equal(under.sums, plain.sums)


def test_the_refined_target_has_no_gradient():
    logits, features = torch.randn(4, CLASSES, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    assert not ClassPrototypes(CLASSES).refined(logits, features).requires_grad


@pytest.mark.parametrize(("share", "temperature"), [(-0.1, 0.1), (1.1, 0.1), (float("nan"), 0.1), (0.5, 0.0)])
def test_settings_out_of_range_are_refused(share, temperature):
    with pytest.raises(ValueError, match="share, temperature: expected"):
        ClassPrototypes(CLASSES, share=share, temperature=temperature)


# --- in the method


def test_the_consistency_is_with_the_refined_target():
    with_prototypes, without = method_of(0.5), method_of(0.0)
    assert without.prototypes is None
    batch = batch_of()
    ours, plain = (method.loss(batch, step=0) for method in (with_prototypes, without))
    assert ours.parts["consistency"] != plain.parts["consistency"]
    assert ours.parts["supervised"] == plain.parts["supervised"]
    with torch.no_grad():
        by_hand = ClassPrototypes(CLASSES, share=0.5).refined(*with_prototypes.teacher(batch.target[1]))
    student, _ = with_prototypes.student(batch.target[0])
    expected = 3.0 * (student.softmax(dim=1) - by_hand.exp()).square().mean(dim=1).mean()
    torch.testing.assert_close(ours.parts["consistency"], expected)


def test_prototypes_go_on_after_a_stop():
    method, gone_on = method_of(), method_of()
    for seed in range(3):
        method.loss(batch_of(seed), step=seed)
    gone_on.load_state_dict(method.state_dict())
    assert method.loss(batch_of(3), step=3).total == gone_on.loss(batch_of(3), step=3).total


def test_a_checkpoint_without_prototypes_begins_them_anew():
    method = method_of()
    method.load_state_dict(method_of(0.0).state_dict())
    assert method.prototypes.sums is None
    assert method.loss(batch_of(), step=0).total.isfinite()


def test_a_student_without_features_is_told_apart():
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES))
    method = SelfEnsemble(student, CLASSES, prototypes=0.5)
    with pytest.raises(TypeError, match=r"\(logits, features\).*got none from Sequential"):
        method.loss(batch_of(), step=0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused_by_its_name(share):
    with pytest.raises(ValueError, match="prototypes: expected a share"):
        method_of(share)
