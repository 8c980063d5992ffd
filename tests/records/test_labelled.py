"""What labels of a few images tell, in words and in its file."""

from dataclasses import replace

from dalib.records.labelled import Labelled, LabelledValue

TOLD = Labelled(
    "to_label.csv",
    40,
    {"adapted": LabelledValue(0.9, 0.8, 0.95, 40), "source-only": LabelledValue(None, None, None)},
    notes=("A note.",),
)


def test_each_model_and_note_has_a_line():
    assert repr(TOLD).splitlines() == [
        "Labelled: 40 labels of target images in to_label.csv",
        "  adapted     90.0% are right (80.0% to 95.0%)",
        "  source-only accuracy not estimated",
        "  A note.",
    ]


def test_labels_that_were_given_as_objects_are_not_named_by_their_place_in_the_cache():
    told = repr(replace(TOLD, labels=f"/cache/hints/{'0' * 32}.csv"))
    assert told.splitlines()[0] == "Labelled: 40 labels of target images"


def test_what_older_files_lack_is_left_out_where_it_is_not_known(tmp_path):
    assert not {"difference", "baseline", "trained_on", "held_out"} & TOLD.to_json().keys()
    TOLD.write(tmp_path / "labelled.json")
    assert Labelled.read(tmp_path / "labelled.json") == TOLD
