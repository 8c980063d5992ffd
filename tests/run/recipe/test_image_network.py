"""The network of a configuration, and what is between an image and it."""

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.run.recipe import image_network
from dalib.run.recipe.image_network import CHARACTER_VIEWS, OPERATIONS, PHOTO_VIEWS
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import configured


def student_of(config):
    architecture = image_network.architecture_of(config, image_network.make_preprocessing(config))
    return image_network.make_student(config, architecture, 3)


def test_the_seed_gives_the_first_weights_and_nothing_else_draws_for_them():
    drawn = torch.random.get_rng_state()
    first, again, other = (student_of(TrainConfig(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_first_weights_of_another_shape_are_refused_and_others_loaded_as_far_as_they_go():
    student, other = student_of(TrainConfig(seed=1)), student_of(TrainConfig(seed=2))
    image_network.load_first(student, {"head.weight": other.state_dict()["head.weight"]})
    assert torch.equal(student.state_dict()["head.weight"], other.state_dict()["head.weight"])
    first = next(name for name in student.state_dict() if name.startswith("backbone.") and name.endswith("weight"))
    assert not torch.equal(student.state_dict()[first], other.state_dict()[first])
    with pytest.raises(UserError, match="init: the weights are of a network of another shape"):
        image_network.load_first(student, {"head.weight": torch.zeros(4, 7)})


@pytest.mark.parametrize("name", [*OPERATIONS, *PHOTO_VIEWS, *CHARACTER_VIEWS])
def test_each_view_gives_images_as_the_network_takes_them(name):
    config = configured(
        "photo",
        {
            "backbone": "resnet18",
            "data.size": 32,
            "data.crop": 32,
            **{f"views.{role}": name for role in ("source", "student", "teacher")},
        },
    )
    preprocessing = image_network.make_preprocessing(config)
    view = image_network.make_views(config, preprocessing).source
    rows = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = view(rows, torch.Generator().manual_seed(0))
    assert seen.shape == (2, 3, 32, 32)
    assert seen.dtype == torch.float32
    assert seen.isfinite().all()


def test_views_of_photographs_are_refused_for_a_network_that_takes_each_image_by_its_own_statistics():
    config = configured(None, {"kit": "studio.dalib", "target": "street", "views.student": "photo"})
    with pytest.raises(UserError, match=r"photo normalises .* the network of kit='studio\.dalib' .* such as warp"):
        image_network.make_views(config, Preprocessing(32, 3))


def test_views_of_colours_are_refused_for_grey_images():
    config = configured(None, {"data.channels": 1, "views.student": "photo"})
    with pytest.raises(UserError, match=r"view photo changes colours; expected data\.channels=3"):
        image_network.make_views(config, image_network.make_preprocessing(config))
