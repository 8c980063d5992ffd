"""Files of features hold names and vectors to the bit, are equal for equal rows, and replace nothing else."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dalib.core.errors import UserError
from dalib.run.finished import feature_table
from dalib.run.finished.feature_table import FILES, FeatureFormat, check_features, write_features

COUNT, WIDTH = 11, 5
NAMES = [f'images/{number:02d}, "x"\n.png' for number in range(COUNT - 2)] + ["é日.png", "x"]
VALUES = torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))
ENDINGS = [".npz", ".parquet", ""]


@pytest.fixture(params=ENDINGS)
def ending(request):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return request.param


def read(place):
    """Names and features, by what anybody would read them with."""
    if place.suffix == ".npz":
        with np.load(place, allow_pickle=False) as arrays:
            return arrays["names"].tolist(), arrays["features"]
    if place.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(place)
        assert table.column_names == ["path", "features"]
        return table.column("path").to_pylist(), np.array(table.column("features").to_pylist(), np.float32)
    return np.load(place / "names.npy").tolist(), np.load(place / "features.npy", mmap_mode="r")


def content(place):
    return [each.read_bytes() for each in ([place / file for file in FILES] if place.is_dir() else [place])]


def put(form, folder, batches, ending, name="out"):
    rows, out = folder / "rows", folder / f"{name}{ending}"
    rows.write_bytes(b"".join(form.rows(NAMES[batch], VALUES[batch]) for batch in batches))
    form.put(rows, out)
    assert not rows.exists()
    return out


def test_names_and_features_come_back_to_the_bit_in_order(ending, tmp_path):
    out = put(FeatureFormat(WIDTH), tmp_path, [slice(0, COUNT)], ending)
    names, features = read(out)
    assert names == NAMES
    assert features.dtype == np.float32
    assert np.array_equal(features, VALUES.numpy())
    assert [each.name for each in tmp_path.iterdir()] == [f"out{ending}"]


def test_equal_rows_give_equal_files_however_they_were_written(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_table, "_ROW_GROUP", 4)
    one = put(FeatureFormat(WIDTH), tmp_path, [slice(0, COUNT)], ending)
    other = put(FeatureFormat(WIDTH), tmp_path, [slice(0, 3), slice(3, 8), slice(8, COUNT)], ending, "other")
    assert content(one) == content(other)
    assert read(one)[0] == NAMES


def test_full_groups_of_rows_leave_no_empty_one(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(feature_table, "_ROW_GROUP", 4)
    out = put(FeatureFormat(WIDTH), tmp_path, [slice(0, 8)], ".parquet")
    assert parquet.ParquetFile(out).num_row_groups == 2


def test_a_name_of_bytes_is_written_as_the_tables_of_predictions_write_it(ending, tmp_path):
    write_features(tmp_path / f"out{ending}", [os.fsdecode(b"\xff.png")], VALUES[:1])
    assert read(tmp_path / f"out{ending}")[0] == ["\\udcff.png"]


def test_what_fails_in_writing_leaves_what_was_there(ending, tmp_path, monkeypatch):
    out = tmp_path / f"out{ending}"
    write_features(out, NAMES, VALUES)
    before = content(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_table, "put_in_place", full)
    if out.is_dir():
        monkeypatch.setattr(FeatureFormat, "_write_arrays", full)
    with pytest.raises(OSError, match="No space"):
        write_features(out, NAMES[:2], VALUES[:2])
    assert content(out) == before
    assert [each.name for each in tmp_path.iterdir()] == [out.name]


# Where features may be written


def test_earlier_features_may_be_replaced_and_an_empty_place_filled(ending, tmp_path):
    out = tmp_path / f"out{ending}"
    if ending:
        out.touch()  # as mktemp makes it
    else:
        out.mkdir()
    for count in (3, 5):
        assert check_features(str(out)) == out
        write_features(out, NAMES[:count], VALUES[:count])
        assert read(out)[0] == NAMES[:count]


def test_anything_else_is_refused_and_kept(ending, tmp_path):
    out = tmp_path / f"out{ending}"
    if ending:
        out.write_bytes(b"of yesterday")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("of yesterday")
    before = [path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    with pytest.raises(UserError, match=r"out=.*: there is a (file|folder) already that does not hold features alone"):
        check_features(str(out))
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == before


def test_what_is_named_like_a_temporary_file_is_kept(ending, tmp_path):
    mine = tmp_path / f"out{ending}.tmp"
    mine.mkdir()
    (mine / "thesis.txt").write_text("of yesterday")
    write_features(tmp_path / f"out{ending}", NAMES, VALUES)
    assert (mine / "thesis.txt").read_text() == "of yesterday"


def test_what_was_put_into_the_folder_meanwhile_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    check_features(str(out))
    (out / "thesis.txt").write_text("of yesterday")
    with pytest.raises(UserError, match=r"out=.*: there is a folder already that does not hold features alone"):
        write_features(out, NAMES, VALUES)
    assert [each.name for each in tmp_path.rglob("*")] == ["out", "thesis.txt"]


def test_the_folder_that_one_is_in_is_no_place_for_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", str(tmp_path)):
        with pytest.raises(UserError, match=r"out=.*: this is the folder in which this process works"):
            check_features(place)


def test_another_npz_file_and_a_file_without_an_ending_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", probabilities=np.ones((2, 2)))
    (tmp_path / "notes").write_text("of yesterday")
    for name in ("p.npz", "notes"):
        with pytest.raises(UserError, match="there is a file already that does not hold features alone"):
            check_features(str(tmp_path / name))


def test_a_folder_that_also_holds_something_else_is_refused(tmp_path):
    write_features(tmp_path / "out", NAMES, VALUES)
    (tmp_path / "out" / "labels.npy").touch()
    with pytest.raises(UserError, match="there is a folder already"):
        check_features(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f.csv", r"f\.csv': expected a name that ends in \.npz, in \.parquet, or in nothing, for a folder"),
        ("file/f.npz", "its folder cannot be made"),
        ("folder.npz", r"expected a file, this is a folder; name a file in it, such as .*folder\.npz/street\.npz"),
    ],
)
def test_a_wrong_place_is_refused_with_the_remedy(name, expected, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=expected):
        check_features(str(tmp_path / name))


def test_a_device_is_refused(tmp_path):
    for out in (os.devnull, *(["/dev/stdout"] if Path("/dev/stdout").exists() else [])):
        if Path(out).is_file():  # standard output that the tests keep in a file
            continue
        with pytest.raises(UserError, match="a table goes to no pipe and no device"):
            check_features(out)


def test_without_pyarrow_parquet_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install pyarrow, or give a name that ends in \.npz"):
        check_features(str(tmp_path / "f.parquet"))


def test_a_link_leads_to_the_features(tmp_path):
    (tmp_path / "kept").mkdir()
    write_features(tmp_path / "kept" / "f.npz", NAMES, VALUES)
    (tmp_path / "latest.npz").symlink_to(tmp_path / "kept" / "f.npz")
    assert check_features(str(tmp_path / "latest.npz")) == (tmp_path / "kept" / "f.npz").resolve()
