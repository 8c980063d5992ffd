"""What a run checks before it trains."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dalib.core.errors import UserError
from dalib.data.sources import listing_of
from dalib.engine.distributed import World
from dalib.run import length
from dalib.run.length import say_length
from dalib.run.setup import first_summary, open_data, prepare, say_data
from dalib.run.start import domains


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"steps": 0}, "steps=0"), ({"device": "tpu"}, "device='tpu'"), ({"prior": "nowhere.csv"}, "prior='nowhere.csv'")],
)
def test_settings_are_checked_before_any_image_is_read(config, settings, message):
    with pytest.raises(UserError, match=message):
        prepare(replace(config, source="not/there", **settings), World())


def test_a_run_says_what_it_has_read(config, capsys):
    setup, data = open_data(prepare(config, World()))
    summary = first_summary(setup, data)
    say_data(summary, data.domains)
    said = capsys.readouterr().out
    assert f"{len(data.domains.train.labels)} images to train on" in said
    assert "classes: dark, light" in said
    given = f"/cache/given/{'0' * 32}/array-of-10-images.csv"
    say_data(replace(summary, source=given, target=given), data.domains)
    said = capsys.readouterr().out
    assert said.startswith("source array-of-10-images: ")
    assert "; target array-of-10-images: 10 images" in said
    say_data(replace(summary, counts={**summary.counts, "target": 1}), data.domains)
    assert ": 1 image, whose labels" in capsys.readouterr().out


def test_each_folder_is_listed_once(config, monkeypatch):
    listed, listing = [], listing_of

    def counted(where, **given):
        listed.append(Path(where).name)
        return listing(where, **given)

    for module in (domains, length):
        monkeypatch.setattr(module, "listing_of", counted)
    setup = prepare(config, World())
    say_length(setup, time.monotonic())
    setup, data = open_data(setup)
    assert listed == ["source", "target"]
    assert len(data.domains.target.names) == 10
    assert setup.listings is None  # of a million files it would be kept until the end


def test_data_are_refused_before_the_pace_is_measured(config, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dalib.run.length.measure_pace", pytest.fail)
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "dark").symlink_to(images / "source" / "dark")
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nnowhere.png,dark\n")
    other = tmp_path / "labelled"
    other.mkdir()
    (other / "grey").symlink_to(images / "source" / "dark")
    shares = tmp_path / "shares.csv"
    shares.write_text("dark,1\ngrey,2\n")
    for settings, message in (
        ({"source": "not/there"}, "source='not/there': no such folder"),
        ({"source": str(lone)}, "expected at least two class folders, found one"),
        ({"source": "usps-test"}, "a test set is for evaluation alone"),
        ({"source": "usps", "root": str(tmp_path)}, "source='usps': expected and not found"),
        ({"target": "not/there"}, "target='not/there': no such folder"),
        ({"target_labels": str(labels)}, "'nowhere.png' is none of the"),
        ({"prior": str(shares)}, "unknown class grey"),
        ({"evaluate": "not/there"}, "evaluate='not/there': no such folder"),
        ({"evaluate": str(shares)}, "evaluate='.*shares.csv'"),
        ({"evaluate": str(other)}, "does not know the class folders 'grey'"),
        ({"evaluate": "usps-test", "root": str(tmp_path)}, "evaluate='usps-test': expected and not found"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(replace(config, steps=100, **settings), World())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", [6, 7])  # a split of any classes would validate on it, and train on it
def test_a_class_of_one_image_is_told_and_trained_on(config, tmp_path, capsys, seed):
    source = tmp_path / "source"
    shutil.copytree(config.source, source)
    (source / "lone").mkdir()
    shutil.copy(Path(config.target) / "0.png", source / "lone")
    more = replace(config, source=str(source), seed=seed, data=replace(config.data, validation_share=0.5))
    _, data = open_data(prepare(more, World()))
    said = capsys.readouterr().out
    assert "note: the source has one image of lone; no class is learnt well from that, give more" in said
    assert 2 in data.domains.train.labels
    assert 2 not in data.domains.validation.labels
    open_data(prepare(config, World()))
    assert "one image of" not in capsys.readouterr().out
