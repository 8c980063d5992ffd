"""What the report advises to do next, as commands and as calls."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import PythonSpelling, spelled
from dalib.core.files import quoted
from dalib.records.evaluation import MeasuredModel
from dalib.records.judgement import JudgedModel
from dalib.records.labelled import Labelled, LabelledValue
from dalib.records.selection import Measurement, Selection
from told_verdicts import evaluation, judgement, said, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN = "dalib train --config CONFIG --backbone NAME --weights hub --out NEW-FOLDER"


@pytest.fixture(autouse=True)
def typed() -> Iterator[None]:
    """Steps are spelled as commands, as for all that the command line runs."""
    with spelled(FlagSpelling()):
        yield


@pytest.mark.parametrize(
    ("target", "told"), [(1200, "30 target images"), (5, "5 target images"), (1, "1 target image:")]
)
def test_no_more_images_are_to_be_labelled_than_there_are(target: int, told: str) -> None:
    found = verdict({"counts": {"target": target}}, judgement=judgement("unclear", "Can't tell"))
    assert f"Label {told}" in found.steps[0].text
    assert f"--n {min(30, target)} " in found.steps[0].command


@pytest.mark.parametrize(("classes", "told"), [("same", True), ("fewer", False)])
@pytest.mark.parametrize("measured", [(), (0.3, 0.9)])
def test_a_target_that_seems_to_have_few_classes_is_to_be_trained_for(
    classes: str, told: bool, measured: tuple[float, ...]
) -> None:
    few = replace(judgement("hurt", "Adaptation seems to have hurt", "source-only"), few_classes=True)
    evaluations = [evaluation(*measured, count=100)] if measured else []
    found = verdict({"settings": {"classes": classes}}, *evaluations, judgement=few)
    assert ("--classes fewer" in found.command) == told


@pytest.mark.parametrize(
    ("outcome", "shipped", "kept", "again"),
    [
        ("helped", "adapted", "dalib keep RUN source-only", False),
        ("unclear", "source-only", "dalib keep RUN adapted", True),
        ("hurt", "source-only", "dalib keep RUN adapted", True),
        ("collapsed", "source-only", "", True),  # nobody should take a collapsed model by hand
        ("alone", "adapted", "", True),
    ],
)
def test_the_next_steps_follow_from_the_outcome(outcome: str, shipped: str, kept: str, again: bool) -> None:
    commands = [step.command for step in verdict(judgement=judgement(outcome, "x", shipped)).steps]
    assert commands[0].startswith("dalib query RUN --n 30 ")
    assert commands[1] == "dalib eval RUN --data FOLDER"
    assert [each for each in commands if "keep" in each] == ([kept] if kept else [])
    assert (AGAIN in commands) == again


def test_the_next_steps_are_calls_for_who_reads_python() -> None:
    with spelled(PythonSpelling()):
        found = [step.command for step in verdict(judgement=judgement("unclear", "x", "source-only")).steps]
        running = verdict({"status": "running"})
        small = verdict({"settings": {"backbone": "small"}}, judgement=judgement("hurt", "x", "source-only"))
    run = "dalib.open_run('RUN')"
    labels = f"{run}.query(count=30, out='to_label.csv')\n{run}.evaluate_labels(labels='to_label.csv')"
    assert found == [labels, f"{run}.evaluate(data='FOLDER')", f"{run}.keep(model='adapted')", AGAIN]
    assert "dalib.adapt(resume='RUN') goes on from its last checkpoint" in said(running)
    again = "dalib.adapt(source='SOURCE', target='TARGET', backbone='lite0', out='NEW-FOLDER')"
    assert small.steps[-1].command == again


def test_a_selection_made_since_decides_which_model_is_the_other_one() -> None:
    judged_as = judgement("helped", "x", "adapted")
    found = verdict(judgement=judged_as, selection=Selection("source-only", "user"))
    assert "dalib keep RUN adapted" in found.command
    assert "dalib keep RUN source-only" not in found.command


@pytest.mark.parametrize(
    ("adapted", "shipped", "commands"),
    [
        (0.9, "adapted", []),
        (0.9, "source-only", ["dalib keep RUN adapted"]),
        (0.7, "adapted", ["dalib keep RUN source-only"]),
        (0.7, "source-only", [AGAIN]),
        (0.8, "adapted", ["dalib query RUN --n 200 --out more_to_label.csv", AGAIN]),  # to_label.csv is filled in
    ],
)
def test_the_next_steps_after_a_measurement(adapted: float, shipped: str, commands: list[str]) -> None:
    found = verdict(None, evaluation(adapted, 0.8), judgement=judgement("helped", "x", shipped))
    assert [step.command for step in found.steps] == commands


@pytest.mark.parametrize(("target", "asked"), [(500, ["--n 200"]), (250, ["--n 150"]), (100, []), (60, [])])
def test_no_more_images_are_to_be_labelled_than_the_target_has(target: int, asked: list[str]) -> None:
    counts = {"counts": {"target": target}}
    found = verdict(counts, evaluation(0.8, 0.8, count=100), judgement=judgement("helped", "x", "adapted"))
    assert re.findall(r"--n \d+", found.command) == asked
    assert AGAIN in found.command


@pytest.mark.parametrize(
    ("difference", "baseline", "by", "kept"),
    [
        (-0.2, "source-only", "measurement", []),
        (0.2, "aligned", "measurement", []),
        (-0.2, "aligned", "judgement", ["dalib keep RUN aligned"]),
        (-0.2, "source-only", "judgement", ["dalib keep RUN source-only"]),
    ],
)
def test_labels_of_a_few_name_their_own_baseline_and_do_not_contradict_what_they_selected(
    difference: float, baseline: str, by: str, kept: list[str]
) -> None:
    few = Labelled(
        "few.csv",
        60,
        {name: LabelledValue(0.7, 0.6, 0.8, 60) for name in ("adapted", "source-only", "aligned")},
        1200,
        difference=LabelledValue(difference, difference - 0.1, difference + 0.1, 60),
        baseline=baseline,
    )
    chosen = Measurement("few.csv", "labelled", 60, "adapted", "source-only", (0.6, 0.8), -0.2, -0.3, -0.1)
    measured = Selection("source-only", "measurement", chosen)
    selection = measured if by == "measurement" else Selection("adapted", "judgement")
    found = verdict(None, labelled=few, judgement=judgement("helped", "x"), selection=selection)
    assert [step.command for step in found.steps if "keep" in step.command] == kept
    assert ("On these labels" in said(found)) == bool(kept)
    elsewhere = replace(
        evaluation(0.7, 0.75), models=evaluation(0.7, 0.8).models | {"aligned": MeasuredModel(0.9, (0, 1))}
    )
    both = verdict(None, elsewhere, labelled=few, judgement=judgement("helped", "x"), selection=measured)
    assert "On these labels" not in said(both)


@pytest.mark.parametrize(("end", "asked"), [(0.1, ["--n 200"]), (0.0, [])])
def test_where_no_label_can_tell_more_none_is_asked_for(end: float, asked: list[str]) -> None:
    equal, difference = LabelledValue(0.8, 0.7, 0.9, 30), LabelledValue(0.0, -end, end, 30)
    few = Labelled("few.csv", 30, {"adapted": equal, "source-only": equal}, 1200, difference=difference)
    found = verdict(None, labelled=few, judgement=judgement("helped", "x", "adapted"))
    assert re.findall(r"--n \d+", found.command) == asked
    assert AGAIN in found.command
    assert ("label more images to know" in said(found)) == bool(asked)


def test_who_has_a_kit_is_not_advised_another_backbone() -> None:
    settings = {"backbone": "tf_efficientnet_lite0", "kit": "studio.dalib"}
    found = verdict({"settings": settings}, judgement=judgement("hurt", "x", "source-only"))
    assert "a kit of a stronger backbone" in found.steps[-1].text
    assert found.steps[-1].command == "dalib export RUN-OF-THE-SOURCE --format kit --out NEW.dalib"


def test_where_nothing_was_learnt_labels_are_not_asked_for() -> None:
    nothing = replace(judgement("unclear", "Nothing was learnt", adapted=JudgedModel()), at_chance=("adapted",))
    assert verdict(judgement=nothing).command == AGAIN


@pytest.mark.parametrize(
    ("backbone", "text"), [("small", "a pretrained backbone, in place of “small”"), ("resnet18", "a stronger backbone")]
)
def test_a_network_from_scratch_is_advised_a_pretrained_backbone(backbone: str, text: str) -> None:
    found = verdict({"settings": {"backbone": backbone}}, judgement=judgement("hurt", "x", "source-only"))
    assert text in found.steps[-1].text


def test_the_advice_for_photographs_can_be_typed_and_takes_no_setting_of_a_network_from_scratch() -> None:
    settings = {"backbone": "small", "source": "my studio", "target": "street"}
    found = verdict({"settings": settings}, judgement=judgement("hurt", "x", "source-only"))
    domains = f"--source {quoted('my studio')} --target street"
    assert found.steps[-1].command == f"dalib train {domains} --backbone lite0 --out NEW-FOLDER"
    several = {**settings, "source": ["one", "other"]}
    found = verdict({"settings": several}, judgement=judgement("hurt", "x", "source-only"))
    assert "--source SOURCE --target street" in found.steps[-1].command
