"""Features in place of a run's images: which views are computed, and in what order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.data.preprocessing import Preprocessing
from dalib.run.features.domain_features import extract_part, features_of_source, to_features
from dalib.run.features.feature_space import standardization
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.config import DataConfig, TrainConfig
from dalib.run.start.domains import open_domains


class Space:
    """Features that are shades: of each image and view its mean, and its square. It keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    @property
    def of_source(self):
        return self

    def random(self, rows, view, count, domain, progress=None):
        self.asked.append(("random", domain.rpartition("/")[2], count))
        shades = rows[torch.arange(len(rows))].float().mean(dim=(1, 2, 3)) / 64
        values = torch.stack([shades, shades.square()], dim=1)
        return (values[:, None] + 0.01 * torch.arange(count)[:, None]).half()

    def random_one(self, rows, view, number, domain, progress):
        self.asked.append(("one", domain.rpartition("/")[2], number))

    def random_of_ones(self, rows, view, count, domain):
        return self.random(rows, view, count, domain)

    def plain(self, rows, domain, progress):
        features = self.random(rows, None, 1, domain, progress)
        self.asked[-1] = ("plain", *self.asked[-1][1:2])
        return features


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """source/{dark,light}, target/ with 12 images of either, and few.csv with labels of four of them."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, shade in (("dark", 60), ("light", 190)):
        for number in range(12):
            for path in (root / f"source/{name}/{number}.png", root / f"target/{name[0]}{number:02d}.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(shade, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    (root / "few.csv").write_text("path,label\nd00.png,dark\nd01.png,dark\nl00.png,light\nl01.png,light\n")
    return root


def opened(folders, **settings):
    """The configuration, the images, and how they reach a network."""
    config = TrainConfig(
        source=f"{folders}/source",
        target=f"{folders}/target",
        cache="ram",
        features=3,
        batch=8,
        data=DataConfig(size=16, validation_share=0.25),
        **settings,
    )
    preprocessing = Preprocessing(size=16, channels=3)
    images = open_domains(recipe.make_data_request(config), preprocessing)
    return config, images, image_network.image_inputs(config, preprocessing)


def equal(one, other):
    rows = torch.arange(len(one.train.labels)), torch.arange(len(one.target.names))
    return torch.equal(one.train.images[rows[0]], other.train.images[rows[0]]) and torch.equal(
        one.target.images[rows[1]], other.target.images[rows[1]]
    )


def test_the_whole_source_is_seen_and_split_afterwards(folders):
    config, images, inputs = opened(folders)
    space = Space()
    found = to_features(space, images, inputs, recipe.make_data_request(config))
    assert space.asked == [
        ("random", "source", 3),
        ("plain", "source, validation"),
        ("random", "target", 3),
        ("plain", "target"),
    ]
    whole = space.random(images.whole.images, None, 3, "")
    assert torch.equal(found.train.images[torch.arange(18)], whole[images.whole.training_rows])
    assert torch.equal(features_of_source(space, images.whole, None, recipe.make_data_request(config)), whole)
    assert found.validation.images.shape == (6, 1, 2)
    assert found.to_predict.shape == (24, 1, 2)
    assert found.whole is None


def test_views_in_turn_end_where_there_are_enough_and_begin_with_the_plain_ones(folders):
    config, images, inputs = opened(folders)
    request, space = recipe.make_data_request(config), Space()
    found = to_features(space, images, inputs, request, lambda count: count == 2)
    in_turn = [("one", domain, number) for number in range(2) for domain in ("source", "target")]
    assert space.asked[:6] == [("plain", "source, validation"), ("plain", "target"), *in_turn]
    assert found.target.images.shape[1] == 2
    never = to_features(Space(), images, inputs, request, lambda count: False)
    assert never.target.images.shape[1] == 3
    assert equal(never, to_features(Space(), images, inputs, request))


def test_each_process_computes_its_share_of_all_that_is_needed(folders):
    config, images, inputs = opened(folders)
    here, all_of_it = Space(), Space()
    extract_part(here, images, inputs, recipe.make_data_request(config))
    to_features(all_of_it, images, inputs, recipe.make_data_request(config))
    assert sorted(here.asked, key=str) == sorted(all_of_it.asked, key=str)


def test_labelled_target_images_are_standardised_as_the_target_is(folders):
    config, images, inputs = opened(folders, target_labels=f"{folders}/few.csv")
    assert images.train_adapted is images.train, "they are joined as features"
    plain = to_features(Space(), images, inputs, recipe.make_data_request(config))
    standardized = replace(config, model=replace(config.model, standardize=True))
    found = to_features(Space(), images, inputs, recipe.make_data_request(standardized))
    count, rows = len(found.train.labels), images.labels.rows
    of_target = found.target.images[rows]
    assert torch.equal(plain.train_adapted.images[count : count + 4], of_target)
    for domains in (plain, found):
        assert torch.equal(domains.train_adapted.images[:count], domains.train.images)
        assert domains.train_adapted.labels[count : count + 4].tolist() == [0, 0, 1, 1]
    by_source, by_target = (
        standardization(features, torch.device("cpu")) for features in (found.train.images, found.target.images)
    )
    seen = by_source(found.train_adapted.images[count : count + 4].float())
    assert torch.allclose(seen, by_target(of_target.float()), atol=5e-3)
