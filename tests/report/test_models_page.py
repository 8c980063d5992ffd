"""The page of `dalib judge`."""

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

import dalib
from browser import Browser, find_browser
from dalib.report.models_page import judged_page
from models_elsewhere import write_tables


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path)


def test_names_of_files_are_escaped_in_the_page(tables):
    models = {"<script>alert(1)</script>": tables / "before.csv", "b": tables / "after.csv"}
    text = judged_page(dalib.judge_models(models, features=tables / "features.npz"), "<b>judged</b>")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>judged" not in text


def test_in_a_narrow_window_each_number_has_the_name_of_its_column(tables):
    judgement = dalib.judge_models({"a": tables / "before.csv", "b": tables / "after.csv"})
    table = re.search("<table.*?</table>", judged_page(judgement, "judged"), re.DOTALL)[0]
    columns = re.findall('<th scope="col"[^>]*>(.*?)</th>', table)
    assert re.findall('data-name="(.*?)"', table) == columns[1:] * 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390])
def test_the_table_of_models_fits_on_a_phone(tables, tmp_path, width):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here; CHROMIUM names one")
    models = {"source-only": tables / "before.csv", "after_" * 8: tables / "after.csv"}
    judgement = dalib.judge_models(models, features=tables / "features.npz", reference="source-only")
    page = tmp_path / "judged.html"
    page.write_text(judged_page(judgement, "judged"), encoding="utf-8")
    browser = Browser(path, tmp_path / "profile")
    try:
        browser.open(page.as_uri(), width)
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.evaluate("(each => each.scrollWidth - each.clientWidth)(document.querySelector('.scroll'))") == 0
    finally:
        browser.close()


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(file, "JPEG")
    return file.getvalue()


def test_images_on_which_models_differ_are_shown_where_they_are_at_hand(tables):
    judgement = dalib.judge_models({"a": tables / "before.csv", "b": tables / "after.csv"})
    assert "<img" not in judged_page(judgement, "judged")
    assert judgement.pictures == {}
    names = ['x" onerror="alert(1)', "b.jpg", "c.jpg"]
    differing = tuple((name, "<i>ant", "bee") for name in names)
    shown = replace(judgement, differing=differing, pictures={names[0]: jpeg(40), "b.jpg": b"no picture"})
    text = judged_page(shown, "judged")
    assert text.count("<img") == 1, "the others are named alone"
    assert 'src="data:image/jpeg;base64,' in text
    assert 'width="40" height="40"' in text
    assert ' onerror="' not in text
    assert "<i>ant" not in text
    assert all(name in text for name in names[1:])
    assert "pictures" not in shown.as_dict()
