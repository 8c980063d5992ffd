"""A table whose writing was stopped comes out as if it had not been, by one process or by several."""

import json
import os

import pytest

from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.data.depth import WholeNumbers
from dalib.run.finished import resumable_table
from dalib.run.finished.load import COLUMNS
from dalib.run.finished.resumable_table import (
    MOST_EXAMPLES,
    PartProgress,
    PredictionFormat,
    TablePart,
    digest_of,
    total_of,
)

BATCHES = [[f"{batch}-{number}.png" for number in range(4)] for batch in range(5)]
BROKEN = Unreadable("broken.png", "not an image")
CLIPPED = WholeNumbers("deep.png", 0, 65535, 0, 60000)


def lines_of(names):
    return "".join(f"{name},a,0.5000,b,0.2500\n" for name in names)


def add_to(part, batches, error=None):
    """Adds what is left of the batches, and may end with an error, as predicting does."""
    done = part.begin("images/", 25).done
    try:
        for names in batches[done // 5 :]:  # one more image of each batch cannot be read
            part.add(lines_of(names).encode(), names, [BROKEN], [CLIPPED])
        if error is not None:
            raise error
    finally:
        part.end()


def stopped(out, batches=3, of="these images"):
    with pytest.raises(KeyboardInterrupt):
        add_to(TablePart(out, of, PredictionFormat()), BATCHES[:batches], KeyboardInterrupt())


def finish(out, of="these images"):
    part = TablePart(out, of, PredictionFormat())
    add_to(part, BATCHES)
    part.publish([part.progress.bytes])
    return part


@pytest.fixture
def whole(tmp_path):
    """What a command that is never stopped writes."""
    finish(tmp_path / "whole.csv")
    content = (tmp_path / "whole.csv").read_bytes()
    assert content.decode() == ",".join(COLUMNS) + "\n" + "".join(map(lines_of, BATCHES))
    return content


def left(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name))


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stopped_table_is_resumed_after_its_last_batch(after, whole, tmp_path, capsys):
    out = tmp_path / "p.csv"
    stopped(out, after)
    assert left(out) == ["p.csv.part", "p.csv.part.json"]
    capsys.readouterr()
    part = finish(out)
    assert out.read_bytes() == whole
    assert left(out) == ["p.csv"]
    assert f"going on after {5 * after} of 25 images" in capsys.readouterr().out
    progress = part.progress
    assert [progress.done, progress.bytes, progress.rows] == [25, len(whole), 20]
    assert [progress.unreadable, progress.beyond] == [5, 5]
    assert [Unreadable(*each) for each in progress.examples] == [BROKEN] * MOST_EXAMPLES
    assert [WholeNumbers(*each) for each in progress.examples_beyond] == [CLIPPED]


class Interrupted(list):
    """Names of a batch, in the middle of whose counting somebody presses Ctrl-C."""

    def __len__(self):
        raise KeyboardInterrupt


def test_a_batch_that_is_interrupted_while_it_is_counted_is_written_once(whole, tmp_path):
    out = tmp_path / "p.csv"
    part = TablePart(out, "these images", PredictionFormat())
    part.begin("images/", 25)
    part.add(lines_of(BATCHES[0]).encode(), BATCHES[0], [BROKEN], [CLIPPED])
    with pytest.raises(KeyboardInterrupt):
        part.add(lines_of(BATCHES[1]).encode(), Interrupted(BATCHES[1]), [BROKEN], [CLIPPED])
    part.end()
    finish(out)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("torn", [b'"half a li', b"\xff\x00", b"x,a,0.5,b,0.2\n" * 3])
def test_what_a_kill_left_behind_the_last_kept_batch_is_dropped(torn, whole, tmp_path):
    out = tmp_path / "p.csv"
    stopped(out)
    with (tmp_path / "p.csv.part").open("ab") as file:
        file.write(torn)
    finish(out)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("name", ["p.csv.part", "p.csv.part.json"])
@pytest.mark.parametrize("damage", ["shortened", "emptied", "removed"])
def test_a_part_that_cannot_be_gone_on_from_is_begun_anew(damage, name, whole, tmp_path):
    out, path = tmp_path / "p.csv", tmp_path / name
    stopped(out)
    if damage == "removed":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2 if damage == "shortened" else 0)
    finish(out)
    assert out.read_bytes() == whole


def test_what_a_kill_left_of_a_state_that_was_being_written_goes_with_the_part(whole, tmp_path):
    out = tmp_path / "p[1].csv"  # the name is no pattern
    stopped(out)
    for name in ("p[1].csv.part.json.7.tmp", "p1.csv.part.json.7.tmp"):
        (tmp_path / name).write_text('{"of": ')
    finish(out)
    assert out.read_bytes() == whole
    assert left(out) == ["p[1].csv"]
    assert (tmp_path / "p1.csv.part.json.7.tmp").exists()


def test_a_part_of_something_else_is_refused_and_kept(tmp_path):
    out = tmp_path / "p.csv"
    stopped(out)
    before = (tmp_path / "p.csv.part").read_bytes()
    with pytest.raises(UserError, match=r"p\.csv\.part holds 12 predictions of other images or of another model"):
        TablePart(out, "other images", PredictionFormat()).begin("images/", 25)
    assert (tmp_path / "p.csv.part").read_bytes() == before
    assert not out.exists()


def test_a_table_without_a_batch_leaves_nothing(tmp_path):
    out = tmp_path / "p.csv"
    stopped(out, batches=0)
    assert left(out) == []


@pytest.mark.parametrize(("seconds", "done"), [(-1.0, 5), (1000.0, 0)])
def test_batches_are_on_the_disk_after_some_seconds(seconds, done, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable_table, "_KEEP_SECONDS", seconds)
    part = TablePart(tmp_path / "p.csv", "these images", PredictionFormat())
    part.begin("images/", 25)
    part.add(lines_of(BATCHES[0]).encode(), BATCHES[0], [BROKEN], [])
    assert json.loads((tmp_path / "p.csv.part.json").read_text())["done"] == done
    part.end()
    assert json.loads((tmp_path / "p.csv.part.json").read_text())["done"] == 5


# Several processes


def of_two(out, rank):
    return TablePart(out, "these images", PredictionFormat(), rank=rank, size=2)


def by_two(out):
    parts = [of_two(out, rank) for rank in range(2)]
    for part, batches in zip(parts, (BATCHES[:3], BATCHES[3:]), strict=True):
        add_to(part, batches)
    return parts


def test_the_parts_of_several_processes_are_what_one_writes(whole, tmp_path):
    out = tmp_path / "p.csv"
    parts = by_two(out)
    assert left(out) == [f"p.csv.part-{rank}-of-2{ending}" for rank in (1, 2) for ending in ("", ".json")]
    parts[0].publish([part.progress.bytes for part in parts])
    assert out.read_bytes() == whole
    assert left(out) == ["p.csv"]


def test_a_process_without_a_batch_leaves_no_part(tmp_path):
    out = tmp_path / "p.csv"
    parts = [of_two(out, rank) for rank in range(2)]
    add_to(parts[0], BATCHES)
    add_to(parts[1], [])
    parts[0].publish([part.progress.bytes for part in parts])
    assert out.read_text() == ",".join(COLUMNS) + "\n" + "".join(map(lines_of, BATCHES))


def test_a_part_that_is_not_in_this_folder_is_refused(tmp_path):
    out = tmp_path / "p.csv"
    parts = by_two(out)
    (tmp_path / "p.csv.part-2-of-2").unlink()
    with pytest.raises(UserError, match=r"the part p\.csv\.part-2-of-2 is not here as rank 1 wrote it"):
        parts[0].publish([part.progress.bytes for part in parts])
    assert not out.exists()


def test_parts_of_another_number_of_processes_are_refused(tmp_path):
    out = tmp_path / "p.csv"
    by_two(out)
    of_two(out, 0).refuse_other_divisions()
    with pytest.raises(UserError, match=r"part-1-of-2\.json is what 2 of torchrun's processes left of it"):
        TablePart(out, "these images", PredictionFormat()).refuse_other_divisions()


def test_the_progress_of_several_parts_is_their_sum():
    first = PartProgress("x", 5, 100, 4, 1, [("a.png", "r")] * 3, 2, [CLIPPED])
    second = PartProgress("x", 7, 50, 3, 4, [("b.png", "r")] * 4, 1, [CLIPPED._replace(path="other.png")])
    assert total_of([first, second]) == PartProgress(
        "x", 12, 150, 7, 5, [("a.png", "r")] * 3 + [("b.png", "r")] * 2, 3, [CLIPPED]
    )


def test_a_digest_tells_names_models_and_their_borders_apart():
    of = digest_of(["model"], ["a", "b"])
    assert of == digest_of(["model"], ["a", "b"])
    others = [digest_of(*other) for other in ((["mode"], ["a", "b"]), (["model"], ["ab"]), (["model", "a"], ["b"]))]
    assert of not in others
    assert digest_of([], ["\udcff"]) != digest_of([], ["\udcfe"]), "names need not be text"
