"""A step takes different stored views of an image, each image for itself."""

import pytest
import torch

from dalib.augment.stored import RandomStoredViews, Standardized, StoredView

FEATURES = torch.arange(3 * 5).view(3, 5, 1).expand(3, 5, 2).half()  # image 0 has views 0 to 4, image 1 5 to 9, ...


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return RandomStoredViews(count)(FEATURES, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_views_are_of_their_image_and_differ(count):
    for seed in range(20):
        views = drawn(count, seed)
        assert views.shape == (3, count, 2)
        assert views.dtype == torch.float16
        assert (views[..., 0] // 5 == torch.arange(3)[:, None]).all()
        assert all(len(row.unique()) == count for row in views[..., 0])
        assert torch.equal(views[..., 0], views[..., 1])  # a view stays whole


def test_each_image_draws_for_itself_and_every_pair_comes():
    pairs = torch.stack([drawn(2, seed)[..., 0] % 5 for seed in range(600)])
    assert (pairs[:, 0] != pairs[:, 1]).any(dim=1).float().mean() > 0.9
    assert len({tuple(pair) for pair in pairs[:, 0].tolist()}) == 20
    shares = torch.bincount(pairs[:, 0, 0].long(), minlength=5) / 600
    assert (shares - 0.2).abs().max() < 0.06


def test_the_generator_decides():
    assert torch.equal(drawn(2, 3), drawn(2, 3))
    assert not torch.equal(drawn(2, 3), drawn(2, 4))


def test_without_a_count_all_views_come_in_random_order():
    shuffled = RandomStoredViews()(FEATURES, torch.Generator().manual_seed(0))[..., 0]
    assert torch.equal(shuffled.sort(dim=1).values, FEATURES[..., 0])
    assert len({tuple(row) for row in (shuffled % 5).tolist()}) > 1
    assert torch.equal(shuffled[:, :2], drawn(2)[..., 0])


def test_too_few_views_are_refused():
    with pytest.raises(ValueError, match="at least 6 views of each image, got 5"):
        drawn(6)


def test_one_view_is_taken_as_float():
    view = StoredView(2)(FEATURES, torch.Generator())
    assert view.dtype == torch.float32
    assert view[:, 0].tolist() == [2, 7, 12]


def test_features_are_standardised_by_what_is_given():
    standardized = Standardized(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
    assert standardized(torch.tensor([[[3.0, 2.0]]])).tolist() == [[[1.0, 0.0]]]
