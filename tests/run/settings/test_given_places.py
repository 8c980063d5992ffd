"""Images that are given as paths stay where they are; objects are kept as files, which a configuration names."""

from pathlib import Path

import numpy as np
import pytest

from dalib.core.errors import UserError
from dalib.core.places import is_given
from dalib.run.settings.given_places import (
    Place,
    check_before_kept,
    place_of_labelled,
    place_of_source,
    place_of_target,
    place_of_targets,
)
from dalib.run.settings.image_defaults import SAMPLED

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = ["cup", "pen"] * 3


@pytest.mark.parametrize("place", ["mnist", "studio/", Path("studio")])
def test_a_path_or_a_name_is_its_own_place(place):
    assert place_of_source(place, strict=False) == Place(place, place)
    assert place_of_labelled(place, "evaluate", strict=False) == Place(place, place)
    assert place_of_target(place, strict=False) == place_of_target([place], strict=False) == Place(place, place)


def test_objects_are_kept_and_named_by_their_list(capsys):
    source = place_of_source((IMAGES, LABELS), strict=False)
    assert is_given(source.name)
    assert Path(source.name).name == "array-of-6-labelled-images.csv"
    assert Path(source.name).is_file()
    assert all(file.is_file() for file in source.looked_at)
    assert place_of_labelled((IMAGES, LABELS), "evaluate", strict=False).name == source.name
    assert Path(place_of_target(IMAGES, strict=False).name).name == "array-of-6-images.csv"


@pytest.mark.parametrize(
    ("source", "target", "evaluated", "told"),
    [
        ("nowhere/", IMAGES, None, "source='nowhere': no such folder"),
        (["nowhere/", (IMAGES, LABELS)], "mnist", None, "source='nowhere': no such folder"),
        (["a.png", "b.png"], IMAGES, None, "source: these are images without labels"),
        (IMAGES, IMAGES, None, "source: images without labels"),
        ((IMAGES, LABELS), "nowhere/", None, "target='nowhere': no such folder"),
        ((IMAGES, LABELS), {"a": IMAGES, "b": 5}, None, "target: expected"),
        ("mnist", IMAGES, IMAGES, "evaluate: images without labels"),
        (None, IMAGES, "nowhere/", "evaluate='nowhere': no such folder"),
    ],
)
def test_all_arguments_are_looked_at_before_images_of_one_are_kept(source, target, evaluated, told):
    with pytest.raises(UserError, match=told):
        check_before_kept(source, target, evaluated)


def test_what_can_be_kept_passes_and_places_alone_are_left_to_the_run(tmp_path):
    check_before_kept("nowhere/", "nowhere/", "nowhere/")
    check_before_kept((IMAGES, LABELS), {"a": IMAGES, "b": "office31/dslr"}, {"a": (IMAGES, LABELS)})
    check_before_kept(None, IMAGES, None)


def test_of_many_kept_images_some_show_what_they_are():
    many = np.random.default_rng(0).integers(0, 256, (2 * SAMPLED, 2, 2), dtype=np.uint8)
    assert len(place_of_target(many, strict=False).looked_at) == SAMPLED


def test_several_sources_have_several_places():
    places = place_of_source(["studio/", (IMAGES, LABELS)], strict=False)
    assert places.name[0] == "studio/"
    assert is_given(places.name[1])
    assert places.looked_at[0] == "studio/"
    assert len(places.looked_at) == 7


def test_several_targets_have_places_under_their_names():
    places = place_of_targets({"street": "street/", "night": IMAGES}, strict=False)
    assert places.name["street"] == "street/"
    assert is_given(places.name["night"])
    assert places.looked_at[0] == "street/"
    assert len(places.looked_at) == 7


def test_images_without_labels_are_no_source():
    with pytest.raises(UserError, match=r"^source: these are images without labels; give pairs"):
        place_of_source(["a.png", "b.jpg"], strict=False)
    with pytest.raises(UserError, match=r"^evaluate: images without labels"):
        place_of_labelled(IMAGES, "evaluate", strict=False)


def test_an_image_that_is_none_is_told_or_refused(capsys):
    spoilt = [*IMAGES, np.zeros((4, 4, 2), np.uint8)]
    assert len(place_of_target(spoilt, strict=False).looked_at) == 6
    assert "skipped 1 image that cannot be read" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^images="):
        place_of_target(spoilt, strict=True, argument="images")
