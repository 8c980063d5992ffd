"""The summary of a run in words, and its files of before."""

import pytest

from dalib.core.errors import UserError
from dalib.records.summary import HubRecord, RecordedKind, RunSettings, Stopped, SummarizedModel, Summary

DONE = Summary(
    status="done",
    method="mcc",
    source="fonts",
    target="digits",
    classes=("a", "b"),
    counts={"source": 10, "source_validation": 2},
    seconds={"data": 1.4, "adapted": 61.0},
    device="CPU, 2 threads",
    dalib="1.2",
    torch="2.11",
    started="2026-01-02T03:04:05+00:00",
)


def test_a_summary_is_told_in_four_lines():
    assert repr(DONE).splitlines() == [
        "Summary: fonts -> digits (mcc, 2 classes), done",
        "  images: source 10, source validation 2",
        "  time: data 1 s, adapted 61 s",
        "  on CPU, 2 threads, dalib 1.2, torch 2.11, begun 2026-01-02T03:04:05+00:00",
    ]


def test_what_is_not_known_yet_has_no_line():
    assert repr(Summary(source="a", target="b", method="mcc")) == "Summary: a -> b (mcc, 0 classes), running"


def test_parts_that_a_run_does_not_have_are_left_out_of_its_file(tmp_path):
    absent = {"ranges", "shipped", "kept_step", "stopped", "changed", "hub"}
    assert not absent & DONE.to_json().keys()
    whole = Summary(
        models={"adapted": SummarizedModel((3, 1), 0.5, 0.75)},
        stopped=Stopped(7, "collapsed"),
        hub=HubRecord("a/b", "c0ffee", "model.safetensors", "00"),
        ranges={"source": (0.0, 4095.0), "target": None},
        kept_step=5,
        changed=0.25,
        shipped="adapted",
    )
    assert absent <= whole.to_json().keys()
    whole.write(tmp_path / "summary.json")
    assert Summary.read(tmp_path / "summary.json") == whole


def test_a_kind_of_target_is_told_with_the_probability_of_each():
    assert RecordedKind("fewer", 0.02, 0.97, 0.01).in_words() == (
        "What the target seems to be, before adaptation: the source's classes 2%, fewer of them 97%, "
        "other images too 1%, which hard images can cause as well; the adaptation expects fewer classes"
    )
    known = RecordedKind("same", 0.95, 0.05)
    assert known.estimated
    assert (
        "fewer of them 5%, nothing to tell other images by; the adaptation expects the same classes" in known.in_words()
    )
    assert "the source's classes under 1%, fewer of them over 99%, why" in RecordedKind("fewer", 0.003, 0.997).in_words(
        "why"
    )
    assert "5%, why; the adaptation" in known.in_words("why")
    assert "expects the same classes, as long as others are not nearly" in RecordedKind("same", 0.27, 0.73).in_words()
    assert not RecordedKind().estimated


def test_settings_have_types_and_older_runs_lack_some():
    assert Summary().run_settings == RunSettings()
    written = {"backbone": ["a", "b"], "source": "fonts", "steps": 9, "model.trained_stages": 2, "views.flip": "auto"}
    expected = RunSettings(backbones=("a", "b"), sources=("fonts",), steps=9, trained_stages=2)
    assert Summary.from_json({"settings": written}, "summary.json").run_settings == expected


@pytest.mark.parametrize(("name", "value"), [("classes", 3), ("steps", "9"), ("backbone", [1])])
def test_a_setting_of_another_kind_is_refused_with_its_place(name, value):
    with pytest.raises(UserError, match=rf"summary.json: expected .* at settings\.{name}.*; the file is damaged"):
        Summary.from_json({"settings": {name: value}}, "summary.json")
