"""`dalib eval --labels`, on runs whose predictions are written here."""

import re

import pytest
import torch
from safetensors.torch import save_file

from dalib.commands.main import run
from dalib.records.folder import RunFolder
from dalib.run.classes.prior import read_prior
from dalib.run.finished.target_predictions import target_predictions
from predicted_run import CLASSES, IMAGES, NAMES, evaluate, fill_in, made, query

pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def a_run(tmp_path):
    return made(tmp_path / "run")


def test_filled_in_it_tells_accuracies_and_whether_adaptation_helped(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "100"), labels, tmp_path / "few.csv")
    result = evaluate(found, tmp_path / "few.csv")
    told = capsys.readouterr().out
    assert (result["count"], result["target"], result["design"], result["notes"]) == (100, 400, "stratified", [])
    assert list(result["models"]) == ["adapted", "source-only"]
    for measured in (*result["models"].values(), result["difference"]):
        assert measured["low"] < measured["value"] < measured["high"]
    assert result["difference"]["low"] > 0
    assert result["difference"]["count"] < 100
    assert "adaptation helped" in told
    assert "from 100 labels of 400 target images" in told
    assert (found / "report.html").is_file()


def test_it_writes_class_shares_that_a_prior_takes(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "100"), labels, tmp_path / "few.csv")
    capsys.readouterr()
    shares = evaluate(found, tmp_path / "few.csv")["shares"]
    assert f"{found}/shares.csv, which --prior {found} takes" in capsys.readouterr().out
    true = torch.bincount(torch.tensor(labels)).double() / IMAGES
    for share, each in zip(true.tolist(), shares, strict=True):
        assert each["low"] <= share <= each["high"]
        assert each["high"] - each["low"] < 0.2  # a count of 100 labels alone: 0.18
    assert read_prior(found, CLASSES).tolist() == pytest.approx([each["value"] for each in shares], abs=1e-4)


def test_class_shares_of_earlier_labels_do_not_stay(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "30"), labels, tmp_path / "few.csv")
    evaluate(found, tmp_path / "few.csv")
    (tmp_path / "unknown.csv").write_text("path,label\nphotos/2.png,unknown\nphotos/3.png,unknown\n")
    assert "shares" not in evaluate(found, tmp_path / "unknown.csv")
    assert not (found / "shares.csv").exists()


def test_who_stops_early_is_told_what_it_means(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "60"), labels, tmp_path / "few.csv", only=30)
    result = evaluate(found, tmp_path / "few.csv")
    assert result["count"] == 30
    assert "30 of 60 images have no label" in capsys.readouterr().out


@pytest.mark.parametrize("taken_out", [True, False])
def test_a_stratum_without_a_label_widens_the_interval(taken_out, a_run, tmp_path, capsys):
    found, labels, _ = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "60")
    fill_in(rows, labels, tmp_path / "few.csv")
    whole = evaluate(found, tmp_path / "few.csv")["models"]["adapted"]
    stratum = rows[0]["stratum"]
    rows.sort(key=lambda row: row["stratum"] == stratum)
    others = sum(row["stratum"] != stratum for row in rows)
    fill_in(rows[:others] if taken_out else rows, labels, tmp_path / "few.csv", only=others)
    capsys.readouterr()
    part = evaluate(found, tmp_path / "few.csv")["models"]["adapted"]
    assert part["high"] - part["low"] > whole["high"] - whole["low"]
    assert "without a label" in capsys.readouterr().out


@pytest.mark.parametrize("missing", range(6))
def test_accuracies_and_difference_fit_where_a_stratum_has_no_label(missing, a_run, tmp_path, capsys):
    found, labels, _ = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "60")
    strata = sorted({row["stratum"] for row in rows})
    without = strata[missing % len(strata)]
    rows.sort(key=lambda row: row["stratum"] == without)
    fill_in(rows, labels, tmp_path / "few.csv", only=sum(row["stratum"] != without for row in rows))
    result = evaluate(found, tmp_path / "few.csv")
    models, difference = result["models"], result["difference"]["value"]
    if difference is not None:
        assert models["adapted"]["value"] - models["source-only"]["value"] == pytest.approx(difference, abs=1e-9)
    for each in models.values():
        assert each["low"] <= each["value"] <= each["high"]


def test_accuracies_and_difference_fit_where_all_labels_are_where_models_differ(a_run, tmp_path):
    found, labels, tensors = a_run
    differ = tensors["target/adapted"].argmax(dim=1) != tensors["target/source-only"].argmax(dim=1)
    rows = [{"path": NAMES[number], "label": ""} for number in differ.nonzero().flatten().tolist()[:20]]
    fill_in(rows, labels, tmp_path / "plain.csv")
    result = evaluate(found, tmp_path / "plain.csv")
    values = [result["models"][name]["value"] for name in ("adapted", "source-only")]
    assert values[0] - values[1] == pytest.approx(result["difference"]["value"], abs=1e-9)


def test_models_that_agree_everywhere_are_said_to_once(a_run, tmp_path, capsys):
    found, labels, tensors = a_run
    save_file({name: tensors["target/adapted"].clone() for name in tensors}, found / "predictions.safetensors")
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    evaluate(found, tmp_path / "few.csv")
    assert "difference   none: the models agree on every target image\n" in capsys.readouterr().out


def test_models_that_differ_and_are_equally_wrong_are_not_said_to_agree(a_run, tmp_path, capsys):
    found, _, _ = a_run
    out = tmp_path / "few.csv"
    query(found, out, "--n", "400")
    out.write_text("".join(re.sub("^([^,]+),,", r"\1,unknown,", line) for line in out.read_text().splitlines(True)))
    evaluate(found, out)
    told = capsys.readouterr().out
    assert re.search(r"difference +none: the models are right on equally many images; they differ on \d+ of 400", told)
    assert "agree on every" not in told
    assert "unknown of the known ones" not in told


def test_a_plain_list_counts_as_a_random_sample_and_says_so(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    rows = [{"path": name} for name in NAMES[100:180]]
    fill_in(rows, labels, tmp_path / "few.csv", columns=["path", "label"])
    result = evaluate(found, tmp_path / "few.csv")
    assert result["design"] == "simple random"
    assert "simple random sample" in capsys.readouterr().out
    measured, values = result["difference"], {name: each["value"] for name, each in result["models"].items()}
    assert measured["low"] < measured["value"] < measured["high"]
    assert measured["count"] < 80
    assert measured["value"] == pytest.approx(values["adapted"] - values["source-only"])


@pytest.mark.parametrize("model", ["adapted", "source-only"])
def test_a_run_of_one_model_has_no_difference(model, tmp_path):
    found, labels, _ = made(tmp_path / "run", models=[model])
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    result = evaluate(found, tmp_path / "few.csv")
    assert list(result["models"]) == [model]
    assert "difference" not in result


def test_models_that_agree_everywhere_differ_by_nothing(tmp_path, capsys):
    found, labels, tensors = made(tmp_path / "run")
    same = tensors["target/adapted"]
    save_file({"target/adapted": same, "target/source-only": same.clone()}, found / "predictions.safetensors")
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    assert evaluate(found, tmp_path / "few.csv")["difference"] == {"value": 0, "low": 0, "high": 0, "count": 0}
    assert "agree on every target image" in capsys.readouterr().out


def test_the_list_of_another_run_on_the_same_target_serves(a_run, tmp_path):
    found, labels, tensors = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "100")
    other = tensors["target/source-only"].roll(1, dims=0)  # differs elsewhere
    save_file(
        {"target/adapted": tensors["target/adapted"], "target/source-only": other}, found / "predictions.safetensors"
    )
    fill_in(rows, labels, tmp_path / "few.csv")
    measured = evaluate(found, tmp_path / "few.csv")["difference"]
    truth = [
        (p.argmax(dim=1) == torch.tensor(labels)).double().mean().item() for p in (tensors["target/adapted"], other)
    ]
    assert measured["low"] < truth[0] - truth[1] < measured["high"]


def test_a_list_that_does_not_fit_is_refused(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "20")
    fill_in([{**row, "population": "1000"} for row in rows], labels, tmp_path / "few.csv")
    assert run(["eval", str(found), "--labels", str(tmp_path / "few.csv")]) == 2
    assert "list of another run" in capsys.readouterr().err
    fill_in([{**row, "population": "1"} for row in rows], labels, tmp_path / "few.csv")
    assert run(["eval", str(found), "--labels", str(tmp_path / "few.csv")]) == 2
    assert "were changed" in capsys.readouterr().err


def test_labels_that_were_trained_on_are_told(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    (found / "config.yaml").write_text(f"target_labels: {tmp_path / 'few.csv'}\n")
    evaluate(found, tmp_path / "few.csv")
    assert "trained on 20 of these labels" in capsys.readouterr().out
    (found / "config.yaml").write_text(f"target_labels: {tmp_path / 'gone.csv'}\n")
    evaluate(found, tmp_path / "few.csv")
    assert "not known" in capsys.readouterr().out


def test_adapted_is_compared_with_the_better_baseline_as_an_evaluation_compares_it(a_run, tmp_path, capsys):
    found, labels, tensors = a_run
    right = torch.eye(3)[torch.tensor(labels)] * 0.8 + 0.2 / 3
    save_file({**tensors, "target/aligned": right}, found / "predictions.safetensors")
    assert [*target_predictions(RunFolder(found))[1]][:2] == ["adapted", "source-only"], "by which images are chosen"
    fill_in(query(found, tmp_path / "few.csv", "--n", "100"), labels, tmp_path / "few.csv")
    result = evaluate(found, tmp_path / "few.csv")
    assert result["baseline"] == "aligned"
    gain = result["models"]["adapted"]["value"] - result["models"]["aligned"]["value"]
    assert result["difference"]["value"] == pytest.approx(gain, abs=1e-9)
    assert result["difference"]["high"] < 0
    assert "adaptation hurt" in capsys.readouterr().out
    assert "Adaptation hurt: adapted about" in (found / "report.html").read_text()


def test_the_best_model_of_three_is_selected_whichever_was_judged_the_baseline(a_run, tmp_path, capsys):
    found, labels, tensors = a_run
    for name in ("adapted", "source-only", "aligned"):
        folder = found / ("model" if name == "adapted" else f"{name}/model")
        folder.mkdir(parents=True)
        for file in ("model.safetensors", "config.json"):
            (folder / file).write_text(name)
    right = torch.nn.functional.one_hot(torch.tensor(labels), 3).float() * 0.97 + 0.01
    save_file({**tensors, "target/aligned": right}, found / "predictions.safetensors")
    assert list(target_predictions(RunFolder(found))[1])[:2] == ["adapted", "source-only"]
    fill_in(query(found, tmp_path / "few.csv", "--n", "100"), labels, tmp_path / "few.csv")
    evaluate(found, tmp_path / "few.csv")
    assert "aligned      100.0% right" in capsys.readouterr().out
    selection = RunFolder(found).selection()
    assert (selection.model, selection.by) == ("aligned", "measurement")
    assert {selection.measured.first, selection.measured.second} == {"aligned", "adapted"}
