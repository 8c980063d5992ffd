"""Several backbones as one network."""

import pytest
import torch
from torch import nn

from dalib.models.architecture import BackboneInput
from dalib.models.domain_statistics import normalisation_statistics
from dalib.models.joined import JoinedBackbone, OwnInput, largest, stands_twice, with_statistics_of_first_half

SMALL = BackboneInput(4, (0.2, 0.4, 0.6), (0.5, 0.25, 0.2))
LARGE = BackboneInput(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Brightness(nn.Module):
    """Features (N, 3 + 1): the mean of each channel, and the size of the images that it was given."""

    out_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.resting = None, None

    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), torch.full((len(images), 1), float(images.shape[-1]))], dim=1)

    def freeze_stages(self, count):
        self.frozen = count

    def rest_norms(self, resting=True):
        self.resting = resting


@pytest.fixture
def joined():
    return JoinedBackbone([Brightness(), Brightness()], [SMALL, LARGE])


def normalized(pixels, to):
    return (pixels - torch.tensor(to.mean).view(1, 3, 1, 1)) / torch.tensor(to.std).view(1, 3, 1, 1)


def test_each_backbone_sees_its_own_size_and_normalisation(joined):
    pixels = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    features = joined(normalized(pixels, LARGE))
    assert joined.out_features == 8
    assert torch.allclose(features[:, :3], torch.tensor([-0.2, 0.4, 1.5]).expand(2, 3), atol=1e-6)
    assert torch.allclose(features[:, 4:7], torch.tensor([-0.8, 0, 0.8]).expand(2, 3), atol=1e-6)
    assert features[0, [3, 7]].tolist() == [4, 8]


def test_scaling_agrees_with_interpolation():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scaled = OwnInput(LARGE, BackboneInput(5, LARGE.mean, LARGE.std))(images)
    expected = nn.functional.interpolate(images, size=(5, 5), mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(scaled, expected, atol=1e-5)


def test_the_same_input_is_passed_on_unchanged():
    images = torch.rand(2, 3, 8, 8)
    assert OwnInput(LARGE, LARGE)(images) is images


def test_separate_backbones_have_the_features_of_the_joined_ones(joined):
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = joined.separate()
    assert second is joined.members[1]  # of the largest size: the features that it has alone
    assert first.out_features == 4
    apart = torch.cat([first(normalized(pixels, SMALL)), second(normalized(pixels, LARGE))], dim=1)
    assert torch.allclose(apart, joined(normalized(pixels, LARGE)), atol=1e-5)


def test_freezing_reaches_all(joined):
    joined.freeze_stages("all")
    joined.rest_norms(False)
    assert [(each.frozen, each.resting) for each in joined.members] == [("all", False)] * 2


def test_the_saved_weights_are_those_of_the_members_alone(joined):
    assert not joined.state_dict()  # scales and shifts follow from the architecture


def test_the_largest_input_is_the_first_of_equal_ones():
    assert largest([SMALL, LARGE, BackboneInput(8, SMALL.mean, SMALL.std)]) == LARGE


@pytest.mark.parametrize(("members", "inputs"), [(1, 1), (2, 1), (0, 0)])
def test_fewer_than_two_or_unequal_numbers_are_refused(members, inputs):
    with pytest.raises(ValueError, match=f"two of each or more, and as many, got {members} and {inputs}"):
        JoinedBackbone([Brightness() for _ in range(members)], [LARGE] * inputs)


class Normalised(nn.Module):
    """Features (N, 3) of a layer with weights, behind batch normalisation."""

    out_features = 3

    def __init__(self, weight, mean):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)
        nn.init.constant_(self.linear.weight, weight)
        self.norm.running_mean.fill_(mean)


def of_normalised(*weights_and_means):
    members = [Normalised(*each) for each in weights_and_means]
    return JoinedBackbone(members, [SMALL] * len(members))


def test_a_backbone_stands_twice_whose_halves_differ_in_statistics_alone():
    assert stands_twice(of_normalised((1.0, 0.0), (1.0, 5.0)))
    assert stands_twice(of_normalised((1.0, 0.0), (2.0, 0.0), (1.0, 5.0), (2.0, 6.0)))
    assert not stands_twice(of_normalised((1.0, 0.0), (2.0, 0.0)))
    assert not stands_twice(of_normalised((1.0, 0.0), (2.0, 0.0), (2.0, 0.0), (1.0, 0.0)))
    assert not stands_twice(of_normalised((1.0, 0.0), (1.0, 0.0), (1.0, 0.0)))
    assert not stands_twice(Normalised(1.0, 0.0))


def test_statistics_of_the_first_half_become_those_of_the_second_in_a_copy():
    joined = of_normalised((1.0, 3.0), (2.0, 4.0), (1.0, 5.0), (2.0, 6.0))
    changed = with_statistics_of_first_half(joined)
    means = [tensor[0].item() for name, tensor in normalisation_statistics(changed).items() if "mean" in name]
    assert means == [3.0, 4.0, 3.0, 4.0]
    assert joined.members[2].norm.running_mean[0] == 5
    assert stands_twice(joined)
    assert stands_twice(changed)
