"""A batch in parts is the batch; the mean of their losses is the loss."""

import pytest
import torch

from dalib.core.types import Batch, Losses

BATCH = Batch(
    source=torch.arange(7.0).view(7, 1, 1, 1),
    labels=torch.arange(7),
    target=(torch.arange(7.0).view(7, 1, 1, 1) + 10, torch.arange(7.0).view(7, 1, 1, 1) + 20),
)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_together_are_the_batch(count):
    parts = BATCH.split(count)
    assert len(parts) == count
    sizes = [len(part.labels) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([part.source for part in parts]), BATCH.source)
    assert torch.equal(torch.cat([part.labels for part in parts]), BATCH.labels)
    for number, views in enumerate(BATCH.target):
        assert torch.equal(torch.cat([part.target[number] for part in parts]), views)


def test_without_target_views_parts_have_none():
    alone = Batch(BATCH.source, BATCH.labels, ())
    assert [part.target for part in alone.split(2)] == [(), ()]


def test_more_parts_than_images_apart_are_refused_where_there_are_any():
    apart = torch.zeros(2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"count: expected 1 to 2, the images of the batch outside.*got 3"):
        Batch(BATCH.source, BATCH.labels, BATCH.target, apart).split(3)
    none = Batch(BATCH.source, BATCH.labels, BATCH.target, apart[:0])
    assert [len(part.outside) for part in none.split(3)] == [0, 0, 0]


@pytest.mark.parametrize("count", [0, 8])
def test_more_parts_than_images_are_refused(count):
    with pytest.raises(ValueError, match=f"count: expected 1 to 7.*got {count}"):
        BATCH.split(count)


def test_the_mean_is_of_each_part_and_metric():
    several = [
        Losses({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"m": torch.tensor(0.0)}),
        Losses({"a": torch.tensor(3.0), "b": torch.tensor(6.0)}, {"m": torch.tensor(1.0)}),
    ]
    mean = Losses.mean(several, [2, 2])
    assert {name: value.item() for name, value in mean.parts.items()} == {"a": 2, "b": 4}
    assert mean.metrics["m"].item() == 0.5
    assert mean.total.item() == 6
    of_more = Losses.mean(several, [1, 3])
    assert (of_more.parts["a"].item(), of_more.metrics["m"].item()) == (2.5, 0.75)


def test_detached_losses_have_no_graph():
    weight = torch.ones((), requires_grad=True)
    losses = Losses({"a": weight * 2}).detached()
    assert not losses.total.requires_grad
    assert losses.total.item() == 2


@pytest.mark.parametrize("count", [1, 3])
def test_images_apart_are_split_too(count):
    apart = torch.arange(4.0).view(4, 1, 1, 1)
    parts = Batch(BATCH.source, BATCH.labels, BATCH.target, apart).split(count)
    assert torch.equal(torch.cat([part.outside for part in parts]), apart)
    assert all(part.outside is None for part in BATCH.split(count))
