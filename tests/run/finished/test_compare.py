"""`dalib compare`, on run folders that the tests write."""

import json

import pytest
import torch
from safetensors.torch import save_file

from dalib.commands.main import run

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
    assert "No target labels were used for this order" in printed
    assert "80.0% ?" in printed


def test_the_score_that_is_shown_is_the_one_that_sorts(tmp_path, capsys):
    runs = [write_run(tmp_path / "one", [0, 1, 2, 0], 0.9), write_run(tmp_path / "two", [0, 1, 2, 1], None)]
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert printed.count("0.500") == 2
    assert "0.900" not in printed
    assert "sorted by Corr-C" in printed
    assert run(["compare", runs[0], write_run(tmp_path / "three", [0, 1, 2, 1], 0.8)]) == 0
    printed = capsys.readouterr().out
    assert "0.900" in printed
    assert "sorted by clusters (ClassAMI" in printed


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


def test_a_run_that_is_given_twice_counts_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = write_run(tmp_path / "odd", [2, 2, 1, 0], 0.9)
    others = [write_run(tmp_path / "one", [0, 1, 2, 0], 0.9), write_run(tmp_path / "two", [0, 1, 2, 1], 0.9)]
    assert run(["compare", odd, *others]) == 0
    once = capsys.readouterr().out
    assert run(["compare", odd, *others, odd, "odd"]) == 0
    assert capsys.readouterr().out == once


def test_a_run_that_is_not_judged_is_told(tmp_path, capsys):
    runs = [write_run(tmp_path / name, [0] * 4, 0.9) for name in ("one", "two")]
    (tmp_path / "two" / "judgement.json").unlink()
    assert run(["compare", *runs]) == 2
    told = capsys.readouterr().err
    assert "no judgement.json" in told
    assert f"`dalib train --resume {tmp_path / 'two'}` finishes it" in told


def measured(root, data, *, count=100, asked=None, file=None, **accuracies):
    """Write what `dalib eval --data` leaves."""
    models = {name.replace("_", "-"): {"accuracy": value, "interval": [0, 1]} for name, value in accuracies.items()}
    result = {"data": data, "count": count, "when": "2026", "models": models}
    (root / "evaluations").mkdir(exist_ok=True)
    content = result if asked is None else result | {"asked": asked}
    (root / "evaluations" / f"{file or data}.json").write_text(json.dumps(content))


def test_one_labelled_set_is_the_same_however_its_path_is_spelled(tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    measured(tmp_path / "clustered", "street", file="street-0a1b2c", adapted=0.5)
    measured(tmp_path / "right", "/data/street", file="street-0a1b2c", adapted=0.6)
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["right", "clustered"]


def test_a_measurement_on_the_same_labels_decides_and_it_says_so(tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    measured(tmp_path / "clustered", "street", adapted=0.5, source_only=0.7)
    measured(tmp_path / "right", "street", adapted=0.6, source_only=0.4)
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["right", "clustered"]
    assert "accuracy of their selected models on street (100 labelled images)" in printed
    assert "No target labels were used for this order" not in printed
    assert "60.0%" in printed


def test_labelled_images_that_were_given_as_objects_are_named_by_what_they_are(tmp_path, capsys):
    runs = [write_run(tmp_path / "one", [0, 1, 2, 0], 0.9), write_run(tmp_path / "two", [0, 1, 2, 1], 0.8)]
    given = f"/cache/given/{'0' * 32}/array-of-100-labelled-images.csv"
    for name, accuracy in (("one", 0.5), ("two", 0.6)):
        measured(tmp_path / name, given, file="array", adapted=accuracy)
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert "models on array-of-100-labelled-images (100 labelled images)" in printed
    assert "cache" not in printed


@pytest.mark.parametrize("other", [{"data": "elsewhere"}, {"data": "street", "count": 99}])
def test_measurements_on_other_labels_do_not_compare(other, tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    measured(tmp_path / "clustered", "street", adapted=0.5)
    measured(tmp_path / "right", **other, adapted=0.6)
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["clustered", "right"]
    assert "No target labels were used for this order" in printed
    assert "not all runs on the same labels" in printed


def test_a_list_of_labels_is_the_same_however_its_path_is_spelled(tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    for name, accuracy, given in (("clustered", 0.5, "few.csv"), ("right", 0.6, "./few.csv")):
        models = {"adapted": {"value": accuracy, "low": 0, "high": 1}}
        labelled = {"labels": given, "count": 30, "models": models}
        (tmp_path / name / "labelled.json").write_text(json.dumps(labelled))
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["right", "clustered"]
    assert "not all runs on the same labels" not in printed


@pytest.mark.parametrize(
    ("given", "told"),
    [("few.csv", "labels of the target, few.csv"), (f"/cache/hints/{'0' * 32}.csv", "labels of the target")],
)
def test_labels_of_the_target_are_named_by_their_file_unless_they_were_given_as_objects(given, told, tmp_path, capsys):
    runs = [write_run(tmp_path / "one", [0, 1, 2, 0], 0.9), write_run(tmp_path / "two", [0, 1, 2, 1], 0.8)]
    for name in ("one", "two"):
        models = {"adapted": {"value": 0.5, "low": 0, "high": 1}}
        labelled = {"labels": given, "count": 30, "models": models}
        (tmp_path / name / "labelled.json").write_text(json.dumps(labelled))
    assert run(["compare", *runs]) == 0
    assert f"models on {told} (30 labelled images)" in capsys.readouterr().out


def test_a_named_set_is_the_same_whatever_the_names_of_its_files(tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    for name, accuracy in (("clustered", 0.5), ("right", 0.6)):
        measured(tmp_path / name, "usps-test", asked=True, adapted=accuracy)
        file = tmp_path / name / "evaluations" / "usps-test.json"
        file.rename(file.with_name(f"usps-test-{name}.json"))
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["right", "clustered"]


@pytest.mark.parametrize("old", [True, False])
def test_a_test_set_that_is_measured_by_default_does_not_decide(old, tmp_path, capsys):
    runs = [write_run(tmp_path / "clustered", [0, 1, 2, 0], 0.9), write_run(tmp_path / "right", [0, 1, 2, 1], 0.8)]
    for name, accuracy in (("clustered", 0.5), ("right", 0.6)):
        measured(tmp_path / name, "usps-test", asked=None if old else False, adapted=accuracy)
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        (tmp_path / name / "summary.json").write_text(json.dumps(summary | {"target": "usps"}))
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["clustered", "right"]


@pytest.mark.parametrize("other", ["source-only", "aligned"])
def test_all_models_of_a_run_are_shown_and_the_selected_one_competes(other, tmp_path, capsys):
    runs = [write_run(tmp_path / "one", [0, 1, 2, 0], 0.9), write_run(tmp_path / "two", [0, 1, 2, 1], 0.8)]
    target = sure_of([0, 1, 2, 1])
    save_file(
        {"target/adapted": sure_of([0, 0, 0, 0]), f"target/{other}": target},
        tmp_path / "two" / "predictions.safetensors",
    )
    judgement = json.loads((tmp_path / "two" / "judgement.json").read_text())
    judgement["models"][other] = {"scores": {"target_class_ami": 0.95, "target_corr_c": 0.5}}
    (tmp_path / "two" / "judgement.json").write_text(json.dumps(judgement))
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["one", "two"]
    assert printed.count("adapted, selected") == 2
    assert other in printed
    selection = {"version": 1, "model": other, "by": "measurement", "when": "", "measured": None}
    (tmp_path / "two" / "selection.json").write_text(json.dumps(selection))
    assert run(["compare", *runs]) == 0
    printed = capsys.readouterr().out
    assert order_of(printed) == ["two", "one"]
    assert f"{other}, selected" in printed
    assert "Labels decided which model is selected in some runs" in printed


def test_a_model_that_labels_selected_has_not_failed_whatever_was_judged_without_them(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "hurt", [0, 1, 2, 0], 0.9, outcome="hurt"),
        write_run(tmp_path / "fair", [0, 1, 2, 1], 0.8),
    ]
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["fair", "hurt"]
    selection = {"version": 1, "model": "adapted", "by": "measurement", "when": "", "measured": None}
    (tmp_path / "hurt" / "selection.json").write_text(json.dumps(selection))
    assert run(["compare", *runs]) == 0
    assert order_of(capsys.readouterr().out) == ["hurt", "fair"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [("predictions.safetensors", "do not fit each other"), ("judgement.json", "expected shipped, which is missing")],
)
def test_a_damaged_run_is_told(tmp_path, capsys, damage, told):
    runs = [write_run(tmp_path / name, [0] * 4, 0.9) for name in ("one", "two")]
    (tmp_path / "two" / damage).write_text("{}")
    assert run(["compare", *runs]) == 2
    assert told in capsys.readouterr().err
