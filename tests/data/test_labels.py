import os

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.labels import TargetLabels, hold_out, is_query, read_target_labels, rows_by_name

NAMES = ["photos/a.png", "photos/b, c.png", "photos/=1+1.png", 'photos/"quoted"\n.png', "photos/x/a.png"]
CLASSES = ("cat", "dog")


def read(tmp_path, text, names=NAMES, **settings):
    file = tmp_path / "few.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_target_labels(file, names, CLASSES, settings.get("target", "photos"), argument="labels")


def test_labels_come_by_row_whatever_the_names_are(tmp_path):
    text = 'path,label,note\nphotos/a.png,dog,x\n"photos/b, c.png",cat,\n"photos/""quoted""\n.png", cat ,\n'
    given = read(tmp_path, text)
    assert given.rows.tolist() == [0, 1, 3]
    assert given.labels.tolist() == [1, 0, 0]
    assert given.listed == 3
    assert given.strata is given.population is None


def test_rows_without_a_label_are_not_labelled(tmp_path):
    given = read(tmp_path, "path,label\nphotos/a.png,\n\nphotos/=1+1.png,dog\n")
    assert (given.rows.tolist(), given.listed) == ([2], 2)


def test_the_design_is_of_all_rows(tmp_path):
    text = "path,label,stratum,population,weight\nphotos/a.png,cat,0,3,1.5\nphotos/=1+1.png,,1,2,2\n"
    given = read(tmp_path, text)
    assert given.strata.tolist() == [0]
    assert given.population == {0: 3, 1: 2}


def test_what_spreadsheets_write_is_read(tmp_path):
    text = b"\xef\xbb\xbfpath;label;stratum;population\r\nphotos/a.png;cat;0;5\r\n"
    assert read(tmp_path, text).rows.tolist() == [0]


def test_a_line_that_repeats_another_counts_once(tmp_path):
    assert read(tmp_path, "path,label\nphotos/a.png,cat\na.png,cat\n").rows.tolist() == [0]


def test_names_may_be_relative_to_the_target_and_need_not_be_text():
    odd = "photos/" + os.fsdecode(b"\xff.png")
    found = rows_by_name([*NAMES, odd], "photos")
    assert found["a.png"] == 0
    assert found["x/a.png"] == 4
    assert found["photos/\\udcff.png"] == found[odd] == 5
    assert rows_by_name(["lists/images/a.png"], "lists/target.csv")["images/a.png"] == 0
    assert rows_by_name(["digits/0001"], "digits")["digits/0001"] == 0


def test_names_may_be_absolute_or_relative_whichever_the_target_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absolute = str(tmp_path / "photos" / "a.png")
    assert read(tmp_path, f"path,label\n{absolute},cat\n").rows.tolist() == [0]
    target = str(tmp_path / "photos")
    for name in ("photos/a.png", "./photos/a.png", "a.png", absolute):
        assert read(tmp_path, f"path,label\n{name},cat\n", [absolute], target=target).rows.tolist() == [0]
    with pytest.raises(UserError, match="from the target's folder on, or an absolute one"):
        read(tmp_path, "path,label\nelsewhere/a.png,cat\n")


def test_images_on_another_drive_than_the_working_folder_have_names(monkeypatch):
    own = os.path.relpath

    def relpath(path, start=os.curdir):
        if start == os.curdir:
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return own(path, start)

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert rows_by_name(["/photos/a.png", "/photos/b.png"], "/photos")["b.png"] == 1


def test_where_the_command_is_given_never_goes_before_the_names_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(tmp_path / "photos" / "a.png"), str(tmp_path / "photos" / "photos" / "a.png")]
    assert rows_by_name(names, str(tmp_path / "photos"))["photos/a.png"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty"),
        ("path\nphotos/a.png\n", "line 1: expected a header with the columns path,label"),
        ("path,label\nphotos/a.png\n", "line 2: expected 2 fields"),
        ("path,label\nphotos/a.png,cow\n", "line 2: 'cow'"),
        ("path,label\nphotos/a.png,cow\n", "'cat', 'dog'"),
        ("path,label\nphotos/a.png,cat\nphotos/none.png,cat\n", "line 3: 'photos/none.png' is none of the 5 images"),
        ("path,label\nphotos/a.png,cat\na.png,dog\n", "line 3: 'a.png' is 'dog' here and 'cat' on line 2"),
        ('path,label\n"photos/""quoted""\n.png",cat\nphotos/a.png,cow\n', "line 4: 'cow'"),
        ("path,label\nphotos/a.png,\n", "no label in it"),
        ('path,label\n"photos/a.png,cat\n', "not CSV"),
        (b"path,label\nphotos/\xff.png,cat\n", "line 2: expected UTF-8"),
        ("path,label,stratum,population\nphotos/a.png,cat,one,2\n", "line 2: stratum"),
        ("path,label,stratum,population\nphotos/a.png,cat,0,0\n", "line 2: population"),
        ("path,label,stratum,population\na.png,cat,0,2\nx/a.png,cat,0,3\n", "line 3: stratum 0 has 3 images here"),
        (
            "path,label,stratum,population\na.png,cat,0,2\nphotos/a.png,cat,1,2\n",
            "line 3: 'photos/a.png' is of stratum 1 here and of 0 before",
        ),
    ],
)
def test_mistakes_are_told_with_their_line(text, expected, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert expected in str(error.value)


def test_many_unknown_labels_are_counted(tmp_path):
    text = "path,label\n" + "".join(
        f'"{name.replace(chr(34), chr(34) * 2)}",{number}\n' for number, name in enumerate(NAMES)
    )
    with pytest.raises(UserError, match="and 2 more"):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_target_labels(tmp_path / "none.csv", NAMES, CLASSES, "photos", argument="labels")


# some are held out to judge


def given(count, *, strata=None):
    return TargetLabels(
        rows=torch.arange(count) + 100,
        labels=torch.arange(count) % 3,
        listed=count + 7,
        strata=strata,
        population=None if strata is None else {0: 500, 1: 500},
    )


def test_few_labels_are_all_learnt_from():
    few = given(49)
    assert hold_out(few, seed=0) == (few, None)


@pytest.mark.parametrize("count", [50, 61, 300])
def test_every_fifth_of_many_is_held_out_of_each_class_alike(count):
    learnt, held = hold_out(given(count), seed=0)
    assert len(held.rows) == count // 5
    assert sorted([*learnt.rows.tolist(), *held.rows.tolist()]) == list(range(100, 100 + count))
    assert torch.equal(held.labels, (held.rows - 100) % 3)
    counts = torch.bincount(held.labels, minlength=3)
    assert counts.max() - counts.min() <= 1
    assert held.listed == len(held.rows)


def test_the_seed_decides_which_are_held_out():
    first, again, other = (hold_out(given(60), seed)[1].rows.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_sample_that_was_drawn_by_strata_stays_one():
    strata = torch.tensor([0, 1]).repeat_interleave(30)
    learnt, held = hold_out(given(60, strata=strata), seed=0)
    assert torch.bincount(held.strata).tolist() == [6, 6]
    assert held.population == learnt.population == {0: 500, 1: 500}


@pytest.mark.parametrize("label", ["nan", "None", "N/A", "null", " "])
def test_what_stands_for_no_label_is_none(tmp_path, label):
    given = read(tmp_path, f"path,label\nphotos/a.png,{label}\nphotos/=1+1.png,dog\n")
    assert (given.rows.tolist(), given.labels.tolist(), given.listed) == ([2], [1], 2)


def test_the_name_of_a_class_is_that_class_even_if_it_is_none(tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("path,label\nphotos/a.png,None\nx/a.png,nan\n")
    given = read_target_labels(file, NAMES, ("None", "dog"), "photos", argument="labels")
    assert (given.rows.tolist(), given.labels.tolist()) == ([0], [0])
    # that may be the class, or nothing
    with pytest.raises(UserError, match=r"line 2: 'None' \(did you mean none\?\): no class; "):
        read_target_labels(file, NAMES, ("none", "dog"), "photos", argument="labels")


def test_unknown_in_another_case_is_asked_about(tmp_path):
    with pytest.raises(UserError, match=r"line 2: 'Unknown' \(did you mean unknown\?\): no class; "):
        read(tmp_path, "path,label\nphotos/a.png,Unknown\n")


def test_lines_of_json_are_read_as_well(tmp_path):
    file = tmp_path / "few.jsonl"
    file.write_text('{"path": "photos/a.png", "label": "dog"}\n{"path": "x/a.png", "label": null}\n')
    given = read_target_labels(file, NAMES, CLASSES, "photos", argument="labels")
    assert (given.rows.tolist(), given.labels.tolist(), given.listed) == ([0], [1], 2)


@pytest.mark.parametrize("text", ["sep=;\r\npath;label\r\nphotos/a.png;dog\r\n", "path\tlabel\nphotos/a.png\tdog\n"])
def test_other_dialects_of_spreadsheets_are_read(tmp_path, text):
    assert read(tmp_path, text).labels.tolist() == [1]
    with pytest.raises(UserError, match=f"line {2 + text.startswith('sep')}: 'photos/zebra.png' is none of"):
        read(tmp_path, text.replace("a.png", "zebra.png"))


def test_classes_and_paths_are_found_in_whatever_spelling(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    file = tmp_path / "few.csv"
    file.write_text(f"path,label\nin/{decomposed}.png,{decomposed} \n {composed}2.png,tea\n", encoding="utf-8")
    names = [f"in/{composed}.png", f"in/{decomposed}2.png"]
    given = read_target_labels(file, names, (composed, "tea"), "in", argument="labels")
    assert (given.rows.tolist(), given.labels.tolist()) == ([0, 1], [0, 1])


def test_a_spelling_that_means_two_files_means_neither(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    found = rows_by_name([f"{decomposed}.png", f"{decomposed}.png ", f"{composed}2.png"], "")
    assert f"{composed}.png" not in found
    assert found[f"{decomposed}.png"] == 0


def test_the_list_of_query_is_known_after_a_spreadsheet_has_saved_it(tmp_path):
    for number, text in enumerate(
        ["path,label,stratum,population\n", "\ufeffsep=;\npath;label;stratum;population\n", "path,label\n", ""]
    ):
        file = tmp_path / f"{number}.csv"
        file.write_text(text, encoding="utf-8")
        assert is_query(str(file)) == (number < 2)


@pytest.mark.parametrize("path", ["./a.png", "sub/../a.png", " ./a.png"])
def test_a_path_is_found_in_any_form(tmp_path, path):
    """As a list of a source takes it."""
    file = tmp_path / "labels.csv"
    file.write_text(f"path,label\n{path},cat\n")
    given = read_target_labels(file, ["photos/a.png"], ("cat", "dog"), "photos", argument="labels")
    assert given.rows.tolist() == [0]


@pytest.mark.skipif(os.sep != "/", reason="there a backslash separates folders anyway")
@pytest.mark.parametrize("path", [r"x\a.png", r"photos\x\a.png", r".\x\a.png "])
def test_a_path_of_windows_is_found(tmp_path, path):
    assert read(tmp_path, f"path,label\n{path},cat\n").rows.tolist() == [4]
    own = ["photos/x/a.png", r"photos/x\a.png"]  # a file whose name has a backslash comes first
    assert read(tmp_path, "path,label\nx\\a.png,cat\n", own).rows.tolist() == [1]


def test_a_line_of_json_without_a_label_has_none_whatever_the_classes_are(tmp_path):
    file = tmp_path / "few.jsonl"
    file.write_text(
        '{"path": "a.png", "label": "None"}\n{"path": "=1+1.png"}\n'
        '{"path": "x/a.png", "label": null}\n{"path": "b, c.png", "label": NaN}\n'
    )
    given = read_target_labels(file, NAMES, ("None", "nan"), "photos", argument="labels")
    assert (given.rows.tolist(), given.labels.tolist(), given.listed) == ([0], [0], 4)
