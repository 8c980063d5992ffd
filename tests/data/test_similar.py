"""Images that seem to belong together: by likeness, and by names where images look alike by them."""

import torch

from dalib.data.similar import near_duplicates, similar_groups, small_copies


def pictures(count, seed=0):
    """Draws smooth random pictures (count, 3, 32, 32) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    return (255 * torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")).byte()


def jittered(images, times, seed=0):
    """Repeats each image with noise and another brightness."""
    generator = torch.Generator().manual_seed(seed)
    many = images.repeat_interleave(times, dim=0).float()
    gain = 1 + 0.05 * torch.randn(len(many), 1, 1, 1, generator=generator)
    return (many * gain + 4 * torch.randn(many.shape, generator=generator)).clamp(0, 255).byte()


def test_repeated_images_are_one_group_each():
    found = similar_groups([f"{each}.png" for each in range(120)], jittered(pictures(30), 4))
    assert found.how == "near duplicates"
    assert found.numbers.tolist() == (torch.arange(120) // 4).tolist()


def test_different_images_are_no_groups():
    found = similar_groups([f"{each}.png" for each in range(200)], pictures(200))
    assert found.how == ""
    assert len(torch.unique(found.numbers)) == 200


def test_names_group_images_that_look_alike_by_them():
    images, other = pictures(40), pictures(160, seed=1)
    alike = (0.6 * images.repeat_interleave(4, dim=0).float() + 0.4 * other.float()).byte()
    names = [f"scan_{each // 4}_{each % 4}.png" for each in range(160)]
    found = similar_groups(names, alike)
    assert "their names without the last number" in found.how
    assert found.numbers.tolist() == (torch.arange(160) // 4).tolist()


def test_names_alone_group_nothing():
    names = [f"scan_{each // 4}_{each % 4}.png" for each in range(160)]
    assert similar_groups(names, pictures(160)).how == ""


def test_images_of_one_colour_are_like_no_other():
    images = torch.cat([torch.full((10, 3, 32, 32), 128, dtype=torch.uint8), pictures(30)])
    assert not len(near_duplicates(small_copies(images), [str(each) for each in range(40)]))


def test_one_or_two_images_are_fine():
    for count in (1, 2):
        assert similar_groups(["a", "b"][:count], pictures(count)).how == ""
