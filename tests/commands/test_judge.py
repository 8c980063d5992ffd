"""`dalib judge`: models that were trained elsewhere, from the command line."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from dalib.commands.main import run
from dalib.judge.ranking import MOST_DIFFERING
from models_elsewhere import (
    AFTER,
    BEFORE,
    CLASSES,
    LABELS,
    NAMES,
    features_and_labels,
    write_csv,
    write_pictures,
    write_tables,
)


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return write_pictures(tmp_path)


def test_the_command_prints_the_judgement_and_writes_a_page(tables, capsys):
    page = tables / "pages" / "judged.html"
    command = ["judge", f"old={tables / 'before.csv'}", str(tables / "after.csv"), "--reference", "old"]
    assert run([*command, "--features", str(tables / "features.npz"), "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("after seems to be better than old, with a probability of 99%.")
    assert "No accuracy is estimated" in printed
    assert f"page  {page}" in printed
    text = page.read_text(encoding="utf-8")
    assert "<h1>after seems to be better than old" in text
    assert "street/" in text


def test_a_page_is_replaced_and_no_other_file(tables, capsys):
    command = ["judge", str(tables / "before.csv"), str(tables / "after.csv"), "--out", str(tables / "page.html")]
    assert run(command) == 0
    assert run(command) == 0
    (tables / "page.html").write_text("<html><title>mine</title></html>")
    assert run(command) == 2
    assert "there is a file already that is not a page of judged models" in capsys.readouterr().err
    assert (tables / "page.html").read_text() == "<html><title>mine</title></html>"


def test_the_command_prints_json_alone(tables, capsys):
    models = [str(tables / "before.csv"), str(tables / "after.csv")]
    assert run(["judge", *models, "--features", str(tables / "features.npz"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["best"] == "after"
    assert [each["name"] for each in content["models"]] == ["after", "before"]


def test_the_command_takes_a_column_or_an_expression_of_groups(tables, capsys):
    command = ["judge", str(tables / "before.csv"), str(tables / "after.csv"), "--out", str(tables / "page.html")]
    assert run([*command, "--features", str(tables / "features.npz"), "--groups", "street/([0-9][0-9])"]) == 0
    told = "Images that belong together: 120 images in 12 groups by street/([0-9][0-9]), the largest of 10."
    assert told in capsys.readouterr().out
    assert f"<p>{told}</p>" in (tables / "page.html").read_text(encoding="utf-8")
    text = (tables / "before.csv").read_text().splitlines()
    lines = [f"{text[0]},day", *(f"{row},{number // 20}" for number, row in enumerate(text[1:]))]
    (tables / "before.csv").write_text("\n".join(lines))
    assert run([*command, "--groups", "day", "--json"]) == 0
    assert "6 groups by the column day" in json.loads(capsys.readouterr().out)["groups"]


def test_the_command_estimates_with_validation_tables_and_features_of_the_source(tables, capsys):
    source, labels = features_and_labels(2)
    np.savez(tables / "source.npz", features=source, labels=np.array(CLASSES)[labels])
    for name, said in (("before", BEFORE), ("after", AFTER)):
        write_csv(tables / f"{name}_validation.csv", said, labels=LABELS, column="")
    models = [str(tables / "before.csv"), str(tables / "after.csv")]
    validation = [str(tables / "before_validation.csv"), str(tables / "after_validation.csv")]
    more = ["--source", str(tables / "source.npz"), "--validation", *validation]
    assert run(["judge", *models, "--features", str(tables / "features.npz"), *more]) == 0
    printed = capsys.readouterr().out
    assert "No accuracy is estimated" not in printed
    assert "100.0%" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.csv"], "expected at least two tables of probabilities, got 1"),
        ([], "expected TABLE, which is missing"),
        (["before.csv", "nothing.csv"], "no such file"),
        (["before.csv", "before.csv"], "two models have the name 'before'; name them, such as other="),
        (["before.csv", "other.csv"], "its images are not those of the first model; it lacks 'street/000.jpg'"),
        (["before.csv", "classes.csv"], "expected the classes 'ant', 'bee', 'cat' and 1 more; it lacks 'dog'"),
        (["before.csv", "twice.csv"], "the image 'street/000.jpg' has more than one row"),
        (["before.csv", "words.csv"], "row 1: expected a number in the column 'ant', got 'much'"),
        (["before.csv", "logits.csv"], "apply softmax to logits first"),
        (["before.csv", "empty.csv"], "expected a header and at least one row"),
        (["before.csv", "missing.csv"], "NaN or infinite values in 1 of 120 rows, the first is row 1 (street/000.jpg)"),
        (["before.csv", "a.npz"], "cannot be read"),
        (["before.csv", "after.csv", "--validation", "before.csv"], "--validation: expected one table for each of 2"),
        (["before.csv", "after.csv", "--validation", "before.csv", "after.csv"], "expected a column label"),
        (
            ["before.csv", "after.csv", "--validation", "aftr=after.csv"],
            "--validation: expected names of models (before, after), got 'aftr'; did you mean after?",
        ),
        (["before.csv", "after.csv", "--reference", "aftr"], "--reference aftr: expected one of the models"),
        (["before.csv", "after.csv", "--images", "nowhere"], "--images"),
        (["before.csv", "after.csv", "--out", "page.pdf"], "--out page.pdf: expected a name that ends in .html"),
        (["before.csv", "after.csv", "--out", "."], "--out .: expected a name that ends in .html"),
        (["before.csv", "after.csv", "--source", "x"], "--source x: expected --features or --images"),
        (["before.csv", "after.csv", "--features", "before.csv"], "expected a file that ends in .npz, .npy"),
        (["before.csv", "after.csv", "--features", "none.npy"], "--features none.npy: no such file"),
        (["before.csv", "after.csv", "--featurs", "x"], "did you mean --features?"),
        (["before.csv", "after.csv", "--groups", "auto"], "--groups auto: it compares the images themselves; give"),
        (["before.csv", "after.csv", "--groups", "day"], "--groups day: no table of a model has a column of this name"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(arguments, message, tables, capsys, monkeypatch):
    monkeypatch.chdir(tables)
    write_csv(Path("other.csv"), AFTER, [f"other/{name}" for name in NAMES[:-1]] + ["other/new.jpg"])
    write_csv(Path("classes.csv"), AFTER, classes=["ant", "bee", "cat", "doog"])
    write_csv(Path("twice.csv"), AFTER, [NAMES[0], *NAMES[:-1]])
    write_csv(Path("logits.csv"), 5 * AFTER)
    Path("empty.csv").write_text("path,ant,bee\n")
    Path("a.npz").write_bytes(b"not an archive")
    text = Path("before.csv").read_text()
    first = text.splitlines()[1].split(",")
    Path("words.csv").write_text(text.replace(",".join(first), ",".join([first[0], "much", *first[2:]])))
    Path("missing.csv").write_text(text.replace(",".join(first), ",".join([first[0], "", *first[2:]])))
    assert run(["judge", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_page_is_written_where_nobody_reads_what_is_printed(pictures, monkeypatch):
    class ReaderIsGone:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", ReaderIsGone())
    command = ["judge", str(pictures / "old.csv"), str(pictures / "new.csv"), "--images", str(pictures / "target")]
    assert run([*command, "--out", str(pictures / "judged.html")]) == 0
    assert (pictures / "judged.html").is_file()
    assert run(command) == 141


def test_the_built_in_network_sees_the_images(pictures, capsys):
    models = [str(pictures / "old.csv"), str(pictures / "new.csv")]
    command = ["judge", *models, "--images", str(pictures / "target"), "--reference", "old"]
    page = pictures / "judged.html"
    assert run([*command, "--source", str(pictures / "source"), "--out", str(page)]) == 0
    assert "new seems to be better than old" in capsys.readouterr().out
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" width="(\d+)" height="(\d+)"', page.read_text())
    assert 0 < len(shown) <= MOST_DIFFERING
    assert {(width, height) for _, width, height in shown} == {("112", "112")}
    assert page.stat().st_size < 200_000
    assert list((pictures / "cache" / "features").iterdir())
    (pictures / "target" / "00.png").unlink()
    assert run(command) == 2
    assert "1 of 40 images of the tables are not there, such as '00.png'" in capsys.readouterr().err
