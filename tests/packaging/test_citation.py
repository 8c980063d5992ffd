"""CITATION.cff says what this is and whose method."""

from pathlib import Path

import pytest
import yaml

import dalib

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_requires(citation):
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["type"] == "software"
    assert citation["authors"] == [{"name": "The dalib authors"}]


def test_name_version_and_licence_are_those_of_the_project(citation):
    assert (citation["title"], citation["version"], citation["license"]) == ("dalib", dalib.__version__, "MIT")


def test_the_papers_of_the_method_are_there(citation):
    papers = {
        (reference["title"], reference["year"]): [author["family-names"] for author in reference["authors"]]
        for reference in citation["references"]
    }
    assert papers[("Self-ensembling for visual domain adaptation", 2018)] == ["French", "Mackiewicz", "Fisher"]
    (teachers,) = [
        names for (title, year), names in papers.items() if title.startswith("Mean teachers") and year == 2017
    ]
    assert teachers == ["Tarvainen", "Valpola"]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
