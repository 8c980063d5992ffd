"""Names of several targets, and what is refused before anything is trained."""

import pytest

from dalib.core.errors import UserError
from dalib.run.targets import check_targets, named_evaluations, named_targets


def test_names_are_given_or_the_last_part_of_the_place(tmp_path):
    (tmp_path / "street.v1").mkdir()
    found = named_targets([f"{tmp_path}/street.v1/", "lists/night.csv", "dawn=x/images", "office31/webcam"])
    assert list(found) == ["street-v1", "night", "dawn", "webcam"]
    assert found["dawn"] == "x/images"


def test_a_folder_with_an_equals_sign_is_a_place(tmp_path):
    folder = tmp_path / "size=64"
    folder.mkdir()
    assert named_targets([str(folder)]) == {"size-64": str(folder)}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("a/images", "b/images"), "name them: target='images-1=a/images' target='images-2=b/images'"),
        (("a/images", "b/IMAGES"), "a/images has the name images, too"),
        (("a/images", "a/images"), "it is there twice"),
    ],
)
def test_names_that_collide_are_refused_with_the_remedy(places, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        named_targets(places)


def test_the_same_folder_by_another_path_is_there_twice(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="there twice"):
        named_targets([f"{tmp_path}/images", f"{tmp_path}/../{tmp_path.name}/images"])


TARGETS = {"webcam": "w", "dslr": "d"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x"], "one labelled set for each of 2 targets in their order .webcam, dslr., or webcam=DATA"),
        (["x", "y", "z"], "got 3"),
        (["dslr=x", "y"], "either NAME=DATA each time, or never"),
        (["dsrl=x"], "got 'dsrl'; did you mean dslr"),
        (["dslr=x", "dslr=y"], "dslr has a labelled set already"),
    ],
)
def test_labelled_sets_of_which_nobody_can_tell_the_target_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        named_evaluations(given, TARGETS)


def test_a_labelled_set_is_of_the_target_that_it_names():
    assert named_evaluations(["dslr=x"], TARGETS) == {"dslr": "x"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "w"}, "expected a dictionary of names and targets, got 'w'"),
        ({"target": {}}, "expected a dictionary"),
        ({"target": {"a/b": "w"}}, "each is a run's folder; got 'a/b'"),
        ({"target": {"..": "w"}}, "got '..'"),
        ({"target": {"report.html": "w"}}, "got 'report.html'"),
        ({"target": {"a": "w", "A": "d"}}, "one folder on some systems"),
        (
            {"target": TARGETS, "evaluate": "x"},
            "a labelled set for each target by its name, such as evaluate='webcam=x'",
        ),
        ({"target": TARGETS, "evaluate": {"amazon": "x"}}, "expected names of targets"),
        ({"target": TARGETS, "hints": "h.csv"}, "of one target's images"),
        ({"target": TARGETS, "target_labels": "l.csv"}, "of one target's images"),
        ({"target": TARGETS, "time_limit": "10m"}, "share no source-only model"),
    ],
)
def test_configurations_that_do_not_go_with_several_targets_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        check_targets(settings.pop("target"), settings.pop("evaluate", None), settings)
