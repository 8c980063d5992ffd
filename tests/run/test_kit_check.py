"""Settings that do not go with the kit that a run starts from."""

from dataclasses import replace

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, content_of
from dalib.records.kit import KitHeader
from dalib.run.kit_check import check_kit, require_whole
from dalib.run.settings.config import DataConfig, ModelConfig, TrainConfig
from dalib.run.start.initial_weights import Start
from dalib.run.start.kit import ClassStatistics, Kit

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
IMAGES = Preprocessing(8, 3, range=(0, 4095))
CONFIG = TrainConfig(kit="studio.dalib", source="studio.dalib", target="street")


def kit_of(**settings):
    """A kit of a small network with two classes; settings are those of its run, such as features."""
    network, description = make_classifier(ARCHITECTURE, 2), ModelDescription(ARCHITECTURE, ("cat", "dog"), IMAGES)
    width = network.backbone.out_features if settings.get("features") else 8
    statistics = ClassStatistics(torch.arange(2), torch.zeros(2, width), torch.zeros(1, width), torch.ones(width))
    header = KitHeader(content_of(description), settings, (10, 10), ())
    return Kit("studio.dalib", header, description, network.state_dict(), statistics, torch.eye(2), torch.arange(2))


def test_a_run_starts_as_the_source_only_model_and_reads_images_of_any_range():
    kit = kit_of()
    check_kit(kit, CONFIG, Preprocessing(8, 3))
    start = Start.of_kit(kit)
    assert (start.run, start.argument, start.classes) == ("studio.dalib", "kit", ("cat", "dog"))
    assert start.weights_for("adapted").keys() == kit.weights.keys()
    assert kit.preprocessing == replace(IMAGES, range=None)


@pytest.mark.parametrize(
    ("of_kit", "changes", "message"),
    [
        ({}, {"source": "studio"}, "expected no source"),
        ({}, {"init": "runs/first"}, "leave out init='runs/first'"),
        ({}, {"method": "source-only"}, "nothing to train"),
        ({"preset": "photo-features"}, {}, "of the preset photo-features"),
        ({"features": 4}, {}, "expected features=2 or more"),
        ({}, {"features": 4}, "leave out features=4"),
        ({}, {"method": "mcc"}, "method='mcc'.*expected method='self-ensemble'"),
        ({}, {"prior": "estimate"}, "expected uniform, source, or a file"),
        ({"model.domain_statistics": "joined"}, {}, "of features with model.domain_statistics='joined'"),
        ({}, {"data": DataConfig(interpolation="bicubic")}, "bilinear; leave out data.interpolation='bicubic'"),
    ],
)
def test_settings_that_do_not_go_with_a_kit_are_refused(of_kit, changes, message):
    with pytest.raises(UserError, match=message):
        check_kit(kit_of(**of_kit), replace(CONFIG, **changes), Preprocessing(8, 3))


def test_shares_are_estimated_with_the_validation_images_of_the_kit_if_it_has_some():
    kit, config = kit_of(features=4), replace(CONFIG, features=2, prior="estimate")
    check_kit(kit, config, Preprocessing(8, 3))
    without = replace(kit, validation=torch.zeros(0, 2), labels=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(
        UserError, match=r"validation images, of which kit='studio\.dalib' has none; expected another prior"
    ):
        check_kit(without, config, Preprocessing(8, 3))
    check_kit(without, replace(config, prior="uniform"), Preprocessing(8, 3))


def test_features_and_their_statistics_have_to_be_those_of_the_kit():
    kit = kit_of(features=4, **{"model.domain_statistics": 0.5})
    config = replace(CONFIG, features=2, model=ModelConfig(domain_statistics=0.5))
    check_kit(kit, config, Preprocessing(8, 3))
    assert kit.domain_statistics == 0.5
    with pytest.raises(UserError, match="its images have size 8, these settings give 12"):
        check_kit(kit, config, Preprocessing(12, 3))


@pytest.mark.parametrize("features", [0, 4])
def test_tensors_have_to_be_those_of_the_network(features):
    kit, network = kit_of(features=features), make_classifier(ARCHITECTURE, 2)
    require_whole(kit, network)
    other = replace(kit, statistics=replace(kit.statistics, mean=torch.zeros(2, 3)))
    without = replace(kit, weights={name: each for name, each in kit.weights.items() if "head" not in name})
    for each in (other, without):
        with pytest.raises(UserError, match="do not fit its network"):
            require_whole(each, network)
