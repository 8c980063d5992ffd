"""The model card says what is known, in words that are neither Markdown nor a path of the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import yaml
from whole_run import write_run

from dalib.records.folder import RunRecords
from dalib.records.summary import SummarizedModel, Summary
from dalib.report.card import MOST_NAMED, model_card

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("ant", "bee", "cat")


def card(
    records: RunRecords, model: str = "adapted", classes: tuple[str, ...] = CLASSES, library: str = "dalib"
) -> str:
    return model_card(records, model, classes, library=library, usage="Open it.")


def test_a_card_has_a_head_that_hugging_face_reads_and_no_licence(tmp_path: Path) -> None:
    text = card(write_run(tmp_path / "run").read_records(), library="timm")
    _, head, body = text.split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["library_name"] == "timm"
    assert found["pipeline_tag"] == "image-classification"
    assert {"image-classification", "domain-adaptation", "timm"} <= {*found["tags"]}
    assert "license" not in found
    assert body.startswith("# Adapted classifier of photos images")


def test_the_card_of_the_aligned_model_does_not_say_that_a_method_adapted_it(tmp_path: Path) -> None:
    text = card(write_run(tmp_path / "run").read_records(), "aligned")
    intended = text.split("Classes:", 1)[0]
    assert "# Classifier of photos images" in intended
    assert "normalisation statistics of unlabelled images of photos: the aligned model of its run" in intended
    assert "by the method" not in intended


def test_a_card_has_counts_verdict_and_how_each_accuracy_was_found(tmp_path: Path) -> None:
    text = card(write_run(tmp_path / "run").read_records())
    for line in (
        "Classes: ant, bee, cat.",
        "## Intended use",
        "| Source, to train on | 90 | with labels |",
        "| Target | 6 | without labels |",
        "| adapted | 90.0% | 80.0% to 95.0% (95%) | measured on 30 labelled images of photos |",
        "| adapted | 80.0% | 60.0% to 90.0% (95%) | estimated from the labels of 5 target images (stratified) |",
        "| adapted | 90.0% | 80.0% to 95.0% (90%) | estimated without labels by atc |",
        "Measured with labels.",
        "Open it.",
    ):
        assert line in text, line


def test_a_card_of_a_run_that_knows_nothing_says_so() -> None:
    text = card(RunRecords(Summary(method="source-only", status="done")), "source-only")
    assert "Not known: no label of the target was given" in text
    assert "trained on labelled images of an unnamed set" in text


def test_a_card_of_a_run_that_was_trained_with_labels_of_the_target_does_not_deny_them() -> None:
    text = card(
        RunRecords(Summary(method="self-ensemble", status="done", counts={"target": 80, "target_labelled": 40}))
    )
    assert "| Target | 80 | 40 of them with labels |" in text
    assert "Not known: the labels of the target were all to train with, and nothing was estimated." in text
    assert "no label" not in text


def test_names_are_no_markdown_and_no_html_and_tell_no_place(tmp_path: Path) -> None:
    hostile = "<script>|[x](http://y)`*_"
    records = write_run(tmp_path / "run", hostile).read_records()
    text = card(records, classes=(hostile, "a", "b"))
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "[x](" not in text
    summary = replace(records.summary, source="/home/somebody/studio", target="C:\\data\\street")
    measured = tuple(replace(each, data="/home/somebody/labelled") for each in records.evaluations)
    told = card(replace(records, summary=summary, evaluations=measured))
    assert "somebody" not in told
    assert "studio" in told
    assert "street" in told


def test_of_very_many_classes_the_first_are_named() -> None:
    text = card(RunRecords(Summary(status="done")), classes=tuple(f"c{number}" for number in range(MOST_NAMED + 5)))
    assert f"c{MOST_NAMED - 1} and 5 more." in text


def test_a_card_says_what_becomes_of_images_of_none_of_the_classes() -> None:
    assert "Every image gets one of these classes" in card(RunRecords(Summary(status="done")))
    summary = Summary(status="done", models={"adapted": SummarizedModel(target_unknown=81)}, counts={"target": 400})
    text = card(RunRecords(summary))
    assert "is predicted as unknown, as config.json says" in text
    assert "predicts 81 of 400 target images as unknown." in text
    in_timm = model_card(RunRecords(summary), "adapted", ("a",), library="timm", usage="Open it.")
    assert "This folder gives every image one of them; in its run, dalib tells unknown" in in_timm
