"""Whether each domain can have batch-normalisation statistics of its own, and which share of them."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from dalib.core.errors import UserError
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing
from dalib.models.domain_statistics import normalisation_statistics
from dalib.run.features.own_statistics import FAR, checked_share, choice_for_files, chosen_share, require_enough_images
from dalib.run.settings.config import ModelConfig
from dalib.run.start.domains import Listings

CONVOLUTIONAL, TRANSFORMER = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.LayerNorm(3))


def test_auto_is_left_to_the_images_and_none_where_there_is_no_choice():
    assert checked_share("auto", CONVOLUTIONAL, features=4) == "auto"
    assert checked_share("auto", TRANSFORMER, features=4) == 0
    assert checked_share("auto", CONVOLUTIONAL, features=0) == 0
    assert checked_share("auto", CONVOLUTIONAL, features=4, images_of_both=False) == 0
    assert checked_share("joined", CONVOLUTIONAL, features=4) == "joined"
    assert checked_share(0, TRANSFORMER, features=4) == 0
    assert checked_share(0.3, CONVOLUTIONAL, features=4) == 0.3


@pytest.mark.parametrize(
    ("share", "features", "backbone", "message"),
    [
        (1.5, 4, CONVOLUTIONAL, "expected a share from 0"),
        (float("nan"), 4, CONVOLUTIONAL, "expected a share from 0"),
        ("joined", 4, TRANSFORMER, "the backbone has no batch normalisation"),
        (0.3, 0, CONVOLUTIONAL, "its features are stored; expected"),
        (0.3, 4, TRANSFORMER, "the backbone has no batch normalisation"),
    ],
)
def test_a_share_that_cannot_be_is_refused(share, features, backbone, message):
    with pytest.raises(UserError, match=message):
        checked_share(share, backbone, features=features)


def test_trained_stages_have_the_pretrained_statistics():
    assert checked_share("auto", CONVOLUTIONAL, features=4, trained_stages=2) == 0
    with pytest.raises(UserError, match="stages that are trained on images of both domains"):
        checked_share(0.3, CONVOLUTIONAL, features=4, trained_stages=2)


def test_a_word_that_is_no_share_is_refused_with_the_range_of_shares():
    with pytest.raises(UserError, match="domain_statistics='much': expected a number from 0 to 1, auto or joined"):
        ModelConfig(domain_statistics="much")


class Space:
    """A space of one layer whose statistics lie as far from the pretrained ones as the images' one value says."""

    network = SimpleNamespace(backbone=CONVOLUTIONAL)

    def statistics_of(self, rows, share, domain, most):
        own = normalisation_statistics(CONVOLUTIONAL)
        return {**own, "0.running_mean": own["0.running_mean"] + share * rows[:most].mean()}


@pytest.mark.parametrize(
    ("of_source", "of_target", "expected", "said"),
    [
        (0.0, FAR - 0.01, 0.0, ""),
        (0.0, FAR + 0.01, "joined", "the images of the target are unlike"),
        (FAR + 0.1, FAR + 0.01, "joined", "the images of the source are unlike"),
    ],
)
def test_one_domain_that_is_far_is_enough_to_join(of_source, of_target, expected, said, capsys):
    source, target = (torch.full((20,), each) for each in (of_source, of_target))
    domains = SimpleNamespace(whole=SimpleNamespace(images=source), target=SimpleNamespace(images=target))
    assert chosen_share(Space(), domains) == expected
    assert said in capsys.readouterr().out


def test_few_images_have_the_pretrained_statistics():
    images = SimpleNamespace(images=torch.full((4,), 9.0))
    assert chosen_share(Space(), SimpleNamespace(whole=images, target=images)) == 0


class Kept(Space):
    """The same for files that are red, as far as their one value says."""

    preprocessing = Preprocessing(4, 3)

    def statistics_of(self, rows, share, domain, most):
        return super().statistics_of(rows[torch.arange(len(rows))] / 255, share, domain, most)


def listed(folder, value, count=20):
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (4, 4), (value,) * 3).save(folder / f"{number:02}.png")
    return list_images(folder, argument="target")


@pytest.mark.parametrize(
    ("share", "source", "target", "kit", "message"),
    [
        ("joined", 20, 1, False, r"^model.domain_statistics='joined': the target has 1 image, too few .*, or model"),
        (0.3, 10, 20, False, r"^model.domain_statistics=0.3: the source has 10 images, too few"),
        ("joined", None, 10, True, r"^target: it has 10 images, too few .*; expected at least 16$"),
    ],
)
def test_too_few_images_for_a_share_are_refused(share, source, target, kit, message):
    def domains(source, target):
        whole = None if source is None else SimpleNamespace(images=torch.zeros(source))
        return SimpleNamespace(whole=whole, target=SimpleNamespace(images=torch.zeros(target)))

    with pytest.raises(UserError, match=message):
        require_enough_images(share, domains(source, target), kit=kit)
    require_enough_images(0.0, domains(source, target), kit=kit)
    require_enough_images(share, domains(source and 16, 16), kit=kit)


def test_files_tell_before_they_are_read_what_their_rows_choose(tmp_path):
    near, far = listed(tmp_path / "near", 0), listed(tmp_path / "far", 255)
    assert choice_for_files(Kept(), Listings((near,), near)).share == 0
    choice = choice_for_files(Kept(), Listings((near, near), far))
    assert choice.share == "joined"
    assert "the images of the target are unlike" in choice.why
    assert choice_for_files(Kept(), None) is None
    assert choice_for_files(Kept(), Listings((None,), far)) is None
    for path in near.paths[3:]:
        path.write_bytes(b"no picture")
    assert choice_for_files(Kept(), Listings((near,), far)) is None
