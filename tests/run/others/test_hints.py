"""Hints of a run: tables matched to the target's images, mistakes told, records, and a resumed run bit for bit."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from dalib.adaptation import hints
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.records.hints import Hints
from dalib.records.summary import Summary
from dalib.run.others.hints import hints_file, read_hints

NAMES = ("street/a.png", "street/b.png", "street/c.png")
CLASSES = ("cat", "dog", "owl")


def read(path, names=NAMES):
    return read_hints(path, names, "street", CLASSES).tolist()


def written(folder, text, name="hints.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_rows_are_found_by_name_and_may_be_missing_and_columns_may_be_some_of_the_classes(tmp_path):
    table = written(tmp_path, "path,owl,cat\nstreet/c.png,0.75,0.25\na.png,0,1\n")
    assert read(table) == [[1, 0, 0], [0, 0, 0], [0.25, 0, 0.75]]


@pytest.mark.skipif(os.sep != "/", reason="there a backslash separates folders anyway")
def test_rows_of_a_table_of_windows_are_found(tmp_path):
    assert read(written(tmp_path, "path,label\nstreet\\b.png,dog\n")) == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_labels_will_do_and_may_be_missing(tmp_path):
    assert read(written(tmp_path, "path,label\nb.png,dog\na.png,\nc.png,owl\n")) == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.savez(tmp_path / "labels.npz", names=np.array(["a.png"]), labels=np.array(["owl"]))
    assert read(tmp_path / "labels.npz") == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_row_without_any_probability_is_no_hint(tmp_path):
    assert read(written(tmp_path, "path,cat,dog\nb.png,0.25,0.75\na.png,,\n")) == [
        [0, 0, 0],
        [0.25, 0.75, 0],
        [0, 0, 0],
    ]
    with pytest.raises(UserError, match="NaN or infinite values in 1 of 1 rows"):
        read(written(tmp_path, "path,cat,dog\na.png,,0.5\n"))


def test_arrays_without_names_are_in_the_targets_order(tmp_path):
    p = torch.eye(3)[[2, 0, 1]]
    assert read(hints_file(p)) == p.tolist()
    assert hints_file(p) == hints_file(p.numpy()) != hints_file(p.view(1, 9))  # in the same bytes
    with pytest.raises(UserError, match="expected 4 rows, one for each target image, got 3"):
        read(hints_file(p), (*NAMES, "street/d.png"))
    np.savez(tmp_path / "two.npz", probabilities=np.full((3, 2), 0.5))
    with pytest.raises(UserError, match="expected 3 columns, one for each class, got 2"):
        read(tmp_path / "two.npz")


def test_dictionaries_and_data_frames_are_tables():
    assert read(hints_file({"a.png": "dog"}))[0] == [0, 1, 0]

    assert read(hints_file(pd.DataFrame([[0.25, 0.75]], ["b.png"], ["cat", "dog"])))[1] == [0.25, 0.75, 0]
    with pytest.raises(UserError, match="hints: expected a file, probabilities"):
        hints_file(3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na.png,dgo\n", "row 1 (a.png): 'dgo' is none of the classes; did you mean dog"),
        ("path,label\na.png,\n", "no label in it"),
        ("path,label\na.png,dog\nz.png,dog\n", "'z.png': none of the 3 images of the target street"),
        ("path,label\na.png,dog\nstreet/a.png,cat\n", "the image 'street/a.png' has more than one row"),
        (
            "path,cat,dgo\na.png,0.5,0.5\n",
            "the column 'dgo' is none of the classes 'cat', 'dog', 'owl'; did you mean dog",
        ),
        ("path,cat,dog\na.png,,\n", "no probability in it; write one for each class, or leave out images without"),
        ("path,cat,dog\na.png,50,50\n", "divide percentages by 100"),
        ("path,hint\na.png,dog\n", "one of probabilities for each class, or a column label, got path,hint"),
        ("label\ndog\ndog\n", "expected a column of the images' names, such as path, got label"),
    ],
)
def test_mistakes_are_told_with_the_file_and_a_remedy(tmp_path, text, said):
    table = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        read(table)
    assert said in str(error.value)
    assert str(table) in str(error.value)


def arguments(images, out, *more):
    quick = "--steps 4 --batch 4 --data.size 16 --data.validation_share 0.2 --select last"
    often = "--every.log 2 --every.evaluate 2 --every.checkpoint 2"
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    return ["train", *where, *quick.split(), *often.split(), *more]


@pytest.fixture(scope="module")
def hinted(images, tmp_path_factory):
    """A run with hints, and their table."""
    folder = tmp_path_factory.mktemp("hinted")
    rows = [f"{number}.png,{('dark', 'light')[number % 2]}" for number in range(9)]
    table = written(folder, "\n".join(["path,label", *rows]))
    assert run(arguments(images, folder / "run", "--hints", str(table))) == 0
    return folder / "run", table


OF_OBJECTS = tuple(f"/cache/given/0123456789abcdef0123456789abcdef/{row:02}.png" for row in range(12))
ARRAY = "/cache/given/0123456789abcdef0123456789abcdef/array-of-12-images.csv"


def test_images_that_are_objects_have_hints_by_their_number(capsys):
    found = read_hints(hints_file({"3": "b", "04": "a", 11: "b"}), OF_OBJECTS, ARRAY, ("a", "b"))
    assert found.argmax(dim=1)[[3, 4, 11]].tolist() == [1, 0, 1]
    assert int(found.sum()) == 3
    assert capsys.readouterr().out == "hints: 3 of 12 target images\n"


class OfPolars:
    """A frame with what is used of one of polars: columns, rows, and no index."""

    def __init__(self, frame):
        self.columns, self.rows, self.to_numpy = list(frame.columns), lambda: list(frame.itertuples(index=False)), None


@pytest.mark.parametrize("kind", [pd.DataFrame, OfPolars])
def test_rows_of_frames_are_found_by_their_whole_numbers_or_are_counted(kind):
    numbered = pd.DataFrame({"id": [4, 2], "a": [0.25, 0.5], "b": [0.75, 0.5]})
    found = read_hints(hints_file(kind(numbered)), OF_OBJECTS, ARRAY, ("a", "b"))
    assert found[[4, 2]].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    counted = read_hints(hints_file(kind(numbered.drop(columns="id"))), OF_OBJECTS, ARRAY, ("a", "b"))
    assert counted[:2].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    texts = OfPolars(numbered.rename(columns={"id": "photo"}).astype({"photo": str}))
    assert torch.equal(read_hints(hints_file(texts), OF_OBJECTS, ARRAY, ("a", "b")), found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({1: np.full(99, 0.5)}, "hints, row 1 (1): '[0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5' is none of the classes"),
        ({"12": "a"}, "hints: '12': none of the 12 images of the target array-of-12-images; expected the number of an"),
        ({OF_OBJECTS[1]: "c"}, "hints, row 1 (01): 'c' is none of the classes; expected one of 'a', 'b'"),
        ({"01": "a", 1: "b"}, "hints: the image '1' has more than one row; leave one"),
        (np.full((11, 2), 0.5), "hints: expected 12 rows, one for each target image, got 11"),
        (np.ones((12, 2)), "hints: expected rows of at least 0 that sum to 1, got 2 in 12 of 12 rows"),
        ({}, "hints: expected at least one image, got none"),
    ],
)
def test_mistakes_in_hints_that_are_objects_name_rows_and_no_file_of_the_cache(given, said):
    with pytest.raises(UserError) as caught:
        read_hints(hints_file(given), OF_OBJECTS, ARRAY, ("a", "b"))
    assert str(caught.value).startswith(said)
    assert "/" not in str(caught.value)


def test_a_run_tells_how_far_it_trusted_hints(hinted):
    folder, _ = hinted
    told = Hints.read(folder / "hints.json")
    assert (told.images, told.hinted) == (10, 9)
    assert [each.images for each in told.classes] == [5, 4]
    assert told.better is None  # not every image has a hint
    assert "How far the hints were trusted" in (folder / "report.html").read_text()
    assert "hints" in Summary.read(folder / "summary.json").contents


def test_hints_go_with_masked_consistency_around_a_method_that_has_a_teacher(images, hinted, tmp_path, capsys):
    given = "--hints", str(hinted[1]), "--masked_consistency.weight", "1"
    assert run(arguments(images, tmp_path / "masked", *given)) == 0
    assert Hints.read(tmp_path / "masked" / "hints.json").hinted == 9
    assert run(arguments(images, tmp_path / "mcc", *given, "--method", "mcc")) == 2
    assert "mcc has no teacher that hints could refine" in capsys.readouterr().err


def test_hints_that_are_held_back_from_training_are_counted_and_none_is_where_adapted_is_kept(
    images, hinted, tmp_path, monkeypatch
):
    monkeypatch.setattr(hints, "FEWEST_TO_HOLD_BACK", 5)
    monkeypatch.setattr(hints, "HELD_BACK_ONE_IN", 3)
    _, table = hinted
    for name, keep, expected in (("judged", "better", 3), ("kept", "adapted", 0)):
        assert run(arguments(images, tmp_path / name, "--hints", str(table), "--keep", keep)) == 0
        told = Hints.read(tmp_path / name / "hints.json")
        assert (told.hinted, told.held_back) == (9, expected)


def test_a_resumed_run_ends_with_the_same_weights_and_refuses_other_hints(hinted, tmp_path, capsys):
    folder, table = hinted
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    (cut / "checkpoints" / "step-000000004.pt").unlink()
    shutil.rmtree(cut / "model")
    before = table.read_text()
    table.write_text(before.replace("0.png,dark", "0.png,light"))
    assert run(["train", "--resume", str(cut)]) == 2
    assert f"what --hints {table} holds has changed" in capsys.readouterr().err
    table.write_text(before)
    assert run(["train", "--resume", str(cut)]) == 0
    ours, theirs = (
        load_file(next(each.glob("**/adapted/model/model.safetensors"), each / "model" / "model.safetensors"))
        for each in (cut, folder)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "mcc"], "mcc has no teacher that hints could refine"),
        (["--classes", "other"], "hints name the source's classes alone"),
    ],
)
def test_settings_that_have_no_use_for_hints_are_refused(images, hinted, tmp_path, capsys, more, said):
    assert run(arguments(images, tmp_path / "run", "--hints", str(hinted[1]), *more)) == 2
    assert said in capsys.readouterr().err
    assert run(arguments(images, tmp_path / "run", "--hints", str(tmp_path / "gone.csv"))) == 2
    assert "no such file" in capsys.readouterr().err
