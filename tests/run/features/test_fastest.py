"""Ways to call a network are measured once on a machine, and taken again."""

import json
from dataclasses import replace

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models import inference
from dalib.models.architecture import Architecture, TimmSettings
from dalib.models.network import make_classifier
from dalib.run.features import fastest
from dalib.run.features.fastest import (
    fastest_classifier,
    gain_of_rounding,
    images_at_once,
    in_batches,
    kept_fastest,
    precision_for,
    to_pooled,
)

PREPROCESSING = Preprocessing(size=40, channels=3, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3)
LARGE = replace(PREPROCESSING, size=112, crop=96)
SHAPE = (8, 3, 32, 32)
CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    timm = TimmSettings(frozen_stages=-1, checkpointing=False)
    described = Architecture(backbones=("test_resnet",), bottleneck_dim=8, channels=3, size=32, timm=timm)
    return make_classifier(described, 3).eval()


def quicker_is(variant, monkeypatch):
    monkeypatch.setattr(inference, "_seconds", lambda call, example: 1.0 if call.variant == variant else 2.0)


def test_a_way_is_kept_for_a_network_and_a_number_type_until_its_note_is_damaged(network, tmp_path, monkeypatch):
    model = to_pooled(network)
    quicker_is("fused", monkeypatch)
    assert kept_fastest(model, SHAPE, tmp_path).variant == "fused"
    quicker_is("plain", monkeypatch)
    assert kept_fastest(model, SHAPE, tmp_path).variant == "fused"
    assert kept_fastest(model, SHAPE, tmp_path, "bfloat16").variant == "plain"
    assert kept_fastest(model, (8, 3, 24, 24), tmp_path).variant == "plain"
    (tmp_path / "fastest.json").write_text("damaged")
    assert kept_fastest(model, SHAPE, tmp_path).variant == "plain"


def test_a_place_where_nothing_can_be_noted_is_told_with_the_variable_that_names_it(network, tmp_path, monkeypatch):
    quicker_is("plain", monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"fastest\.json: cannot be written \(.*set DALIB_CACHE to another folder"):
        kept_fastest(to_pooled(network), SHAPE, tmp_path / "file" / "features")


def test_the_gain_of_bfloat16_is_measured_once(network, monkeypatch, tmp_path):
    asked = []

    def measured(model, shape, fastest=None):
        asked.append((shape, fastest))
        return 1.7

    monkeypatch.setattr(fastest, "gain_of_bfloat16", measured)
    for _ in range(2):
        assert gain_of_rounding(network, LARGE, CPU, tmp_path) == 1.7
    ((shape, kept),) = asked
    assert shape == (8, 3, 96, 96)
    quicker_is("fused", monkeypatch)
    assert kept(True).variant == "fused"
    assert len(json.loads((tmp_path / "fastest.json").read_text())) == 2  # which way it was, for features to come
    assert gain_of_rounding(network, LARGE, CPU) == 1.7  # measured anew without a folder
    assert len(asked) == 2


@pytest.mark.parametrize(("preprocessing", "device"), [(PREPROCESSING, "cpu"), (LARGE, "cuda"), (LARGE, "mps")])
def test_features_of_small_images_and_of_other_devices_are_not_rounded(
    preprocessing, device, network, monkeypatch, tmp_path
):
    monkeypatch.setattr(fastest, "gain_of_bfloat16", lambda *_: pytest.fail("measured"))
    assert gain_of_rounding(network, preprocessing, torch.device(device), tmp_path) == 1.0
    assert precision_for("auto", network, preprocessing, torch.device(device), tmp_path) == "float32"


@pytest.mark.parametrize(("asked", "expected"), [("auto", "bfloat16"), ("float32", "float32"), ("bfloat16",) * 2])
def test_auto_is_the_faster_precision_and_another_one_is_not_measured(asked, expected, network, monkeypatch):
    measured = []
    monkeypatch.setattr(fastest, "gain_of_bfloat16", lambda *_: measured.append(1) or 1.7)
    assert precision_for(asked, network, LARGE, CPU) == expected
    assert len(measured) == (asked == "auto")


def test_what_another_run_notes_while_this_one_measures_stays(network, monkeypatch, tmp_path):
    def measured(*_):
        (tmp_path / "fastest.json").write_text('{"of another": 1.0}')
        return 1.7

    monkeypatch.setattr(fastest, "gain_of_bfloat16", measured)
    gain_of_rounding(network, LARGE, CPU, tmp_path)
    noted = json.loads((tmp_path / "fastest.json").read_text())
    assert noted.pop("of another") == 1.0
    assert list(noted.values()) == [1.7]


def test_of_two_runs_that_measure_at_a_time_the_first_to_note_it_chooses_for_both(network, monkeypatch, tmp_path):
    model, begun = to_pooled(network), []

    def seconds(call, example):
        if not begun:  # another process measures as well, and is done before
            begun.append(True)
            other = kept_fastest(model, SHAPE, tmp_path)
            begun.append(other.variant)
        return 1.0 if call.variant == ("fused" if len(begun) < 2 else "plain") else 2.0

    monkeypatch.setattr(inference, "_seconds", seconds)
    assert kept_fastest(model, SHAPE, tmp_path).variant == begun[1] == "fused"
    assert kept_fastest(model, SHAPE, tmp_path).variant == "fused"


def test_a_classifier_with_a_fast_backbone_predicts_the_same(network, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fast = fastest_classifier(network, PREPROCESSING)
    torch.testing.assert_close(fast(images), network(images), atol=1e-4, rtol=1e-4)
    assert fast.head is not network.head
    assert images_at_once(torch.device("cpu")) == len(images)


def test_large_images_go_through_a_network_some_at_a_time_and_come_back_in_order():
    seen = []

    class Means(torch.nn.Module):
        def forward(self, images):
            assert not self.training
            seen.append(len(images))
            return images.float().mean(dim=(1, 2, 3))

    images = torch.arange(19, dtype=torch.uint8)[:, None, None, None].expand(19, 3, 96, 96)
    for size, together in ((96, [8, 8, 3]), (32, [19])):
        seen.clear()
        call = in_batches(Means(), Preprocessing(size, 3), torch.device("cpu"))
        assert call(images).tolist() == list(range(19))
        assert seen == together
