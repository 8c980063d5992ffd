"""The page of `dalib judge`."""

import io
from dataclasses import replace

import pytest
from PIL import Image

import dalib
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
