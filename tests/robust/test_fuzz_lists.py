"""Damaged lists of images, labels and priors are read or refused with a UserError, and with nothing else."""

from __future__ import annotations

import json
from functools import partial

import pytest
from mutations import bounded, bounded_memory, misshapen, mutated, tried

from dalib.core.errors import UserError
from dalib.data.labels import read_target_labels
from dalib.data.listing import list_images, list_labelled

LONG = pytest.mark.slow
NAMES = [f"photos/{number}, ü.png" for number in range(5)]
CSV = "\ufeffpath,label,note\r\n" + "".join(
    f'"{name}",class {number % 2},"a ""b""\nc"\r\n' for number, name in enumerate(NAMES)
)
JSON_LINES = "".join(json.dumps({"path": name, "label": f"class {len(name) % 2}", "n": [1]}) + "\n" for name in NAMES)
LABELS = "path;label;stratum;population;weight\n" + "".join(
    f'"{name}";cat;{number % 2};3;1.5\n' for number, name in enumerate(NAMES)
)
TABLE = LABELS.replace(", ü", "").replace(";", ",")


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=LONG)])
@pytest.mark.parametrize(("file", "valid"), [("list.csv", CSV), ("list.jsonl", JSON_LINES)])
def test_a_damaged_list_is_read_or_refused(tmp_path, file, valid, count):
    path = tmp_path / file
    path.write_text(valid, encoding="utf-8")
    assert len(list_labelled(path, argument="--source").paths) == len(NAMES)
    refused = 0
    with bounded_memory():
        for number, content in enumerate(mutated(valid.encode(), file, count)):
            path.write_bytes(content)
            for read in (list_labelled, list_images):
                with bounded(number):
                    listing, refusal = tried(partial(read, path, argument="--source"))
                if listing is None:
                    assert str(path) in refusal
                    refused += 1
                else:
                    assert all(each.resolve().is_relative_to(tmp_path.resolve()) for each in listing.paths)
    assert 0 < refused < 2 * count


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=LONG)])
def test_json_lines_of_other_values_are_read_or_refused(tmp_path, count):
    path = tmp_path / "list.jsonl"
    for row in misshapen({"path": "a.png", "label": "x", "more": {"a": [1]}}, "rows", count):
        path.write_text(json.dumps(row) + "\n")
        for read in (list_labelled, list_images):
            try:
                listing = read(path, argument="--source")
            except UserError:
                continue
            assert len(listing.paths) == 1


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=LONG)])
@pytest.mark.parametrize("valid", [LABELS, TABLE], ids=["semicolons", "commas"])
def test_a_damaged_list_of_labels_is_read_or_refused(tmp_path, valid, count):
    path = tmp_path / "labels.csv"
    names = NAMES if valid is LABELS else [name.replace(", ü", "") for name in NAMES]
    path.write_text(valid, encoding="utf-8")
    assert read_target_labels(path, names, ("cat", "dog"), "photos", argument="--labels").listed == len(names)
    refused = 0
    with bounded_memory():
        for number, content in enumerate(mutated(valid.encode(), "labels", count)):
            path.write_bytes(content)
            with bounded(number):
                given, refusal = tried(
                    lambda: read_target_labels(path, names, ("cat", "dog"), "photos", argument="--labels")
                )
            if given is None:
                assert str(path) in refusal
                refused += 1
            else:
                assert len(given.rows) == len(given.labels) > 0
    assert 0 < refused < count


@pytest.mark.parametrize("number", ["9" * 5000, "1e3", "-1", "nan", ""])
@pytest.mark.parametrize("column", ["stratum", "population"])
def test_numbers_of_a_design_that_cannot_be_are_refused(tmp_path, column, number):
    fields = {"stratum": "0", "population": "2"} | {column: number}
    path = tmp_path / "labels.csv"
    path.write_text(f"path,label,stratum,population\na.png,cat,{fields['stratum']},{fields['population']}\n")
    with pytest.raises(UserError, match=f"line 2: {column}: expected"):
        read_target_labels(path, ["a.png", "b.png"], ("cat",), "photos", argument="--labels")


@pytest.mark.parametrize("number", [2, 10**12, 10**30])
def test_a_stratum_beyond_the_number_of_images_is_refused(tmp_path, number):
    """Strata are counted in an array, which would be of that length."""
    path = tmp_path / "labels.csv"
    path.write_text(f"path,label,stratum,population\na.png,cat,{number},2\n")
    with pytest.raises(UserError, match=r"line 2: stratum: expected a number below 2"):
        read_target_labels(path, ["a.png", "b.png"], ("cat",), "photos", argument="--labels")
