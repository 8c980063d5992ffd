"""Noise and left-out values of rows of a table."""

import pytest
import torch

from dalib.augment.tables import FeatureMask, FeatureNoise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_is_of_each_features_own_spread():
    std = torch.tensor([1.0, 10.0, 0.0])
    rows = torch.full((20000, 3), 5.0)
    changed = FeatureNoise(0.2, std)(rows, seeded())
    torch.testing.assert_close(changed.mean(dim=0), rows[0], atol=0.05, rtol=0)
    torch.testing.assert_close(changed.std(dim=0), 0.2 * std, atol=0.02, rtol=0.02)
    assert torch.equal(changed[:, 2], rows[:, 2])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_left_out_values_are_the_mean_and_as_many_as_asked_for(share):
    mean = torch.tensor([-1.0, -2.0])
    changed = FeatureMask(share, mean)(torch.ones(20000, 2), seeded())
    left_out = changed == mean
    assert ((changed == 1) | left_out).all()
    torch.testing.assert_close(left_out.float().mean(dim=0), torch.full((2,), share), atol=0.02, rtol=0)
    assert (left_out[:, 0] != left_out[:, 1]).any()  # each value by itself


@pytest.mark.parametrize("view", [FeatureNoise(0.5, torch.ones(3)), FeatureMask(0.5, torch.zeros(3))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_view_depends_on_its_generator_alone_and_keeps_shape_type_and_input(view, dtype):
    rows = torch.ones(40, 3, dtype=dtype)
    first, again, other = (view(rows, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (rows.shape, dtype)
    assert torch.equal(rows, torch.ones(40, 3, dtype=dtype))


@pytest.mark.parametrize("view", [FeatureNoise(0.0, torch.ones(2)), FeatureMask(0.0, torch.zeros(2))])
def test_0_changes_nothing(view):
    rows = torch.rand(5, 2, generator=seeded())
    assert torch.equal(view(rows, seeded()), rows)
