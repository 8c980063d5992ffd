"""Tests of the split of a backbone into trunk and tail."""

from __future__ import annotations

import pytest
import torch

from dalib.models.pretrained import PretrainedBackbone
from dalib.models.stages import MarkedTail, split_at


@pytest.fixture(scope="module")
def lite() -> PretrainedBackbone:
    torch.manual_seed(0)
    return PretrainedBackbone("tf_efficientnet_lite0", size=32).eval()


@pytest.mark.parametrize(
    ("name", "trained", "maps"),
    [
        ("mobilenetv3_small_050", 1, (288, 1, 1)),
        ("resnet10t", 2, (128, 4, 4)),
        ("convnext_atto", 2, (160, 2, 2)),
    ],
)
def test_the_tail_goes_on_where_the_trunk_ends(name: str, trained: int, maps: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    backbone, images = PretrainedBackbone(name, size=32).eval(), torch.randn(3, 3, 32, 32)
    trunk, tail = split_at(backbone, trained)
    with torch.no_grad():
        between = trunk(images)
        assert between.shape[1:] == maps
        torch.testing.assert_close(tail.eval()(between), backbone(images), rtol=1e-4, atol=1e-5)
    assert tail.out_features == backbone.out_features


def test_the_tail_has_the_last_stages_under_their_names(lite: PretrainedBackbone) -> None:
    _, tail = split_at(lite, 2)
    expected = {f"network.{name}" for stage in lite.stages()[-2:] for name in stage}
    assert {name for name, _ in tail.named_parameters()} == expected
    lite.load_state_dict(tail.state_dict(), strict=False)
    assert tail.state_dict().keys() < lite.state_dict().keys()


def test_what_the_tail_learns_does_not_reach_the_backbone(lite: PretrainedBackbone) -> None:
    before = {name: tensor.clone() for name, tensor in lite.state_dict().items()}
    lite.freeze_stages("all")
    try:
        trunk, tail = split_at(lite, 1)
        tail.train()(trunk(torch.randn(4, 3, 32, 32))).square().mean().backward()
        torch.optim.SGD(tail.parameters(), lr=1.0).step()
    finally:
        lite.freeze_stages(0)
    assert all(parameter.requires_grad for parameter in tail.parameters())
    for name, tensor in lite.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_batch_normalisation_of_the_tail_rests_in_training(lite: PretrainedBackbone) -> None:
    trunk, tail = split_at(lite, 1)
    statistics = {name: tensor.clone() for name, tensor in tail.named_buffers()}
    tail.train()(trunk(torch.randn(4, 3, 32, 32)))
    assert tail.training
    for name, tensor in tail.named_buffers():
        assert torch.equal(tensor, statistics[name]), name


@pytest.mark.parametrize("trained", [0, 8, -1])
def test_a_count_of_stages_that_there_is_not_is_refused(lite: PretrainedBackbone, trained: int) -> None:
    with pytest.raises(ValueError, match="trained: tf_efficientnet_lite0 has 8 stages; expected 1 to 7 of them"):
        split_at(lite, trained)


def test_a_network_that_does_more_than_call_its_layers_is_refused() -> None:
    backbone = PretrainedBackbone("test_vit", size=32)
    with pytest.raises(ValueError, match="does not call its layers one after the other"):
        split_at(backbone, 1)


def test_marked_maps_are_standardised_by_their_own_domain(lite: PretrainedBackbone) -> None:
    trunk, tail = split_at(lite, 1)
    means = torch.stack([torch.zeros(tail.out_features), torch.full((tail.out_features,), 2.0)])
    deviations = torch.stack([torch.ones(tail.out_features), torch.full((tail.out_features,), 4.0)])
    marked = MarkedTail(tail, means, deviations)
    with torch.no_grad():
        maps = trunk(torch.randn(3, 3, 32, 32))
        features = tail(maps)
        marks = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, *maps.shape[2:])
        found = marked(torch.cat([maps, marks], dim=1))
    torch.testing.assert_close(found[0], features[0])
    torch.testing.assert_close(found[1:], (features[1:] - 2) / 4)
    assert marked.state_dict().keys() == tail.state_dict().keys()


def test_marked_maps_without_statistics_are_taken_as_they_are(lite: PretrainedBackbone) -> None:
    trunk, tail = split_at(lite, 1)
    with torch.no_grad():
        maps = trunk(torch.randn(2, 3, 32, 32))
        found = MarkedTail(tail)(torch.cat([maps, torch.full_like(maps[:, :1], 2.0)], dim=1))
        torch.testing.assert_close(found, tail(maps))
