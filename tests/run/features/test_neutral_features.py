"""What the installed network sees of images, for the judgement of networks that are trained as a whole."""

import pytest
import torch

from dalib.core import console
from dalib.data.domain_images import LabelledImages
from dalib.engine.evaluate import MOST_EVALUATED, evaluated_rows, representing_rows
from dalib.judge.structure import structure_of
from dalib.run.features import neutral_features
from dalib.run.features.neutral_features import MOST_OF_SOURCE, neutral_representation, rows_seen

CPU = torch.device("cpu")


def images(count, channels=3, size=24, seed=0):
    """Rows of stripes and columns of stripes, in turn, and noise."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(0, 60, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    stripes = (torch.arange(size) // 3 % 2 * 150).to(torch.uint8)
    found[0::2] += stripes
    found[1::2] += stripes[:, None]
    return found


def source(count, channels=3):
    return LabelledImages(images(count, channels), torch.arange(count) % 2, ("columns", "rows"), ("",) * count)


@pytest.mark.parametrize("channels", [1, 3])
def test_features_of_both_domains_show_what_the_images_show(channels):
    found = neutral_representation(source(40, channels), images(36, channels, seed=1), CPU)
    assert found.target.shape == (36, 1280)
    assert found.source.shape == (40, 1280)
    assert torch.equal(found.labels, torch.arange(40) % 2)
    neighbours = structure_of(found, 2).neighbours
    assert (neighbours % 2 == torch.arange(36)[:, None] % 2).double().mean() > 0.9


def test_the_same_images_give_the_same_features(tmp_path, monkeypatch):
    # which way is fastest is measured anew where nothing is kept, and ways differ in their last bits
    monkeypatch.setattr(neutral_features, "kept_fastest", lambda network, *_: network)
    first = neutral_representation(source(20), images(20, seed=7), CPU)
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path))  # where nothing is kept
    second = neutral_representation(source(20), images(20, seed=7), CPU)
    assert torch.equal(first.target, second.target)
    assert torch.equal(first.source, second.source)


def test_the_draws_of_the_caller_are_as_without_them():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    neutral_representation(source(20), images(20, seed=2), CPU)
    assert torch.equal(torch.rand(3), expected)


def test_features_that_are_kept_are_not_computed_again(monkeypatch):
    first = neutral_representation(source(20), images(20, seed=2), CPU)
    monkeypatch.setattr(neutral_features, "kept_fastest", lambda *_: pytest.fail("computed again"))
    again = neutral_representation(source(20), images(20, seed=2), CPU)
    assert torch.equal(first.target, again.target)
    with pytest.raises(pytest.fail.Exception):
        neutral_representation(source(20), images(20, seed=3), CPU)


def test_the_weights_are_read_once_for_both_domains(monkeypatch):
    load, read = neutral_features.load_weights, []
    monkeypatch.setattr(neutral_features, "load_weights", lambda *given: (read.append(1), load(*given))[1])
    neutral_representation(source(20), images(20, seed=8), CPU)
    assert len(read) == 1


@pytest.mark.parametrize(("of_source", "of_target"), [(MOST_OF_SOURCE + 7, 20), (20, MOST_EVALUATED + 7), (20, 30)])
def test_images_are_counted_as_they_are_drawn(of_source, of_target):
    drawn = len(representing_rows(of_source, MOST_OF_SOURCE)) + len(evaluated_rows(of_target))
    assert rows_seen(of_source, of_target) == drawn


def test_what_takes_long_is_counted(monkeypatch, capsys):
    neutral_representation(source(20), images(20, seed=4), CPU)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(console, "SILENCE", 0.0)  # as if half a minute had passed
    neutral_representation(source(20), images(20, seed=5), CPU)
    assert "features of target images, for the judgement: 20" in capsys.readouterr().out


def test_images_of_other_channels_are_not_looked_at():
    assert neutral_representation(source(20, channels=2), images(20, channels=2), CPU) is None


def test_without_the_weights_there_is_nothing_to_see(monkeypatch):
    monkeypatch.setattr(neutral_features, "WEIGHTS_PACKAGE", "no_such_package")
    assert neutral_representation(source(20), images(20), CPU) is None


def test_no_more_of_the_source_is_read_than_needed(monkeypatch):
    monkeypatch.setattr(neutral_features, "MOST_OF_SOURCE", 16)
    found = neutral_representation(source(40), images(20), CPU)
    assert MOST_OF_SOURCE > 16 == len(found.source) == len(found.labels)
