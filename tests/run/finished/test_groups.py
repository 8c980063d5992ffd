"""A run whose images belong together: from the split to the labels that judge it."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.commands.main import run as command
from dalib.core.errors import UserError
from dalib.data.labels import TargetLabels, hold_out
from dalib.records.folder import RunFolder
from dalib.run.adapt import adapt
from dalib.run.finished.groups import groups_of_target
from dalib.run.finished.measure import evaluate
from dalib.run.opened import open_run

BURSTS, OF_ONE = 8, 4
QUICK = {
    "seed": 1,
    "steps": 2,
    "batch": 4,
    "data": {"size": 16, "validation_share": 0.25},
    "baseline_steps": 2,
    "device": "cpu",
}


def write_bursts(folder, seed, labelled):
    """Writes bursts of images in two colours; returns their paths with burst and class."""
    rng = np.random.default_rng(seed)
    written = []
    for burst in range(BURSTS):
        name = ("dark", "light")[burst % 2]
        for number in range(OF_ONE):
            path = folder / (name if labelled else ".") / f"burst{burst}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shade = 70 + 100 * (burst % 2) + rng.normal(0, 20, (16, 16, 3))
            Image.fromarray(shade.clip(0, 255).astype(np.uint8)).save(path)
            written.append((path, burst, name))
    return written


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bursts")
    write_bursts(folder / "source", 0, labelled=True)
    write_bursts(folder / "target", 1, labelled=False)
    write_bursts(folder / "test", 2, labelled=True)
    out = folder / "run"
    adapt(str(folder / "source"), str(folder / "target"), out=str(out), groups="(burst[0-9])", **QUICK)
    return folder


def test_the_split_keeps_groups_whole_and_the_folder_records_them(trained):
    found = RunFolder(trained / "run")
    names = json.loads(found.images.read_text())
    groups = found.read_groups()
    assert groups.definition == "(burst[0-9])"
    assert (groups.source, len(set(groups.target))) == (BURSTS, BURSTS)
    bursts = [name.rsplit("burst", 1)[1][0] for name in names["validation"]]
    assert bursts
    assert all(bursts.count(each) == OF_ONE for each in bursts)
    assert len(groups.validation) == len(names["validation"])


def test_query_draws_groups_and_labels_of_them_are_counted_as_groups(trained, tmp_path, capsys):
    found, out = trained / "run", tmp_path / "list.csv"
    assert command(["query", str(found), "--n", str(BURSTS), "--out", str(out)]) == 0
    assert f"of {BURSTS} of {BURSTS} groups\n" in capsys.readouterr().out
    every = trained / "every.csv"
    with every.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for path in sorted((trained / "target").glob("*.png")):
            rows.writerow([path, ("dark", "light")[int(path.name[5]) % 2]])
    assert command(["eval", str(found), "--labels", str(every)]) == 0
    assert f"{BURSTS * OF_ONE} labels of {BURSTS * OF_ONE} target images in {BURSTS} groups" in capsys.readouterr().out
    assert open_run(found).folder.read_labelled().groups == BURSTS


def test_an_evaluation_counts_groups(trained):
    result = evaluate(trained / "run", str(trained / "test"), device="cpu")
    alone = evaluate(trained / "run", str(trained / "test"), device="cpu", groups="(burst[0-9]_[0-9])")
    assert (result.groups, alone.groups) == (BURSTS, BURSTS * OF_ONE)
    for name, each in result.models.items():
        (low, high), (low_alone, high_alone) = each.interval, alone.models[name].interval
        assert high - low > high_alone - low_alone
    assert all(each.p is not None and each.interval is not None for each in result.paired)


def test_groups_that_the_data_do_not_have_are_told(trained, tmp_path, capsys):
    write_bursts(tmp_path / "other", 3, labelled=True)
    for path in (tmp_path / "other").rglob("*.png"):
        path.rename(path.with_name(path.name.replace("burst", "image")))
    assert evaluate(trained / "run", str(tmp_path / "other"), device="cpu").groups is None
    assert "the run's groups ((burst[0-9])) are not in" in capsys.readouterr().out
    with pytest.raises(UserError, match="is found in no path"):
        evaluate(trained / "run", str(tmp_path / "other"), device="cpu", groups="(burst[0-9])")


def test_a_damaged_record_of_groups_is_told(trained, tmp_path):
    found = RunFolder(tmp_path)
    (tmp_path / "groups.json").write_text((trained / "run" / "groups.json").read_text())
    with pytest.raises(UserError, match="expected groups of 3 target images, got 32"):
        groups_of_target(found, ["a", "b", "c"])


def test_a_split_that_cannot_keep_groups_whole_is_refused_before_training(trained, tmp_path):
    with pytest.raises(UserError, match="the source has 2 groups"):
        adapt(str(trained / "source"), str(trained / "target"), out=str(tmp_path / "r"), groups="(dark|light)", **QUICK)
    assert not (tmp_path / "r").exists()


def test_labels_of_one_group_are_learnt_from_or_held_out_together():
    groups = torch.arange(20).repeat_interleave(5)
    given = TargetLabels(torch.arange(100), torch.arange(100) % 2, 100)
    learnt, held = hold_out(given, 0, groups)
    assert not set(groups[learnt.rows].tolist()) & set(groups[held.rows].tolist())
    assert len(held.rows) == pytest.approx(20, abs=5)
