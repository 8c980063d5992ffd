"""The page of `dalib judge`."""

import pytest

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
