"""`dalib compare`, on run folders that the tests write."""

import json

import pytest
import torch
from safetensors.torch import save_file

from dalib.cli import run

CLASSES = ["ant", "bee", "cat"]


def sure_of(classes):
    return torch.eye(3)[torch.tensor(classes)] * 0.9 + 0.1 / 3


def write_run(root, predicted, clusters, *, outcome="helped", shipped="adapted", names=None, classes=CLASSES):
    root.mkdir(parents=True)
    target = sure_of(predicted)
    save_file({f"target/{shipped}": target}, root / "predictions.safetensors")
    scores = {"target_corr_c": 0.5} | ({} if clusters is None else {"target_class_ami": clusters})
    estimate = {"value": 0.8, "low": 0.7, "high": 0.9, "method": "atc", "reliable": False, "reason": "few"}
    for name, content in {
        "summary": {"classes": classes, "method": "self-ensemble"},
        "images": {"target": names or [f"{number}.png" for number in range(len(target))], "validation": []},
        "judgement": {
            "shipped": shipped,
            "outcome": outcome,
            "models": {shipped: {"scores": scores, "estimate": estimate}},
        },
    }.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    (root / "config.yaml").write_text("")
    return str(root)


def order_of(output):
    """The names of the runs, as the lines of the table have them."""
    lines = output.splitlines()[1:]
    return [line.split()[1].rsplit("/", 1)[-1] for line in lines if line[:1].isdigit()]


def test_runs_are_ranked_and_failed_ones_come_last(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "fair", [0, 1, 2, 0], 0.8),
        write_run(tmp_path / "good", [0, 1, 2, 1], 0.9),
        write_run(tmp_path / "bad", [0, 0, 0, 0], 0.99, outcome="collapsed"),
        write_run(tmp_path / "safe", [0, 1, 1, 1], 0.7, outcome="collapsed", shipped="source-only"),
    ]
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["good", "fair", "safe", "bad"]
    assert "No target label was used" in printed
    assert "80.0% ?" in printed


def test_equal_clusters_are_decided_by_agreement(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "odd", [2, 2, 1, 0], 0.9),
        write_run(tmp_path / "one", [0, 1, 2, 1], 0.9),
        write_run(tmp_path / "two", [0, 1, 2, 2], 0.8),
    ]
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["one", "odd", "two"]


@pytest.mark.parametrize("different", [{"names": ["a", "b", "c", "d"]}, {"classes": ["ant", "bee", "cow"]}])
def test_runs_on_other_images_or_classes_are_not_compared(tmp_path, capsys, different):
    runs = [write_run(tmp_path / "one", [0] * 4, 0.9), write_run(tmp_path / "two", [0] * 4, 0.9, **different)]
    assert run(["compare", *runs]) == 2
    assert "another target, or other classes" in capsys.readouterr().err


def test_one_run_twice_is_no_comparison(tmp_path, capsys):
    one = write_run(tmp_path / "one", [0] * 4, 0.9)
    assert run(["compare", one, one]) == 2
    assert "at least two different runs" in capsys.readouterr().err


def test_a_run_that_is_not_judged_is_told(tmp_path, capsys):
    runs = [write_run(tmp_path / name, [0] * 4, 0.9) for name in ("one", "two")]
    (tmp_path / "two" / "judgement.json").unlink()
    assert run(["compare", *runs]) == 2
    assert "no judgement.json" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["predictions.safetensors", "judgement.json"])
def test_a_damaged_run_is_told(tmp_path, capsys, damage):
    runs = [write_run(tmp_path / name, [0] * 4, 0.9) for name in ("one", "two")]
    (tmp_path / "two" / damage).write_text("{}")
    assert run(["compare", *runs]) == 2
    assert "do not fit each other" in capsys.readouterr().err
