import pytest
import torch
from torch import nn

from dalib.models.averaged import AveragedFeatures, AveragedViews, FixedWarps


class Recording(nn.Module):
    """Logits that are pixels of the image; keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return images.flatten(1)[:, 100:103]


def test_it_is_the_mean_of_the_probabilities_over_the_views():
    model = Recording()
    images = torch.randn(5, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    log_probabilities = AveragedViews(model, 4)(images)
    expected = torch.stack([view.flatten(1)[:, 100:103].softmax(dim=1) for view in model.seen]).mean(dim=0)
    assert len(model.seen) == 4
    torch.testing.assert_close(log_probabilities.exp(), expected)
    torch.testing.assert_close(log_probabilities.softmax(dim=1), expected)


def test_views_differ_from_each_other_but_not_from_image_to_image():
    model = Recording()
    image = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    AveragedViews(model, 3)(image.expand(2, 1, 24, 24))
    assert all(torch.equal(view[0], view[1]) for view in model.seen)
    assert not torch.equal(model.seen[0], model.seen[1])


def test_a_prediction_depends_on_its_image_alone():
    images = torch.randn(6, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    model = AveragedViews(Recording(), 5)
    torch.testing.assert_close(model(images)[2:3], model(images[2:3]))
    torch.testing.assert_close(AveragedViews(Recording(), 5)(images), model(images))  # the same in another process


def test_warps_are_small():
    maps = FixedWarps(500).maps
    assert maps[:, :, 2].abs().max() <= 1 / 12
    assert (maps[:, :, :2] - torch.eye(2)).std().item() == pytest.approx(0.05, rel=0.1)


def test_images_of_one_colour_keep_it():
    model = Recording()
    AveragedViews(model, 3)(torch.full((1, 1, 24, 24), -2.0))
    torch.testing.assert_close(torch.stack(model.seen), torch.full((3, 1, 1, 24, 24), -2.0))


def test_no_views_are_refused():
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        AveragedViews(Recording(), 0)


def test_every_other_warp_mirrors_where_it_may():
    straight, mirrored = FixedWarps(4), FixedWarps(4, flip=True)
    images = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    for number in range(4):
        seen = straight(images, number)
        torch.testing.assert_close(mirrored(images, number), seen.flip(-1) if number % 2 else seen, atol=1e-4, rtol=0)


def test_features_of_the_views_give_the_prediction_of_the_whole():
    """A classifier of stored features predicts what the whole network does on images."""
    backbone, head = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), nn.Linear(5, 3)
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    warps = FixedWarps(4, flip=True)
    features = torch.stack([backbone(warps(images, number)) for number in range(4)], dim=1)
    whole = AveragedViews(nn.Sequential(backbone, head), 4, flip=True)
    torch.testing.assert_close(AveragedFeatures(head)(features), whole(images))
