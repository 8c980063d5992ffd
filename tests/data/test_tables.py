"""Lists of users as they come: delimiters, marks and lines of spreadsheets, and JSON lines."""

from pathlib import Path

import pytest

from dalib.core.errors import UserError
from dalib.data.tables import delimiter_of, fields_of, label_in, rows_of, text_of


def refuse(line: int, what: str) -> UserError:
    return UserError(f"line {line}: {what}")


def rows(text: str, name: str = "list.csv", columns=("path", "label")):
    return list(rows_of(Path(name), text, refuse, columns))


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,cat\n",
        "path;label\r\na.png;cat\r\n",
        "path\tlabel\na.png\tcat",
        "sep=;\npath;label\na.png;cat\n",
        '"sep=|"\npath|label\na.png|cat\n',
        '"path";"label"\n"a.png";"cat"\n',
        "Path,LABEL\na.png,cat\n",
        '"path", "label"\n"a.png", "cat"\n',
    ],
)
def test_every_spreadsheets_way_is_read(text):
    ((_, row),) = rows(text)
    assert row == {"path": "a.png", "label": "cat"}


def test_a_column_of_the_very_name_is_taken_before_one_in_another_case():
    ((_, row),) = rows("Path,path,label,Camera\nold.png,a.png,cat,left\n")
    assert row == {"Path": "old.png", "path": "a.png", "label": "cat", "Camera": "left"}


def test_a_delimiter_between_quotes_is_none():
    assert delimiter_of('"a;b",c') == ","
    assert delimiter_of("") == ","
    assert delimiter_of("\n\npath\tlabel") == "\t"


def test_quotes_count_after_spaces_and_a_name_may_begin_with_one():
    assert [row for _, row in rows('path, label\na.png, "cat, black"\n')] == [{"path": "a.png", "label": "cat, black"}]
    assert [row["path"] for _, row in rows("label,path\ncat, a.png\n")] == [" a.png"]


def test_lines_are_counted_as_an_editor_does():
    text = 'sep=,\npath,label\n\n"two\nlines.png",cat\nb.png,dog\n'
    assert [(line, row["path"]) for line, row in rows(text)] == [(4, "two\nlines.png"), (6, "b.png")]
    assert [line for line, _ in fields_of("a\n\n \nb\n", refuse)] == [1, 4]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the file is empty; expected a header with the columns path,label"),
        ("name,label\n", "line 1: expected a header with the columns path,label, once each; got 'name,label'"),
        ("name,label\n", "got 'name,label'; rename the columns so, or put such a line first"),
        ("path,path,label\n", "once each"),
        ("Path,PATH,label\n", "once each"),
        ("path,label\na,b,c\n", r"line 2: expected 2 fields \(path,label\), got 3; a name with a comma in it stands"),
        ('path,label\n"a,b\n', "line 2: not CSV"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(text, told):
    with pytest.raises(UserError, match=told):
        rows(text)


def test_json_lines_hold_any_value():
    text = '{"path": "a.png", "label": 3}\n\n{"path": "b.png", "label": null, "more": [1]}\n'
    assert rows(text, "list.JSONL") == [
        (1, {"path": "a.png", "label": 3}),
        (3, {"path": "b.png", "label": None, "more": [1]}),
    ]


@pytest.mark.parametrize(
    ("line", "told"), [("{", "not JSON"), ("[1]", "expected an object"), ('{"path": 1}', "object")]
)
def test_a_line_that_is_no_object_with_a_path_is_refused(line, told):
    with pytest.raises(UserError, match=f"line 2: .*{told}"):
        rows(f'{{"path": "a"}}\n{line}\n', "x.jsonl")


@pytest.mark.parametrize(("label", "expected"), [(3, "3"), (" cat ", "cat"), (None, None), ("", "")])
def test_a_label_is_text_or_missing(label, expected):
    assert label_in({"label": label}, 1, refuse) == expected
    assert label_in({}, 1, refuse) is None


@pytest.mark.parametrize("label", [True, 1.5, ["cat"], {}])
def test_a_label_of_another_kind_is_refused(label):
    with pytest.raises(UserError, match="line 7: expected a label, the name of a class; got"):
        label_in({"label": label}, 7, refuse)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "list.csv"
    file.write_bytes(b"\xef\xbb\xbfpath\n")
    assert text_of(file, "source") == "path\n"
    file.write_bytes(b"path\nM\xfcller.png\n")
    for wrong, told in (
        (file, "line 2: expected UTF-8"),
        (tmp_path, "expected a file"),
        (tmp_path / "x", "no such file"),
    ):
        with pytest.raises(UserError, match=rf"source='.*{told}"):
            text_of(wrong, "source")


def test_the_header_of_one_column_is_named_in_the_singular():
    with pytest.raises(UserError, match=r"expected a header with the column path, once; got '1\.png'; rename"):
        list(rows_of(Path("list.csv"), "1.png\n2.png\n", refuse, ("path",)))


def test_a_column_that_is_not_used_may_hold_long_fields():
    """Such as encoded masks: Python's csv refuses fields above 131,072 characters by default."""
    (_, (line, row)) = fields_of(f"path,mask\na.png,{'1 2 ' * 40_000}\n", refuse)
    assert (line, row[0], len(row[1])) == (2, "a.png", 160_000)
