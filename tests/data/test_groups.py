"""Which images belong together: by a column of a list, or by a part of their paths."""

import os

import pytest

from dalib.core.errors import UserError
from dalib.data.groups import ImagesToGroup, find_groups


def domain(names, places=("photos",)):
    return ImagesToGroup("source photos", places, names)


def listed(folder, text, name="list.csv"):
    (folder / name).write_text(text)
    return str(folder / name)


def numbers(definition, *domains):
    return [each.numbers.tolist() for each in find_groups(definition, domains)]


def test_an_expression_groups_by_its_group_wherever_it_is_in_the_path():
    names = ["a/patient7/1.png", "b/patient7_2.png", "b/patient8_1.png"]
    assert numbers("patient([0-9]+)", domain(names)) == [[0, 0, 1]]


def test_windows_paths_are_written_with_slashes():
    assert numbers("([^/]+)/[^/]+$", domain(["a\\x\\1.png", "a\\x\\2.png", "a\\y\\1.png"])) == [[0, 0, 1]]


def test_a_path_without_a_match_is_a_group_of_its_own():
    (found,) = find_groups("burst([0-9])", [domain(["burst1_a.png", "x.png", "burst1_b.png", "y.png"])])
    assert found.numbers.tolist() == [0, 1, 0, 2]
    assert (found.count, found.without) == (3, 2)
    assert found.in_words("source") == (
        "source: 4 images in 3 groups by burst([0-9]), the largest of 2; 2 images belong to none and count as one each"
    )


def test_a_match_of_no_text_groups_nothing():
    names = ["patient7/1.png", "patient7/2.png", "patient/3.png", "patient/4.png"]
    (found,) = find_groups("patient([0-9]*)", [domain(names)])
    assert (found.numbers.tolist(), found.without) == ([0, 0, 1, 2], 2)


def test_a_domain_in_which_nothing_matches_has_groups_of_one():
    grouped, alone = find_groups("burst([0-9])", [domain(["burst1_a.png", "burst1_b.png"]), domain(["x", "y"])])
    assert grouped.count == 1
    assert (alone.count, alone.how) == (2, "")


def test_a_column_groups_by_equal_cells_and_empty_ones_stand_alone(tmp_path):
    text = "path,label,camera\na.png,cat,1\nsub/b.png,dog, 1 \nc.png,cat,\nd.png,cat,NA\n"
    names = [str(tmp_path / each) for each in ("sub/b.png", "a.png", "c.png", "d.png")]
    assert numbers("camera", domain(names, (listed(tmp_path, text),))) == [[0, 0, 1, 2]]


def test_an_image_of_two_groups_is_refused_with_both_lines(tmp_path):
    text = "path,patient\na.png,x\nb.png,y\n./a.png,{}\na.png,\n"
    of_list = domain([str(tmp_path / "a.png"), str(tmp_path / "b.png")], (listed(tmp_path, text.format("y")),))
    with pytest.raises(UserError, match=r"list\.csv', line 4: '\./a\.png' has the patient 'y' here and 'x' on line 2"):
        find_groups("patient", [of_list])
    listed(tmp_path, text.format(" x"))
    assert numbers("patient", of_list) == [[0, 1]]


@pytest.mark.skipif(os.sep != "/", reason="there a backslash separates folders anyway")
def test_a_column_of_a_list_of_windows_groups_too(tmp_path):
    names = [str(tmp_path / each) for each in ("cat/a.png", "cat/b.png")]
    listing = listed(tmp_path, "path,label,burst\ncat\\a.png,cat,1\ncat\\b.png,cat,1\n")
    assert numbers("burst", domain(names, (listing,))) == [[0, 0]]


def test_json_lines_have_columns_too(tmp_path):
    text = '{"path": "a.png", "label": "x", "burst": 3}\n{"path": "b.png", "label": "x", "burst": 3}\n'
    names = [str(tmp_path / each) for each in ("a.png", "b.png")]
    assert numbers("burst", domain(names, (listed(tmp_path, text, "list.jsonl"),))) == [[0, 0]]


def test_of_json_lines_the_first_may_lack_the_column(tmp_path):
    text = '{"path": "a.png"}\n{"path": "b.png", "burst": 3}\n{"path": "c.png", "burst": 3}\n'
    names = [str(tmp_path / each) for each in ("a.png", "b.png", "c.png")]
    assert numbers("burst", domain(names, (listed(tmp_path, text, "list.jsonl"),))) == [[1, 0, 0]]


def test_a_column_of_each_of_two_lists_is_of_its_own_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    here = listed(tmp_path, "path,burst\na.png,1\nb.png,1\n")
    below = listed(tmp_path / "sub", "path,burst\na.png,2\nb.png,2\n")
    places = tuple(os.path.relpath(each) for each in (here, below))
    names = ["a.png", "b.png", os.path.join("sub", "a.png"), os.path.join("sub", "b.png")]  # noqa: PTH118
    assert numbers("burst", domain(names, places)) == [[0, 0, 1, 1]]


def test_a_column_wins_over_an_expression_of_the_same_text(tmp_path):
    text = "path,patient (id)\na.png,1\nb.png,1\n"
    names = [str(tmp_path / each) for each in ("a.png", "b.png")]
    assert numbers("patient (id)", domain(names, (listed(tmp_path, text),))) == [[0, 0]]


def test_a_column_that_only_one_domain_has(tmp_path):
    names = [str(tmp_path / each) for each in ("a.png", "b.png")]
    listing = listed(tmp_path, "path,label,burst\na.png,x,1\nb.png,x,1\n")
    assert numbers("burst", domain(names, (listing,)), domain(["1", "2"])) == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ("(", "not a regular expression"),
        ("patient", "no column of this name (none of the images are given by a list)"),
        ("(a)(b)", "the regular expression has 2 groups; expected one"),
        ("patient([0-9])", "is found in no path; paths are such as photos/1.png (source photos)"),
    ],
)
def test_definitions_that_tell_nothing_are_refused(definition, told):
    with pytest.raises(UserError) as refused:
        find_groups(definition, [domain(["photos/1.png"])])
    assert told in str(refused.value)
    assert str(refused.value).startswith("groups")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    listing = listed(tmp_path, "path,label,camera,day\na.png,x,1,2\n")
    with pytest.raises(UserError, match=r"list\.csv has the columns camera, day"):
        find_groups("burst", [domain([str(tmp_path / "a.png")], (listing,))])


def test_auto_without_images_is_refused():
    with pytest.raises(UserError, match="it compares images"):
        find_groups("auto", [domain(["1.png"])])


def test_a_definition_that_is_no_text_is_refused():
    with pytest.raises(UserError, match="groups=3: expected a column, a pattern or auto, got int"):
        find_groups(3, [])
