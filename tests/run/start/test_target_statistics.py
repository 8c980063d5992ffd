"""Classes that a kit has no statistics of get those of target images that its model predicts as such."""

from dataclasses import replace

import pytest
import torch

from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.saved import ModelDescription
from dalib.records.kit import KitHeader
from dalib.run.start.kit import ASSUMED_IMAGES, ClassStatistics, Kit
from dalib.run.start.target_statistics import with_predicted_classes, with_stand_ins

CLASSES = ("ant", "bee", "cat")
MEANS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]])


def features_of(labels, seed=0):
    return MEANS[labels] + 0.5 * torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed))


def kit_of(known, counts, **settings):
    """A kit with statistics of some of the classes; the images of the others were too few."""
    labels = torch.arange(3).repeat_interleave(200)
    own = torch.isin(labels, torch.tensor(known))
    statistics = ClassStatistics.of(features_of(labels)[own][:, None], labels[own], 3, fewest=1)
    left_out = tuple(name for place, name in enumerate(CLASSES) if place not in known)
    description = ModelDescription(
        Architecture.from_json({"backbone": "digits", "size": 16, "bottleneck_dim": 8, "channels": 3}),
        CLASSES,
        Preprocessing(size=16, channels=3),
    )
    nothing = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    header = KitHeader({}, settings, counts, left_out)
    return Kit("studio.dalib", header, description, {}, statistics, *nothing)


def test_a_mean_is_moved_from_the_target_to_the_source(capsys):
    """The target's features are those of the source, three times as far apart and elsewhere."""
    labels = torch.arange(3).repeat_interleave(100)
    kit = kit_of([0, 2], (200, 0, 200))
    found = with_predicted_classes(kit, 3 * features_of(labels, seed=1) - 20, labels)
    assert found.statistics.classes.tolist() == [0, 1, 2]
    assert torch.equal(found.statistics.mean[[0, 2]], kit.statistics.mean), "what the kit has stays"
    assert (found.statistics.mean[1] - MEANS[1]).norm() < 0.5
    drawn = found.training(views=1, seed=0)
    assert torch.bincount(drawn.labels, minlength=3).tolist() == [200, ASSUMED_IMAGES, 200]
    assert drawn.images == 400, "images of the kit"
    assert "has no statistics of bee, which had fewer than 10 images" in capsys.readouterr().out


def test_without_images_of_absent_and_of_known_classes_nothing_is_added(capsys):
    kit = kit_of([0, 2], (200, 0, 200))
    for labels in (torch.tensor([0, 2] * 50), torch.tensor([1] * 50)):
        assert with_predicted_classes(kit, features_of(labels), labels) is kit
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("known", "share", "lacking"), [([0, 1, 2], 0.0, False), ([0, 2], 0.0, True), ([0, 2], 0.3, False)]
)
def test_what_lacks_nothing_or_has_other_features_stays(known, share, lacking):
    kit = kit_of(known, (200, 0, 200), **{"model.domain_statistics": share})
    found = with_stand_ins(kit, torch.device("cpu"), lambda network, *_: network)
    assert (found.complete is not None) == lacking
    assert replace(found, complete=None) == kit or lacking
