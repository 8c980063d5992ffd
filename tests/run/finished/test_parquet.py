"""A Parquet file of predictions holds what the CSV file holds, and says its columns; pyarrow may be missing."""

import csv
import sys

import pytest

from dalib.core.errors import UserError
from dalib.core.files import csv_text
from dalib.run.finished import parquet as writing
from dalib.run.finished.load import COLUMNS
from dalib.run.finished.parquet import as_parquet, columns_of_parquet, require_pyarrow, write_parquet

ROWS = [[f'{number}, "x"\n.png', "a", f"0.{number:04d}", "b", "0.2500"] for number in range(20)]


def written(folder, columns=COLUMNS, rows=ROWS):
    lines, out = folder / "p.csv", folder / "p.parquet"
    lines.write_text(csv_text([list(columns), *rows]), encoding="utf-8", newline="")
    write_parquet(lines, out, columns)
    return lines, out


def test_a_csv_file_is_written_some_rows_at_a_time_with_numbers_as_numbers(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writing, "_ROW_GROUP", 7)
    lines, out = written(tmp_path)
    table = parquet.read_table(out)
    assert parquet.ParquetFile(out).num_row_groups == 3
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "float", "string", "float"]
    with lines.open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert [row["path"] for row in expected] == [row[0] for row in ROWS]
    for row, other in zip(table.to_pylist(), expected, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert value == (pytest.approx(float(other[name])) if name.endswith("confidence") else other[name])


@pytest.mark.parametrize("count", [7, 14])
def test_full_groups_of_rows_leave_no_empty_one(count, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writing, "_ROW_GROUP", 7)
    _, out = written(tmp_path, rows=ROWS[:count])
    assert parquet.ParquetFile(out).num_row_groups == count // 7
    assert parquet.read_table(out).num_rows == count


def test_what_the_system_refuses_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    lines, out = tmp_path / "p.parquet.part", tmp_path / "p.parquet"
    lines.write_text(csv_text([list(COLUMNS), *ROWS]), encoding="utf-8", newline="")

    def full(*_):
        raise OSError(28, "Error writing bytes to file")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        as_parquet(lines, out, COLUMNS)
    assert caught.value.filename == str(out)
    assert [each.name for each in tmp_path.iterdir()] == ["p.parquet.part"], "its lines are left for the next try"


def test_the_columns_are_those_that_were_written_and_none_of_another_file(tmp_path):
    pytest.importorskip("pyarrow.parquet")
    _, out = written(tmp_path)
    assert columns_of_parquet(out) == COLUMNS
    out.write_text("path,class,confidence\n")
    assert columns_of_parquet(out) == ()


def test_without_pyarrow_the_error_names_the_file_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"p\.parquet'?: pyarrow is not installed; pip install pyarrow, or give a name"):
        require_pyarrow(tmp_path / "p.parquet")
