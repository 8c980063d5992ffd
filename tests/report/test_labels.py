"""The page to label images: it holds its pictures, escapes names, and is not written for nothing."""

import base64
import csv
import io
import json
import re
from html import unescape

import pytest
from PIL import Image

from browser import Browser, find_browser
from dalib.commands.flags import FlagSpelling
from dalib.core.errors import PythonSpelling, spelled
from dalib.core.files import quoted
from dalib.report.labels import SIDE, SMALL, in_folder, picture_in, write_labelling_page

COLUMNS = ["path", "label", "stratum"]


def page(tmp_path, rows, picture_of, classes=("cup", "<b>"), **more):
    out = tmp_path / "to_label.html"
    shown = write_labelling_page(
        out,
        columns=COLUMNS,
        rows=rows,
        classes=classes,
        run=tmp_path / "run",
        csv_file=tmp_path / "to_label.csv",
        picture_of=picture_of,
        **more,
    )
    return shown, out


def test_pictures_lie_in_the_page(tmp_path):
    sizes = [SMALL, SMALL + 1]
    shown, out = page(tmp_path, [["a.png", "", "0"], ["b.png", "", "0"]], lambda n: Image.new("RGB", (sizes[n], 8)))
    assert shown == 2
    found = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", out.read_text())
    assert [kind for kind, _ in found] == ["png", "jpeg"]
    for (_, data), size in zip(found, sizes, strict=True):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (size, 8)


@pytest.mark.parametrize(("count", "title"), [(1, "1 image to label"), (2, "2 images to label")])
def test_the_title_counts_one_image_as_one(tmp_path, count, title):
    _, out = page(tmp_path, [["a.png", "", "0"]] * count, lambda n: Image.new("RGB", (8, 8)))
    assert re.findall("<(?:title|h1)>(.*?)<", out.read_text()) == [title, title]


def test_what_takes_the_labels_is_spelled_for_its_reader(tmp_path):
    run, labels = str(tmp_path / "run"), str(tmp_path / "to_label.csv")
    told = {
        PythonSpelling(): f"dalib.open_run({run!r}).evaluate_labels(labels={labels!r})",
        FlagSpelling(): f"dalib eval {quoted(run)} --labels {quoted(labels)}",
    }
    for spelling, expected in told.items():
        with spelled(spelling):
            _, out = page(tmp_path, [["a.png", "", "0"]], lambda n: Image.new("L", (8, 8)))
        assert f"<code>{expected}</code>" in unescape(out.read_text())


def test_what_takes_the_labels_has_the_groups_that_the_list_was_asked_for_with(tmp_path):
    with spelled(FlagSpelling()):
        _, out = page(tmp_path, [["a.png", "", "0"]], lambda n: Image.new("L", (8, 8)), groups="folder")
    assert "--groups folder</code>" in unescape(out.read_text())


def test_images_are_named_by_what_is_below_the_folder_that_they_share(tmp_path):
    rows = [[f"/data/street/{name}", "", "0"] for name in ("a/1.png", "b/1.png")]
    _, out = page(tmp_path, rows, lambda n: Image.new("L", (8, 8)))
    text = unescape(out.read_text())
    assert "each image of <code>/data/street/</code>" in text
    assert re.findall("<figcaption.*</figcaption>", text) == [
        f'<figcaption title="/data/street/{name}"><bdi>{name}</bdi></figcaption>' for name in ("a/1.png", "b/1.png")
    ]
    assert '["/data/street/a/1.png", "", "0"]' in text, "the list keeps its paths"
    assert in_folder([r"C:\in\a.png", r"C:\in\b.png"]) == ("C:\\in\\", ["a.png", "b.png"])
    given = "/cache/given/0123456789abcdef0123456789abcdef"
    assert in_folder([f"{given}/07.png", f"{given}/11.png"]) == ("", ["07", "11"])


@pytest.mark.slow
def test_a_click_selects_the_command_and_nothing_is_wider_than_a_phone(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here; CHROMIUM names one")
    folder = tmp_path / ("a_long_name" * 8)
    folder.mkdir()
    rows = [[f"{folder}/{'1' * 90}.png", "", "0"]] * 2
    _, out = page(folder, rows, lambda n: Image.new("L", (8, 8)))
    browser = Browser(path, tmp_path / "profile")
    try:
        browser.open(out.as_uri(), 390)
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        assert browser.evaluate("getComputedStyle(document.querySelector('.command')).userSelect") == "all"
    finally:
        browser.close()


def test_names_are_escaped(tmp_path):
    _, out = page(tmp_path, [["<script>alert(1)</script>.png", "", "0"]], lambda n: Image.new("L", (8, 8)))
    text = out.read_text()
    assert "<script>alert(1)" not in text
    assert "<b>" not in text


ODD_CLASSES = ["\u05e9\u05dc\u05d5\u05dd\u200f", "it\x92s", "a\tb", "</script><b>", "cup", "a\rb"]
"""Names of classes that a page shows otherwise than they are: a mark of direction, a wrong code page, a tab."""


def test_the_list_gets_the_names_of_the_classes_as_they_are(tmp_path):
    _, out = page(tmp_path, [["a.png", "", "0"]], lambda n: Image.new("L", (8, 8)), ODD_CLASSES)
    text = out.read_text(encoding="utf-8")
    assert json.loads(re.search(r"const names = (\[.*?\]);", text)[1]) == [*ODD_CLASSES, "unknown"]
    assert text.count("</script>") == 1


@pytest.mark.slow
def test_what_is_chosen_in_a_browser_is_the_name_of_the_class(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here; CHROMIUM names one")
    rows = [[f"{number}.png", "", "0"] for number in range(len(ODD_CLASSES) + 1)]
    _, out = page(tmp_path, rows, lambda n: Image.new("L", (8, 8)), ODD_CLASSES)
    browser = Browser(path, tmp_path / "profile")
    try:
        browser.open(out.as_uri(), 1280)
        for number in range(len(rows)):
            browser.evaluate(f"selects[{number}].selectedIndex = {number + 1}")
        saved = browser.evaluate("table()")
    finally:
        browser.close()
    assert [row["label"] for row in csv.DictReader(io.StringIO(saved, newline=""))] == [*ODD_CLASSES, "unknown"]


def test_images_that_cannot_be_shown_count_for_nothing(tmp_path):
    shown, out = page(tmp_path, [["a.png", "", "0"], ["b.png", "", "0"]], lambda n: None)
    assert shown == 0
    assert not out.exists()


def test_a_picture_is_read_small_and_none_of_what_is_no_picture(tmp_path):
    Image.new("RGB", (4 * SIDE, 2 * SIDE)).save(tmp_path / "large.png")
    assert max(picture_in(tmp_path / "large.png").size) == SIDE
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        assert picture_in(tmp_path / name) is None


@pytest.mark.parametrize("name", ["a\udcff.png"])
def test_names_that_are_no_text_are_written(tmp_path, name):
    _, out = page(tmp_path, [[name, "", "0"]], lambda n: Image.new("L", (8, 8)))
    assert "udcff.png" in out.read_text(encoding="utf-8")
