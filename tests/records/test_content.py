"""Records survive their files, and a damaged file is refused in a sentence."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from mutations import misshapen, tried
from old_runs import RUNS
from whole_run import contents

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import UserError
from dalib.core.files import read_json
from dalib.records.content import Record, decoded, encoded, read_list
from dalib.records.evaluation import Evaluation
from dalib.records.images import ImageNames, LeftOut
from dalib.records.judgement import Judgement
from dalib.records.labelled import Labelled
from dalib.records.pictures import Embedding, Sample
from dalib.records.summary import Summary

WRITTEN = Path(__file__).parent / "written"
FILES: dict[str, type[Record]] = {
    "summary.json": Summary,
    "judgement.json": Judgement,
    "embedding.json": Embedding,
    "labelled.json": Labelled,
    "evaluations/*.json": Evaluation,
    "images.json": ImageNames,
    "left_out.json": LeftOut,
}


@pytest.mark.parametrize("kind", FILES.values(), ids=lambda kind: kind.__name__)
def test_old_files_are_read_as_version_0_and_nothing_of_them_is_lost(kind):
    (pattern,) = (name for name, each in FILES.items() if each is kind)
    found = [path for name in RUNS for path in (WRITTEN / name).glob(pattern)]
    assert found
    for path in found:
        record = kind.read(path)
        assert record.version == 0
        written = json.loads(json.dumps(record.to_json()))
        expected = {**read_json(path), "version": kind.VERSION}
        if (pair := expected.get("paired")) is not None:  # of before there were more than two models
            names = {"first": "adapted", "second": "source-only"}
            expected["paired"] = [{**names, "only_first": pair["adapted"], "only_second": pair["source_only"]}]
        assert without_nulls(written) == without_nulls(expected)


def without_nulls(content):
    """Defaults that older files leave out are written as null or empty."""
    if isinstance(content, dict):
        return {key: without_nulls(each) for key, each in content.items() if each not in (None, {}, [], "")}
    return [without_nulls(each) for each in content] if isinstance(content, list) else content


@pytest.mark.parametrize("kind", FILES.values(), ids=lambda kind: kind.__name__)
def test_a_record_is_what_was_written(kind, tmp_path):
    (name,) = (name for name, each in FILES.items() if each is kind)
    record = kind.from_json(contents()[name.replace("*", "labelled")], "x")
    record.write(tmp_path / "x.json")
    again = kind.read(tmp_path / "x.json")
    assert again.version == kind.VERSION
    assert again.to_json() == record.to_json()


@pytest.mark.parametrize("name", ["summary.json", "judgement.json", "embedding.json", "labelled.json"])
def test_files_of_other_values_are_read_or_refused(name):
    refused = 0
    for content in misshapen(contents()[name], f"record {name}", 300):
        _, refusal = tried(partial(FILES[name].from_json, content, f"RUN/{name}"))
        refused += bool(refusal)
        assert refusal == "" or (refusal.startswith(f"RUN/{name}: ") and len(refusal) < 400)
    assert 30 < refused < 300


def test_samples_are_a_list_of_records(tmp_path):
    path = WRITTEN / "both" / "samples" / "samples.json"
    assert [encoded(each) for each in read_list(Sample, path)] == read_json(path)
    (tmp_path / "samples.json").write_text('[{"file": 3}]')
    with pytest.raises(UserError, match=r"samples.json: expected a text at \[0\].file, got 3; the file is damaged"):
        read_list(Sample, tmp_path / "samples.json")


@pytest.mark.parametrize("probability", ["often", [0.5], True])
def test_a_probability_is_a_number_or_missing(probability):
    content = {"shipped": "adapted", "outcome": "helped"}
    with pytest.raises(UserError, match="expected a finite number at probability"):
        Judgement.from_json(content | {"probability": probability}, "j.json")
    assert Judgement.from_json(content | {"probability": None}, "j.json").probability is None


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_number_that_is_missing_is_left_out_of_a_dictionary_of_numbers(value):
    assert decoded(dict[str, float], {"a": value, "b": 1}) == {"b": 1.0}
    with pytest.raises(ValueError, match="expected a finite number at a"):
        decoded(dict[str, float], {"a": "1"})


def test_a_damaged_file_names_the_place_what_was_expected_and_the_remedy():
    with pytest.raises(UserError) as refused:
        Evaluation.from_json({"data": "x", "count": 1, "models": {"adapted": {"accuracy": "high"}}}, "e.json")
    damaged = "e.json: expected a finite number at models.adapted.accuracy, got 'high'; the file is damaged. "
    remedy = "Delete it and measure again: "
    assert refused.value.text(FlagSpelling()) == f"{damaged}{remedy}dalib eval RUN --data DATA."
    assert str(refused.value) == f"{damaged}{remedy}run.evaluate(data='DATA')."
    with pytest.raises(UserError, match="expected count, which is missing"):
        Evaluation.from_json({"data": "x"}, "e.json")


def test_a_newer_version_asks_for_an_update():
    with pytest.raises(UserError, match="written as version 2; this version of dalib reads up to 1: update dalib"):
        Summary.from_json({"version": 2}, "s.json")


@pytest.mark.parametrize(
    ("kind", "content"),
    [(int, True), (int, 1.5), (float, "1"), (float, 10**400), (float, float("nan")), (str, None), (bool, 1)],
)
def test_values_of_another_kind_are_refused(kind, content):
    with pytest.raises(ValueError, match="expected"):
        decoded(kind, content)


def test_no_number_is_none_where_a_number_may_be_missing():
    assert decoded(float | None, float("nan")) is None
    assert decoded(float | None, 3) == 3.0
