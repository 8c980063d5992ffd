"""From what a user points at to image files and classes, without decoding one."""

import csv
import io
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dalib.core.errors import UserError
from dalib.data.listing import join_listings, list_images, list_labelled, list_names
from dalib.data.spelling import is_missing, key_of


def draw(path: Path, value: int = 100, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path, kind)
    return path


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def names(listing) -> list[str]:
    return [str(path.relative_to(listing.root)) for path in listing.paths]


def labelled(path: Path, **options):
    return list_labelled(path, argument="source", **options)


def images(path: Path, **options):
    return list_images(path, argument="target", **options)


def test_a_missing_folder_is_looked_for_beside_and_told_where(tmp_path, monkeypatch):
    (tmp_path / "studio").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such folder; did you mean studio\?"):
        images(Path("studioo"))
    with pytest.raises(UserError, match=r"no such folder in .*; give the path from there on, or an absolute one"):
        images(Path("nowhere/studio"))


def test_an_image_in_place_of_a_folder_is_told_from_one_that_is_not_there(tmp_path):
    draw(tmp_path / "one.png")
    in_folder = "give the folder that it is in, or a list: a .csv with the heading path and a line"
    by_class = (
        "give a folder with one folder of images for each class, or a list: a .csv with the headings path and label"
    )
    for listed, remedy in (
        (labelled, by_class),
        (images, in_folder),
        (lambda path: list_names(path, argument="images"), in_folder),
    ):
        with pytest.raises(UserError, match=f"this is a file of one image; {remedy}"):
            listed(tmp_path / "one.png")
        with pytest.raises(UserError, match=r"none\.JPG'\)?: no such file; expected a folder of images"):
            listed(tmp_path / "none.JPG")


def test_class_folders_are_sorted_and_hold_images_at_any_depth(tmp_path):
    for name in ("dog/a.png", "cat/b.png", "cat/deep/er/c.png"):
        draw(tmp_path / name)
    listing = labelled(tmp_path)
    assert names(listing) == ["cat/b.png", "cat/deep/er/c.png", "dog/a.png"]
    assert listing.labels == (0, 0, 1)
    assert listing.classes == ("cat", "dog")


def test_nothing_is_decoded(tmp_path):
    write(tmp_path / "cat" / "a.png", "no image")
    assert names(labelled(tmp_path)) == ["cat/a.png"]


def test_images_beside_the_class_folders_are_noted(tmp_path):
    draw(tmp_path / "cat" / "a.png")
    draw(tmp_path / "loose.png")
    (note,) = labelled(tmp_path).notes
    assert "1 image beside the class folders is not used" in note


def test_a_folder_without_labels_is_read_flat_or_nested(tmp_path):
    for name in ("b.png", "a.png", "in/c.png"):
        draw(tmp_path / name)
    listing = images(tmp_path)
    assert names(listing) == ["a.png", "b.png", "in/c.png"]
    assert listing.labels is listing.classes is None


def test_names_are_the_paths_as_text(tmp_path):
    for name in ("b/2.png", "a/1.JPG", "0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write(tmp_path / "list.csv", "path\na/1.JPG\n0.png\n0.png\n")
    for where in (tmp_path, tmp_path / "list.csv"):
        listing = list_images(where, argument="images")
        found, unreadable, notes = list_names(where, argument="images")
        assert found == [str(path) for path in listing.paths]
        assert (unreadable, notes) == (listing.unreadable, listing.notes)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found none"):
        list_names(tmp_path / "empty", argument="images")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_without_an_ending_counts_if_it_begins_as_an_image(tmp_path, kind):
    draw(tmp_path / "IMG_0001", kind=kind)
    write(tmp_path / "README", "no image")
    write(tmp_path / "empty", "")
    assert names(images(tmp_path)) == ["IMG_0001"]


def test_other_files_are_counted_by_their_ending(tmp_path):
    draw(tmp_path / "a.png")
    for name in ("a.txt", "b.TXT", "c.doc", "README"):
        write(tmp_path / name, "x")
    draw(tmp_path / "an image.txt", kind="PNG")
    assert images(tmp_path).ignored == {".txt": 3, ".doc": 1, "": 1}


def test_a_pipe_without_an_ending_is_not_opened(tmp_path):
    draw(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe")
    assert names(images(tmp_path)) == ["a.png"]


def test_links_that_lead_nowhere_are_listed(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    (tmp_path / "c.png").symlink_to(tmp_path / "gone")
    listing = images(tmp_path)
    assert [each.path for each in listing.unreadable] == [str(tmp_path / "b")]
    assert names(listing) == ["a.png", "c.png"]  # which decoding finds unreadable


def test_a_folder_that_cannot_be_read_is_listed(tmp_path, monkeypatch):
    draw(tmp_path / "a.png")
    draw(tmp_path / "secret" / "b.png")
    own = os.scandir

    def refuse(path):  # root may read every folder, so that a mode of 0 would not do
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return own(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = images(tmp_path)
    assert names(listing) == ["a.png"]
    assert [(each.path, each.reason) for each in listing.unreadable] == [
        (str(tmp_path / "secret"), "Permission denied")
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"found none in it or below it \(.*secret: Permission denied\)"):
        images(tmp_path)


def test_a_loop_of_links_ends(tmp_path):
    draw(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    assert names(images(tmp_path)) == ["set/a.png"]


def test_a_link_in_a_class_to_the_folder_of_all_classes_is_left_out_and_named(tmp_path):
    for name in ("cat", "dog"):
        draw(tmp_path / "set" / name / f"{name}.png")
    (tmp_path / "set" / "cat" / "up").symlink_to("..")
    (tmp_path / "set" / "cat" / "beside").symlink_to("../dog")
    found = labelled(tmp_path / "set")
    assert names(found) == ["cat/cat.png", "cat/beside/dog.png", "dog/dog.png"]
    assert found.labels == (0, 0, 1)
    reasons = {Path(each.path).name: each.reason for each in found.left_out}
    assert reasons == {"up": "a folder, a link to a folder that it lies in"}


def test_a_csv_names_images_and_classes(tmp_path):
    file = write(tmp_path / "list.csv", "path,label\nb/1.jpg,dog\na.png,cat\n")
    listing = labelled(file)
    assert names(listing) == ["b/1.jpg", "a.png"]
    assert listing.labels == (1, 0)
    assert listing.classes == ("cat", "dog")
    assert images(file).labels is None
    assert names(images(file)) == ["b/1.jpg", "a.png"]


def test_lines_of_json_name_images_and_classes(tmp_path):
    file = write(
        tmp_path / "list.jsonl", '{"path": "1.jpg", "label": "dog", "more": 1}\n\n{"label": 7, "path": "2.jpg"}'
    )
    listing = labelled(file)
    assert names(listing) == ["1.jpg", "2.jpg"]
    assert listing.classes == ("7", "dog")
    assert listing.labels == (1, 0)


@pytest.mark.parametrize(
    "content",
    {
        "byte order mark": b"\xef\xbb\xbfpath,label\na.png,x\nb.png,y\n",
        "ends of lines": b"path,label\r\na.png,x\r\nb.png,y\r\n",
        "no last end of line": b"path,label\na.png,x\nb.png,y",
        "blank lines": b"\n\npath,label\n\na.png,x\n  \n,\nb.png,y\n\n",
        "quotes": b'"path","label"\n"a.png","x"\n"b.png",y\n',
        "columns of their own": b"id,label,path\n1,x,a.png\n2,y,b.png\n",
        "spaces": b"path , label\na.png, x\nb.png,y \n",
        "repeated lines": b"path,label\na.png,x\nb.png,y\n./a.png,x\n",
        "semicolons": b"path;label\r\na.png;x\r\nb.png;y\r\n",
        "tabs": b"path\tlabel\na.png\tx\nb.png\ty\n",
        "a line sep=": b"\xef\xbb\xbfsep=;\r\npath;label\r\na.png;x\r\nb.png;y\r\n",
        "a line sep= and bars": b"sep=|\npath|label\na.png|x\nb.png|y\n",
    }.values(),
    ids=lambda content: content[:12].decode(errors="replace"),
)
def test_what_programs_do_to_csv_does_not_matter(tmp_path, content):
    listing = labelled(write(tmp_path / "list.CSV", content))
    assert names(listing) == ["a.png", "b.png"]
    assert listing.labels == (0, 1)
    assert listing.classes == ("x", "y")


def test_repeated_lines_are_noted(tmp_path):
    (note,) = images(write(tmp_path / "list.csv", "path\na.png\na.png\n")).notes
    assert "1 lines repeat another" in note


def test_quoted_names_hold_commas_quotes_and_ends_of_lines(tmp_path):
    file = write(tmp_path / "list.csv", 'path,label\n"a,b.png",x\n"say ""cheese"".png",y\n"two\nlines.png",y\n')
    assert names(labelled(file)) == ["a,b.png", 'say "cheese".png', "two\nlines.png"]


def test_a_target_needs_no_labels_and_does_not_compare_them(tmp_path):
    assert names(images(write(tmp_path / "a.csv", "path\n1.png\n"))) == ["1.png"]
    assert names(images(write(tmp_path / "b.csv", "path,label\n1.png,x\n1.png,y\n2.png,\n"))) == ["1.png", "2.png"]
    assert names(images(write(tmp_path / "c.jsonl", '{"path": "1.png", "label": null}\n'))) == ["1.png"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list.csv", "", "line 1: the file is empty; expected a header with the columns path,label"),
        ("list.csv", "\n \n", "line 1: the file is empty"),
        ("list.csv", "path,label\n", "expected at least one line with a path, found none"),
        (
            "list.csv",
            "a.png,cat\n",
            "line 1: expected a header with the columns path,label, once each; got 'a.png,cat'",
        ),
        ("list.csv", "path\na.png\n", "line 1: expected a header with the columns path,label"),
        ("list.csv", "path,path,label\na,b,c\n", "line 1: expected a header"),
        ("list.csv", "path,label\na.png,cat\nb.png\n", r"line 3: expected 2 fields \(path,label\), got 1"),
        ("list.csv", "path,label\na,b.png,cat\n", "line 2: expected 2 fields .* got 3; a name with a comma"),
        ("list.csv", "path,label\na.png,cat\n,cat\n", "line 3: the path is empty"),
        ("list.csv", "path,label\na.png,\n", "line 2: 'a.png' has no label"),
        (
            "list.csv",
            "path,label\na.png,cat\n\nb.png,dog\na.png,dog\n",
            "line 5: 'a.png' is 'dog' here and 'cat' on line 2",
        ),
        ("list.csv", 'path,label\n"a.png,cat\n', r"line 2: not CSV \(unexpected end of data\)"),
        ("list.csv", 'path,label\n"a"b.png,cat\n', "line 2: not CSV"),
        ("list.csv", "path,label\na\0.png,cat\n", "line 2: .* is not a path"),
        ("list.csv", b"path,label\na.png,cat\n\xe4.png,cat\n", "line 3: expected UTF-8"),
        ("list.csv", "path,label\na.png,cat\n".encode("utf-16"), "line 1: expected UTF-8"),
        ("list.jsonl", "", "expected at least one line with a path, found none"),
        ("list.jsonl", '{"path": "a.png", "label": "x"}\n{"path": ', r"line 2: not JSON \("),
        ("list.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("list.jsonl", '["a.png", "x"]', "line 1: expected an object such as"),
        ("list.jsonl", '{"file": "a.png"}', "line 1: expected an object such as"),
        ("list.jsonl", '{"path": 7, "label": "x"}', "line 1: expected an object such as"),
        ("list.jsonl", '{"path": "a.png"}', "line 1: expected a label, the name of a class; got None"),
        ("list.jsonl", '{"path": "a.png", "label": true}', "line 1: expected a label, .* got True"),
        (
            "list.jsonl",
            '{"path": "a.png", "label": "x"}\n{"path": "a.png", "label": "y"}',
            "line 2: 'a.png' is 'y' here",
        ),
    ],
)
def test_what_is_wrong_with_a_list_is_told_with_its_line(tmp_path, file, content, message):
    path = write(tmp_path / file, content)
    with pytest.raises(UserError, match=rf"^source='{path}',? ?(: )?.*{message}"):
        labelled(path)


@pytest.mark.parametrize("file", ["nowhere.csv", "nowhere.jsonl"])
def test_a_missing_list_is_named(tmp_path, file):
    with pytest.raises(UserError, match=rf"^source=.*{file}': no such file"):
        labelled(tmp_path / file)


def test_a_pipe_for_a_list_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"^source=.*list\.csv': expected a file"):
        labelled(tmp_path / "list.csv")


def test_a_folder_may_end_in_csv(tmp_path):
    draw(tmp_path / "set.csv" / "a.png")
    assert names(images(tmp_path / "set.csv")) == ["a.png"]


@pytest.mark.parametrize("file", ["list.csv", "list.jsonl"])
@pytest.mark.parametrize("way", ["dots", "absolute", "link to a file", "link to a folder", "beside"])
def test_a_path_that_leaves_the_folder_of_the_list_is_refused(tmp_path, file, way):
    outside = draw(tmp_path / "elsewhere" / "a.png")
    draw(tmp_path / "set" / "inside.png")
    (tmp_path / "set" / "link.png").symlink_to(outside)
    (tmp_path / "set" / "linked").symlink_to(outside.parent)
    draw(tmp_path / "settle" / "a.png")  # whose name begins as the folder's does
    path = {
        "dots": "../elsewhere/a.png",
        "absolute": str(outside),
        "link to a file": "link.png",
        "link to a folder": "linked/a.png",
        "beside": "../settle/a.png",
    }[way]
    line = {"list.csv": "path\ninside.png\n{}\n", "list.jsonl": '{{"path": "inside.png"}}\n{{"path": "{}"}}\n'}[file]
    where = write(tmp_path / "set" / file, line.format(path))
    number = 3 if file == "list.csv" else 2
    with pytest.raises(UserError, match=rf"^target='{where}', line {number}: '{path}' leaves the folder of the list"):
        images(where)
    assert [each.name for each in images(where, allow_outside=True).paths] == ["inside.png", Path(path).name]


def test_a_path_on_another_drive_of_windows_is_refused(tmp_path, monkeypatch):
    def of_windows(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", of_windows)
    with pytest.raises(UserError, match=r"line 2: .* leaves the folder of the list"):
        list_images(write(tmp_path / "list.csv", "path\n/elsewhere/a.png\n"), argument="target")


def test_an_absolute_path_and_dots_may_stay_inside(tmp_path):
    draw(tmp_path / "in" / "a.png")
    file = write(tmp_path / "list.csv", f"path\n{tmp_path / 'in' / 'a.png'}\nin/../b.png\n")
    assert len(images(file).paths) == 2


def test_a_list_in_a_linked_folder_is_in_that_folder(tmp_path):
    write(tmp_path / "real" / "list.csv", "path\na.png\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert images(tmp_path / "link" / "list.csv").paths == (tmp_path / "link" / "a.png",)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\r"), min_size=1, max_size=20)
usual = texts.filter(lambda text: text not in (".", "..") and text.strip())


classes = usual.map(str.strip).filter(lambda text: not is_missing(text))


def distinct(rows: dict[str, str]) -> bool:
    """Whether no two names are equal but for their spelling."""
    return all(len({*map(key_of, names)}) == len(set(names)) for names in (rows, rows.values()))


@given(st.dictionaries(usual, classes, min_size=1, max_size=8).filter(distinct))
@settings(max_examples=60, deadline=None)
def test_whatever_a_program_writes_as_csv_or_json_is_read_back(rows):
    with tempfile.TemporaryDirectory() as folder:
        text = io.StringIO()
        csv.writer(text).writerows([("path", "label"), *rows.items()])
        lines = [json.dumps({"path": path, "label": label}, ensure_ascii=False) for path, label in rows.items()]
        for file, content in (("a.csv", text.getvalue()), ("a.jsonl", "\n".join(lines))):
            listing = labelled(write(Path(folder) / file, content))
            assert listing.paths == tuple(Path(folder) / path for path in rows)
            assert [listing.classes[label] for label in listing.labels] == list(rows.values())


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "N/A", "null", "<NA>", " NA "])
def test_what_stands_for_no_label_is_no_class(tmp_path, label):
    file = write(tmp_path / "list.csv", f"sep=,\npath,label\na.png,x\nb.png,{label}\n")
    with pytest.raises(
        UserError, match=r"line 4: 'b.png' has no label: .* stands for a missing one; leave the line out"
    ):
        labelled(file)
    assert names(images(file)) == ["a.png", "b.png"]  # a target needs none
    assert labelled(file, known=("x", label.strip())).classes == tuple(sorted(("x", label.strip())))


def test_numbers_that_are_none_in_json_are_no_class(tmp_path):
    file = write(tmp_path / "list.jsonl", '{"path": "a.png", "label": "x"}\n{"path": "b.png", "label": NaN}\n')
    with pytest.raises(UserError, match=r"line 2: 'b.png' has no label: nan"):
        labelled(file)


def test_a_class_folder_may_be_called_none(tmp_path):
    draw(tmp_path / "None" / "a.png")
    draw(tmp_path / "nan" / "a.png")
    assert labelled(tmp_path).classes == ("None", "nan")


def test_labels_in_two_spellings_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    file = write(tmp_path / "list.csv", f"path,label\na.png,{composed}\nb.png,{decomposed}\nc.png,tea\n")
    listing = labelled(file)
    assert listing.classes == (composed, "tea")
    assert listing.labels == (0, 0, 1)


def test_paths_of_a_list_find_files_in_another_spelling(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    draw(tmp_path / decomposed / f"{decomposed}.png")
    file = write(tmp_path / "list.csv", f"path\n {composed}/{composed}.png \n{decomposed}/{composed}.png\n")
    listing = images(file)
    assert names(listing) == [f"{decomposed}/{decomposed}.png"]
    assert "1 lines repeat another" in listing.notes[0]
    contradiction = write(tmp_path / "b.csv", f"path,label\n{composed}/x.png,a\n{decomposed}/x.png,b\n")
    with pytest.raises(UserError, match=r"line 3: .* is 'b' here and 'a' on line 2"):
        labelled(contradiction)


def test_an_image_without_an_ending_beside_the_class_folders_is_called_one(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        draw(tmp_path / name)
    draw(tmp_path / "loose", kind="PNG")
    write(tmp_path / "text", "none")
    found = labelled(tmp_path)
    reasons = {Path(each.path).name: each.reason for each in found.left_out}
    assert reasons["loose"] == "beside the class folders"
    assert reasons["text"] == "without an ending, and no image by its first bytes"
    assert any("1 image beside the class folders" in note for note in found.notes)


@pytest.mark.parametrize("pair", [("caf\u00e9.png", "cafe\u0301.png"), ("a.png", "a.png ")])
def test_two_files_of_a_list_whose_names_are_compared_as_equal_are_both_listed(tmp_path, pair):
    for number, name in enumerate(pair):
        draw(tmp_path / name, number, "PNG")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes them for one file")
    lines = "".join(f"{name},class {number}\n" for number, name in enumerate(pair))
    found = labelled(write(tmp_path / "list.csv", f"path,label\n{lines}{pair[1]},class 1\n"))
    assert [path.name for path in found.paths] == list(pair)
    assert found.labels == (0, 1)
    assert any("1 lines repeat another" in note for note in found.notes)


@pytest.mark.parametrize(
    "url", ["http://x.org/y.png", "https://x.org/y.png", "s3://bucket/y.png", " gs://bucket/y.png"]
)
def test_a_url_in_a_list_is_refused_with_the_remedy(tmp_path, url):
    """It was an image that cannot be read, with one slash less."""
    draw(tmp_path / "a.png")
    file = write(tmp_path / "list.csv", f"path,label\na.png,cat\n{url},dog\n")
    for read in (labelled, images):
        with pytest.raises(UserError, match=rf"line 3: '{url}': expected a path on this machine, .* download it first"):
            read(file)


def test_joined_listings_unite_their_classes_and_keep_what_was_left_out(tmp_path):
    draw(tmp_path / "one" / "cat" / "a.png")
    draw(tmp_path / "one" / "dog" / "b.png")
    draw(tmp_path / "one" / "loose.png")
    draw(tmp_path / "two" / "ant" / "c.png")
    draw(tmp_path / "two" / "dog" / "d.png")
    for folder in ("one", "two"):
        write(tmp_path / folder / "dog" / "notes.txt", "no image")
    one, two = labelled(tmp_path / "one"), labelled(tmp_path / "two")
    both = join_listings([one, two])
    assert both.where == f"{one.where} + {two.where}"
    assert both.classes == ("ant", "cat", "dog")
    assert both.paths == (*one.paths, *two.paths)
    assert both.labels == (1, 2, 0, 2)
    assert both.ignored == {".txt": 2}
    assert (both.notes, both.left_out) == ((*one.notes, *two.notes), (*one.left_out, *two.left_out))
    assert (len(one.notes), len(two.notes)) == (2, 1)
    assert join_listings([one]) is one
    assert both.whole_numbers is None
    looked_up = [replace(one, whole_numbers=()), replace(two, whole_numbers=())]
    assert join_listings(looked_up).whole_numbers == ()
    assert join_listings([one, looked_up[1]]).whole_numbers is None
