"""The page that compares several targets."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from browser import Browser, find_browser
from dalib.records.evaluation import Evaluation, MeasuredModel
from dalib.records.judgement import Judgement
from dalib.records.several import SeveralTargets
from dalib.report.page import write_report
from dalib.report.several import headline, write_comparison
from several_targets import make_several

WRITTEN = Path(__file__).parents[1] / "records" / "written" / "both"


@pytest.fixture
def folder(tmp_path):
    made = make_several(tmp_path / "several", WRITTEN, ["street", "night"], waiting=["dawn"])
    measured = {name: MeasuredModel(0.75, (0.5, 0.9)) for name in ("adapted", "source-only")}
    Evaluation("labelled <night>", 40, measured).write(made.run("night").evaluations / "night.json")
    write_report(made.run("street"))
    return made


def test_each_target_has_a_line_with_its_verdict_numbers_and_report(folder):
    page = write_comparison(folder).read_text()
    assert page.count('<a href="street/report.html">') == 2
    assert "night/report.html" not in page  # it has none yet
    assert "Not trained yet" in page
    assert page.count('75.0%<span class="remark">50.0% to 90.0%</span><span class="remark">measured') == 2
    assert [each.status for each in SeveralTargets.read(folder.record).targets] == ["done", "done", "waiting"]


def test_the_page_is_whole_and_the_same_for_the_same_runs(folder):
    page = write_comparison(folder).read_bytes()
    assert write_comparison(folder).read_bytes() == page
    assert not re.search(rb"(src|href)=\"(https?:)?//", page)
    assert page.count(b"<li class=") == 3


def test_names_are_escaped_and_a_link_is_quoted(tmp_path):
    folder = make_several(tmp_path / "several", WRITTEN, ["grün"])
    record = folder.read()
    replace(record, source="<b>source</b>").write(folder.record)
    write_report(folder.run("grün"))
    page = write_comparison(folder).read_text()
    assert "&lt;b&gt;source" in page
    assert "<b>source" not in page
    assert 'href="gr%C3%BCn/report.html"' in page


def test_a_choice_that_was_made_since_shows(folder):
    run = folder.run("street")
    Judgement.read(run.judgement)
    other = next(name for name in ("source-only", "adapted") if name != run.selection().model)
    replace(run.selection(), model=other, by="user").write(run.selected)
    page = write_comparison(folder).read_text()
    assert f"selected: {other}" in page
    shutil.rmtree(run.root)
    assert write_comparison(folder).read_text().count("Not trained yet") == 2


@pytest.mark.parametrize(
    ("tones", "said"),
    [
        (["helped", "helped"], "Adaptation helped on 2 of 2 targets"),
        (["helped", "unclear"], "Adaptation helped on 1 of 2 targets; can't tell on 1"),
        (["unclear", "unclear"], "Can't tell whether adaptation helped on 2 of 2 targets"),
        (["hurt", "unfinished"], "Adaptation hurt on 1 of 2 targets; 1 not finished"),
        (["unfinished", "unfinished"], "2 targets, of which 2 are not finished"),
        (["unknown", "unfinished"], "2 targets, of which 1 is not finished"),
        (["unknown"], "1 target without a verdict"),
    ],
)
def test_the_headline_counts_the_verdicts(tones, said):
    assert headline(tones) == said


@pytest.mark.slow
def test_the_page_is_no_wider_than_a_telephone_with_names_that_do_not_break(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium")
    folder = make_several(tmp_path / "several", WRITTEN, ["street", "night_" * 15 + "camera"], waiting=["dawn"])
    replace(folder.read(), source="/a_folder_" + 12 * "and_so_on_").write(folder.record)
    browser = Browser(path, tmp_path / "profile")
    try:
        browser.open(write_comparison(folder).absolute().as_uri(), 390, 844)
        assert browser.evaluate("document.scrollingElement.scrollWidth") <= 390
        table = "document.querySelector('.scroll')"
        assert browser.evaluate(f"{table}.scrollWidth > {table}.clientWidth")  # which scrolls by itself
    finally:
        browser.close()
