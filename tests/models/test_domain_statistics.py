"""A domain's own statistics in the batch normalisation of a network."""

import pytest
import torch
from torch import nn

from dalib.core import devices
from dalib.models.domain_statistics import (
    distance_of_statistics,
    mixed_statistics,
    normalisation_statistics,
    with_statistics,
)


def network_of():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU()
    )
    for norm in (network[1], network[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.num_batches_tracked.fill_(7)
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 + 0.5


def test_each_layer_mixes_what_reaches_it_through_the_mixtures_before_it(images):
    network, share = network_of(), 0.3
    mixed = mixed_statistics(network, [images], share)
    changed = with_statistics(network, mixed)
    with torch.no_grad():
        for place in (1, 4):
            reaching = changed[:place](images)
            mean, variance = reaching.mean((0, 2, 3)), reaching.var((0, 2, 3), correction=0)
            old, new = network[place], changed[place]
            torch.testing.assert_close(new.running_mean, 0.7 * old.running_mean + 0.3 * mean)
            torch.testing.assert_close(new.running_var, 0.7 * old.running_var + 0.3 * variance)


def test_statistics_are_the_same_where_the_device_has_no_float64(images, monkeypatch):
    expected = mixed_statistics(network_of(), [images[:4], images[4:], images[:1, :, :5, :5]], 0.3)
    on_host: list[torch.Tensor] = []

    def cpu(values: torch.Tensor) -> torch.Tensor:
        on_host.append(values.clone())
        return on_host[-1]

    def double(values: torch.Tensor) -> torch.Tensor:
        if not any(values is each for each in on_host):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return values.to(torch.float64)

    monkeypatch.setattr(devices, "LACKING", ("cpu",))
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", double)
    mixed = mixed_statistics(network_of(), [images[:4], images[4:], images[:1, :, :5, :5]], 0.3)
    assert all(torch.equal(mixed[name], each) for name, each in expected.items())
    assert distance_of_statistics(normalisation_statistics(network_of()), mixed, 0.3) > 0


def test_all_of_the_domain_is_what_training_mode_takes(images):
    network = network_of()
    own = mixed_statistics(network, [images], 1.0)
    network.train()
    for norm in (network[1], network[4]):
        norm.momentum = 1.0
    with torch.no_grad():
        network(images)
    counts = [images.shape[0] * 36, images.shape[0] * 16]  # torch keeps the unbiased variance
    for place, count in zip((1, 4), counts, strict=True):
        torch.testing.assert_close(own[f"{place}.running_mean"], network[place].running_mean)
        torch.testing.assert_close(own[f"{place}.running_var"] * count / (count - 1), network[place].running_var)


def test_batches_of_the_first_layer_add_up_to_all_images(images):
    whole, parts = (mixed_statistics(network_of(), torch.split(images, size), 0.5) for size in (6, 4))
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(parts[name], whole[name])


def test_no_share_gives_the_networks_own_statistics_and_nothing_is_changed(images):
    network = network_of()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert all(torch.equal(each, before[name]) for name, each in mixed_statistics(network, [images], 0.0).items())
    mixed_statistics(network, [images], 0.7)
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    assert not any(norm._forward_pre_hooks for norm in network)


def test_a_network_without_batch_normalisation_has_no_statistics():
    assert normalisation_statistics(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))) == {}
    assert normalisation_statistics(nn.BatchNorm2d(3, track_running_stats=False)) == {}


def test_what_cannot_be_mixed_is_refused(images):
    with pytest.raises(ValueError, match=r"share: expected 0 to 1, got 1\.5"):
        mixed_statistics(network_of(), [images], 1.5)
    with pytest.raises(ValueError, match="batches: expected at least one image"):
        mixed_statistics(network_of(), [], 0.5)
    with pytest.raises(ValueError, match="statistics: expected those of the network, 4 tensors, got 1"):
        with_statistics(network_of(), {"1.running_mean": torch.zeros(4)})
