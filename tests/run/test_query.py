"""`dalib query` and `dalib eval --labels`, on runs whose predictions are written here."""

import base64
import csv
import io
import json
import re

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from browser import Browser, find_browser
from dalib.commands.main import run
from dalib.run.prior import read_prior

pytestmark = pytest.mark.usefixtures("few_digits")
CLASSES = ["cat", "dog", "=cow"]
IMAGES = 400
NAMES = [
    "photos/0, hostile\n.png",
    "photos/=HYPERLINK(1).png",
    *(f"photos/{number}.png" for number in range(2, IMAGES)),
]


def made(folder, models=("adapted", "source-only"), images=IMAGES):
    """A run, and the classes of its target's images, of which adapted has 90% right and source-only 75%, about."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (images,), generator=generator)
    tensors = {}
    for name, sharpness in (("adapted", 2.5), ("source-only", 1.5)):
        logits = torch.randn(images, 3, generator=generator)
        logits[torch.arange(images), labels] += sharpness
        tensors[f"target/{name}"] = (1.5 * logits).softmax(dim=1)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    summary = {"dalib": "0", "torch": "2", "python": "3", "device": "CPU", "status": "done"}
    summary |= {"started": "2026-01-01T00:00:00+00:00", "method": "self-ensemble", "source": "drawings"}
    summary |= {"target": "photos", "classes": CLASSES, "models": {}, "seconds": {"data": 1.0}}
    summary["counts"] = {"source": 1, "source_validation": 0, "target": images, "unreadable": 0}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "images.json").write_text(json.dumps({"target": NAMES[:images], "validation": []}))
    save_file({f"target/{name}": tensors[f"target/{name}"] for name in models}, folder / "predictions.safetensors")
    return folder, labels.tolist(), tensors


@pytest.fixture
def a_run(tmp_path):
    return made(tmp_path / "run")


def query(found, out, *more):
    assert run(["query", str(found), "--out", str(out), *more]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def fill_in(rows, labels, out, *, columns=None, only=None):
    """Label the rows as a person would, all or the first few."""
    classes = {name: CLASSES[label] for name, label in zip(NAMES, labels, strict=False)}
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or rows[0].keys(), extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({**row, "label": classes[row["path"]] if only is None or number < only else ""})


def evaluate(found, out):
    assert run(["eval", str(found), "--labels", str(out)]) == 0
    return json.loads((found / "labelled.json").read_text())


@pytest.mark.parametrize(("content", "told"), [("model: {bottleneck", "expected YAML"), ("- 1", "expected settings")])
def test_a_damaged_configuration_is_told(a_run, tmp_path, capsys, content, told):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    (found / "config.yaml").write_text(content)
    capsys.readouterr()
    assert run(["eval", str(found), "--labels", str(tmp_path / "few.csv")]) == 2
    assert f"{found}/config.yaml: {told}" in capsys.readouterr().err


def test_a_query_is_a_list_to_fill_in(a_run, tmp_path, capsys):
    found, *_ = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "20")
    told = capsys.readouterr().out
    assert list(rows[0]) == ["path", "label", "stratum", "population", "weight"]
    assert len({row["path"] for row in rows}) == 20
    assert {row["path"] for row in rows} <= set(NAMES)
    assert {row["label"] for row in rows} == {""}
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(IMAGES, rel=1e-4)
    assert "20 of 400 target images" in told
    assert f"dalib eval {found} --labels {tmp_path / 'few.csv'}" in told
    assert "cat, dog, =cow" in told


def test_the_seed_decides_and_a_file_is_never_overwritten(a_run, tmp_path, capsys):
    found, *_ = a_run
    first = query(found, tmp_path / "first.csv", "--n", "20")
    assert query(found, tmp_path / "again.csv", "--n", "20") == first
    assert query(found, tmp_path / "other.csv", "--n", "20", "--seed", "1") != first
    assert run(["query", str(found), "--out", str(tmp_path / "first.csv")]) == 2
    assert "perhaps with labels" in capsys.readouterr().err


def test_all_images_where_more_are_wanted_than_there_are(a_run, tmp_path, capsys):
    found, labels, tensors = a_run
    rows = query(found, tmp_path / "few.csv", "--n", "1000")
    assert "all of them" in capsys.readouterr().out
    assert sorted(row["path"] for row in rows) == sorted(NAMES)
    fill_in(rows, labels, tmp_path / "few.csv")
    result = evaluate(found, tmp_path / "few.csv")
    truth = {
        name: (tensors[f"target/{name}"].argmax(dim=1) == torch.tensor(labels)).double().mean().item()
        for name in result["models"]
    }
    for name, measured in result["models"].items():
        assert [measured[end] for end in ("value", "low", "high")] == pytest.approx([truth[name]] * 3)
    assert result["difference"]["value"] == pytest.approx(truth["adapted"] - truth["source-only"])


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


@pytest.mark.parametrize("missing", ["predictions.safetensors", "images.json"])
@pytest.mark.parametrize("command", ["query", "eval"])
def test_an_older_run_says_what_to_do(missing, command, a_run, tmp_path, capsys):
    found, *_ = a_run
    (found / missing).unlink()
    (tmp_path / "few.csv").write_text("path,label\n")
    more = {"query": ["--out", str(tmp_path / "new.csv")], "eval": ["--labels", str(tmp_path / "few.csv")]}[command]
    assert run([command, str(found), *more]) == 2
    error = capsys.readouterr().err
    assert missing in error
    assert "older version" in error
    assert error.count("\n") == 1


def test_damaged_predictions_are_told(a_run, tmp_path, capsys):
    found, _, tensors = a_run
    save_file({"target/adapted": tensors["target/adapted"][:10].clone()}, found / "predictions.safetensors")
    assert run(["query", str(found), "--out", str(tmp_path / "few.csv")]) == 2
    assert "damaged" in capsys.readouterr().err
    (found / "predictions.safetensors").write_bytes(b"nothing")
    assert run(["query", str(found), "--out", str(tmp_path / "few.csv")]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "{run}", "--n", "0"], "--n 0"),
        (["query", "{run}", "--out", "none/x.csv"], "its folder does not exist"),
        (["query", "none"], "no such folder"),
        (["eval", "{run}"], "either --data or --labels"),
        (["eval", "{run}", "--data", "x", "--labels", "y"], "either --data or --labels"),
        (["eval", "{run}", "--labels", "none.csv"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, expected, a_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([argument.format(run=a_run[0]) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_a_query_is_no_test_set(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    fill_in(query(found, tmp_path / "few.csv", "--n", "20"), labels, tmp_path / "few.csv")
    assert run(["eval", str(found), "--data", str(tmp_path / "few.csv")]) == 2
    assert f"expected --labels {tmp_path / 'few.csv'}" in capsys.readouterr().err


# the page


def pictured(folder, count=12):
    """A run whose target's images are there, one of them broken and one of a hostile name, and the labels."""
    found, labels, _ = made(folder / "run", images=count)
    names = [f"{folder}/photos/{number}.png" for number in range(count)]
    names[1] = f"{folder}/photos/<img src=x onerror=alert(1)>.png"
    (folder / "photos").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (400, 200), (20 * number, 0, 0)).save(name)
    (folder / "photos" / "2.png").write_bytes(b"no image")
    summary = json.loads((found / "summary.json").read_text())
    (found / "summary.json").write_text(json.dumps(summary | {"target": f"{folder}/photos"}))
    (found / "images.json").write_text(json.dumps({"target": names, "validation": []}))
    return found, labels, names


def test_a_page_shows_the_images_and_is_whole_in_itself(tmp_path, capsys):
    found, _, _ = pictured(tmp_path)
    query(found, tmp_path / "few.csv", "--n", "12")
    assert f"Open {tmp_path / 'few.html'} in a browser" in capsys.readouterr().out
    page = (tmp_path / "few.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 11
    assert page.count("cannot be shown") == 1
    assert page.count("<select") == 12
    assert "<img src=x" not in page
    assert '<option value="=cow">=cow</option>' in page
    first = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert Image.open(io.BytesIO(first)).size == (320, 160)
    (tmp_path / "few.csv").unlink()
    assert run(["query", str(found), "--out", str(tmp_path / "few.csv")]) == 2
    assert "few.html already, perhaps with labels" in capsys.readouterr().err


def test_without_pictures_there_is_no_page(a_run, tmp_path, capsys):
    query(a_run[0], tmp_path / "few.csv", "--n", "5")
    assert not (tmp_path / "few.html").exists()
    assert "Look at each image" in capsys.readouterr().out


def test_a_target_that_is_no_file_is_shown_too(tmp_path):
    out = tmp_path / "run"
    steps = ["--steps", "2", "--baseline_steps", "2", "--batch", "16"]
    assert run(["train", "--out", str(out), *steps]) == 0
    query(out, tmp_path / "few.csv", "--n", "5")
    assert (tmp_path / "few.html").read_text().count('src="data:image/png;base64,') == 5


@pytest.mark.slow
def test_what_is_chosen_in_a_browser_is_a_list_that_eval_reads(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here; CHROMIUM names one")
    found, labels, names = pictured(tmp_path)
    rows = query(found, tmp_path / "few.csv", "--n", "12")
    browser = Browser(path, tmp_path / "profile")
    try:
        for width in (390, 1280):
            browser.open((tmp_path / "few.html").as_uri(), width)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        for number, row in enumerate(rows):
            label = json.dumps(CLASSES[labels[names.index(row["path"])]])
            browser.evaluate(f"selects[{number}].value = {label}; selects[{number}].dispatchEvent(new Event('change'))")
        browser.open((tmp_path / "few.html").as_uri(), 1280)  # what was chosen is still there
        assert browser.evaluate("document.getElementById('count').textContent") == "12 of 12 labelled"
        saved = browser.evaluate("table()")
    finally:
        browser.close()
    (tmp_path / "few.csv").write_text(saved, encoding="utf-8", newline="")
    assert evaluate(found, tmp_path / "few.csv")["count"] == 12
