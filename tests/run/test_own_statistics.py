"""Whether each domain can have batch-normalisation statistics of its own, and which share of them."""

import pytest
from torch import nn

from dalib.core.errors import UserError
from dalib.run.config import ModelConfig
from dalib.run.own_statistics import checked_share

CONVOLUTIONAL, TRANSFORMER = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.LayerNorm(3))


def test_auto_is_left_to_the_images_and_none_where_there_is_no_choice():
    assert checked_share("auto", CONVOLUTIONAL, features=4) == "auto"
    assert checked_share("auto", TRANSFORMER, features=4) == 0
    assert checked_share("auto", CONVOLUTIONAL, features=0) == 0
    assert checked_share("auto", CONVOLUTIONAL, features=4, images_of_both=False) == 0
    assert checked_share(0, TRANSFORMER, features=4) == 0
    assert checked_share(0.3, CONVOLUTIONAL, features=4) == 0.3


@pytest.mark.parametrize(
    ("share", "features", "backbone", "message"),
    [
        (1.5, 4, CONVOLUTIONAL, "expected a share from 0"),
        (float("nan"), 4, CONVOLUTIONAL, "expected a share from 0"),
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


def test_a_word_that_is_no_share_is_refused():
    with pytest.raises(UserError, match="domain_statistics='much': expected a number or"):
        ModelConfig(domain_statistics="much")
