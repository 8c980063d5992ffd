"""`dalib query`, on runs whose predictions are written here."""

import base64
import html
import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import dalib
from browser import Browser, find_browser
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.core.files import quoted
from predicted_run import CLASSES, IMAGES, NAMES, evaluate, fill_in, made, query

pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def a_run(tmp_path):
    return made(tmp_path / "run")


def one_line(capsys):
    return " ".join(capsys.readouterr().out.split())


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


def test_images_that_have_a_label_already_are_told(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    rows = query(found, tmp_path / "first.csv", "--n", "20")
    assert "already" not in capsys.readouterr().out
    fill_in(rows, labels, tmp_path / "first.csv", only=12)
    evaluate(found, tmp_path / "first.csv")
    capsys.readouterr()
    query(found, tmp_path / "same.csv", "--n", "20")
    assert f"12 of these images have labels already, in {tmp_path / 'first.csv'}" in one_line(capsys)
    query(found, tmp_path / "all.csv", "--n", str(IMAGES), "--seed", "1")
    assert "12 of these images have labels already" in one_line(capsys)
    (tmp_path / "first.csv").unlink()
    query(found, tmp_path / "other.csv", "--n", "20")
    assert "already" not in capsys.readouterr().out


def test_images_with_labels_that_trained_a_model_are_told(a_run, tmp_path, capsys):
    found, labels, _ = a_run
    (tmp_path / "known.csv").write_text(f"path,label\n{NAMES[5]},{CLASSES[labels[5]]}\n")
    (found / "config.yaml").write_text(f"seed: 0\ntarget_labels: {tmp_path / 'known.csv'}\n")
    query(found, tmp_path / "all.csv", "--n", str(IMAGES))
    assert f"1 of these images has a label among those that were given to the training, {tmp_path}" in one_line(capsys)


@pytest.mark.parametrize(
    ("out", "told"),
    [("", "expected a path, got an empty text"), (None, "expected a path, got NoneType"), (".", "there is a folder")],
)
def test_a_place_that_is_none_is_refused_in_a_sentence(a_run, tmp_path, monkeypatch, out, told):
    monkeypatch.chdir(tmp_path)
    found, *_ = a_run
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"^out.*{told}"):
        dalib.open_run(found).query(5, out=out)
    assert sorted(tmp_path.iterdir()) == before


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "{run}", "--n", "0"], "--n 0"),
        (["query", "{run}", "--seed", "-1"], "--seed -1: expected a whole number of at least 0"),
        (["query", "{run}", "--out", "{run}/config.yaml/x.csv"], "its folder cannot be made"),
        (["query", "{run}", "--out", "{run}"], "there is a folder"),
        (["query", "{run}", "--out", "few.html"], "expected the name of the list, such as few.csv"),
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


def test_a_folder_of_labelled_images_is_no_list_of_labels(a_run, tmp_path, capsys):
    (tmp_path / "street" / "cow").mkdir(parents=True)
    assert run(["eval", str(a_run[0]), "--labels", str(tmp_path / "street")]) == 2
    assert f"dalib eval {a_run[0]} --data {tmp_path / 'street'}" in capsys.readouterr().err


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


def test_the_page_names_the_groups_that_the_command_line_names(tmp_path, capsys):
    found, _, _ = pictured(tmp_path)
    query(found, tmp_path / "few.csv", "--n", "6", "--groups", "photos/(.)")
    told = f"{quoted(tmp_path / 'few.csv')} --groups {quoted('photos/(.)')}"
    assert told in capsys.readouterr().out
    assert f"{told}</code>" in html.unescape((tmp_path / "few.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)])
def test_a_query_that_ends_among_the_pictures_leaves_no_list(a_run, tmp_path, monkeypatch, error, code):
    def ends(*_, **__):
        raise error

    monkeypatch.setattr("dalib.run.finished.query.write_labelling_page", ends)
    assert run(["query", str(a_run[0]), "--out", str(tmp_path / "few.csv")]) == code
    assert not (tmp_path / "few.csv").exists()
    monkeypatch.undo()
    query(a_run[0], tmp_path / "few.csv", "--n", "5")


def test_images_that_were_moved_are_the_reason_for_no_page(tmp_path, capsys):
    found, *_ = made(tmp_path / "run")
    gone = [f"{tmp_path}/photos/{number}.png" for number in range(IMAGES)]
    (found / "images.json").write_text(json.dumps({"target": gone, "validation": []}))
    query(found, tmp_path / "few.csv", "--n", "5")
    told = one_line(capsys)
    assert f"no page shows the images, because {tmp_path}/photos/" in told
    assert "is not there any more; bring the images back" in told


def test_without_pictures_there_is_no_page(a_run, tmp_path, capsys):
    query(a_run[0], tmp_path / "few.csv", "--n", "5")
    assert not (tmp_path / "few.html").exists()
    told = capsys.readouterr().out
    assert "Look at each image" in told
    assert "no page shows the images, because photos/" in told
    assert f"is not found from {Path.cwd()}" in told


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
        # another tab with this page chooses: that is taken over, and a choice here keeps it
        other = "values[3] = ''; localStorage.setItem(key, JSON.stringify(values))"
        browser.evaluate(f"{{ const values = kept(); {other}; }}")
        browser.evaluate("selects[2].value = ''; selects[2].dispatchEvent(new Event('change'))")
        assert browser.evaluate("kept().filter(value => value !== '').length") == 10
        browser.evaluate("dispatchEvent(new StorageEvent('storage', {key}))")
        assert browser.evaluate("document.getElementById('count').textContent") == "10 of 12 labelled"
    finally:
        browser.close()
    (tmp_path / "few.csv").write_text(saved, encoding="utf-8", newline="")
    assert evaluate(found, tmp_path / "few.csv")["count"] == 12
