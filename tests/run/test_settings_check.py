"""Settings that are refused before data are read."""

import pytest

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.engine.distributed import World
from dalib.models.classifier import ImageClassifier
from dalib.models.pretrained import PretrainedBackbone
from dalib.run.settings.presets import from_preset
from dalib.run.settings_check import check_counts, check_inputs, check_stages


@pytest.mark.parametrize("argument", ["--steps", "--epochs", "--baseline_steps"])
def test_a_length_below_one_is_refused(argument, tmp_path, capsys):
    assert run(["train", argument, "0", "--out", str(tmp_path / "run")]) == 2
    assert argument in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["data.validation_share", "optimizer.label_smoothing"])
@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(setting, share):
    with pytest.raises(UserError, match=rf"^{setting}=.*: expected a share from 0 to below 1$"):
        check_counts(from_preset("digits", **{setting: share}))


@pytest.mark.parametrize(("batch", "said"), [(9, "multiple of 2"), (2, "at least 2 images for each")])
def test_a_batch_that_processes_cannot_divide_is_refused(batch, said):
    with pytest.raises(UserError, match=said):
        check_counts(from_preset("digits", batch=batch), World(size=2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.0), ("lr", -1.0), ("lr", float("inf")), ("weight_decay", -0.1), ("weight_decay", float("nan"))],
)
def test_an_optimizer_that_learns_nothing_or_cannot_be_is_named(name, value):
    with pytest.raises(UserError, match=rf"^optimizer\.{name}={value}: expected "):
        check_counts(from_preset("digits", **{f"optimizer.{name}": value}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sync_norms": True, "statistics": "recomputed"}, "sync_norms=True: .*; expected statistics='running'"),
        ({"features": 1}, "features=1: expected at least 2 views of each image"),
        ({"features": 4}, "features=4: backbone='digits' is a small network .*, or features=0"),
        ({"model.standardize": True}, "model.standardize=True: the mean .* or from a run that did"),
        ({"model.frozen_stages": 2}, r"model\.frozen_stages=2: it has no effect on backbone='digits', a small network"),
        ({"model.frozen_norms": True}, r"model\.frozen_norms=True: it has no effect .* such as backbone='lite0'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        check_inputs(from_preset("digits", **settings))


def test_what_a_preset_of_pretrained_backbones_sets_may_stand_beside_a_small_one():
    check_inputs(from_preset("photo", backbone="digits"))  # it freezes two stages


@pytest.mark.parametrize("rate", [-1.0, float("nan")])
def test_a_rate_of_the_last_stages_that_is_none_is_named(rate):
    config = from_preset("photo-features", **{"model.trained_stages": 1, "stages.lr": rate})
    with pytest.raises(UserError, match=r"^stages\.lr=.*: expected a rate of at least 0$"):
        check_stages(config, World(), ImageClassifier(PretrainedBackbone("test_resnet"), 2, None))


@pytest.mark.parametrize("argument", ["source", "target"])
def test_images_that_are_not_there_come_before_a_backbone_that_was_chosen_without_them(argument):
    with pytest.raises(UserError, match=f"^{argument}='no/such': no such folder"):
        check_inputs(from_preset("digits", features=4, **{argument: "no/such"}))


def test_what_is_of_a_whole_network_is_refused_beside_stored_features_and_the_other_way_round():
    of_lite0 = {"backbone": "resnet18", "weights": "own.pth"}
    check_inputs(from_preset("photo-features", **of_lite0))
    for frozen in (0, 2):
        with pytest.raises(UserError, match=rf"^model\.frozen_stages={frozen}: it has no effect .*preset='photo'$"):
            check_inputs(from_preset("photo-features", **of_lite0, **{"model.frozen_stages": frozen}))
    check_inputs(from_preset("photo", **of_lite0, features=4, **{"views.student": "photo", "views.teacher": "photo"}))
    with pytest.raises(UserError, match=r"^model\.standardize=True: .*to train the whole network .* preset='photo'$"):
        check_inputs(from_preset("photo-features", **of_lite0, features=0))
