"""Sample images of the report: by their groups, the surest of both kinds first, and none from elsewhere."""

import pytest
from PIL import Image

from dalib.records.pictures import Sample, SamplePrediction
from dalib.records.summary import Summary
from dalib.report.samples import (
    DIFFER,
    OF_CLASS,
    class_samples,
    differing,
    is_plain,
    other_samples,
    picture_of,
    sample_groups,
    wrong_samples,
)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.jpg")
    return tmp_path


def sample(file, group, adapted="cup", other="cup", **more):
    predictions = {"adapted": SamplePrediction(adapted, 0.9), "source-only": SamplePrediction(other, 0.8)}
    return Sample(file=file, name=file, predictions=predictions, group=group, **more)


def test_samples_are_sorted_into_groups_and_strange_groups_into_the_rest(folder):
    samples = [sample("0.jpg", DIFFER, other="pen"), sample("1.jpg", OF_CLASS), sample("2.jpg", "of another version")]
    groups = sample_groups(folder, samples, [DIFFER, OF_CLASS])
    assert {name: [each.name for each in found] for name, found in groups.items()} == {
        DIFFER: ["0.jpg"],
        OF_CLASS: ["1.jpg"],
        "": ["2.jpg"],
    }
    assert groups[DIFFER][0].differ
    assert not groups[OF_CLASS][0].differ


def test_a_list_does_not_lead_out_of_its_folder(folder):
    (folder / "in").mkdir()
    outside = [sample(f"../{folder.name}/0.jpg", ""), sample(str(folder / "0.jpg"), ""), sample("missing.jpg", "")]
    assert sample_groups(folder / "in", outside, [""]) == {}


@pytest.mark.parametrize(
    ("file", "plain"), [("a.jpg", True), ("../a.jpg", False), ("..", False), ("a\\b", False), ("", False)]
)
def test_plain_names(file, plain):
    assert is_plain(file) == plain


def test_each_class_has_what_the_last_model_predicts_as_it(folder):
    groups = sample_groups(folder, [sample("0.jpg", OF_CLASS, "pen"), sample("1.jpg", OF_CLASS, "cup")], [OF_CLASS])
    found = class_samples(groups, ["cup", "pen", "owl"])
    assert [each.name for each in found] == ["cup", "pen", "owl"]
    assert sum(len(each.samples) for each in found) == 2
    assert found[2].samples == []
    assert class_samples({}, ["cup"]) == []


@pytest.mark.parametrize(
    ("classes", "said"),
    [("same", "where at least one of them is wrong"), ("other", "by the most probable known class")],
)
def test_images_on_which_the_models_differ_are_counted(folder, classes, said):
    groups = sample_groups(folder, [sample("0.jpg", DIFFER)], [DIFFER])
    summary = Summary(changed=0.25, counts={"target": 80}, settings={"classes": classes})
    assert differing(groups, summary).count == f"20 of 80 target images (25.0%), {said}"


def test_mistakes_are_told_apart_by_which_model_is_wrong(folder):
    samples = [sample("0.jpg", "lost", truth="pen"), sample("1.jpg", "mended", truth="cup")]
    titles = [group.title for group in wrong_samples(folder, samples)]
    assert titles == ["Lost by adaptation", "Corrected by adaptation"]
    assert "source-only" in wrong_samples(folder, samples)[0].note


def test_the_least_confident_are_those_of_the_last_model(folder):
    groups = sample_groups(folder, [sample("0.jpg", "least")], ["least"])
    found = other_samples(groups)
    assert [group.title for group in found] == ["Least confident"]
    assert found[0].model == [*groups["least"][0].models][-1]


def test_what_is_no_file_is_no_picture(folder):
    assert picture_of(folder / "missing.jpg") is None
    assert picture_of(folder) is None
