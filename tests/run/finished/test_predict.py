"""`dalib predict` writes batch by batch, goes on after a kill as if there had been none, and writes CSV or Parquet."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.core.files import locked, write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.known import KnownRule, certainty
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, load_description, save_model, write_description
from dalib.records.folder import RunFolder
from dalib.run.finished import predict as predicting
from dalib.run.finished import table_of_images
from dalib.run.finished.load import COLUMNS, load, open_model
from dalib.run.finished.predict import check_table, predict

COUNT, BATCH, BROKEN = 23, 4, (5, 6, 17)
FORKED_RANKS = Path(__file__).parents[2] / "forked_ranks.py"


def make_run(folder, seed=0):
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
    torch.manual_seed(seed)
    network = make_classifier(architecture, 3)
    torch.nn.init.normal_(network.head.weight, std=3.0)
    save_model(folder / "model", network, ModelDescription(architecture, ("a", "b", "c"), Preprocessing(8, 3)))
    (folder / "config.yaml").write_text("")
    write_json(folder / "summary.json", {"method": "self-ensemble"})
    return RunFolder.existing(folder)


@pytest.fixture
def found(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture
def images(tmp_path):
    """Some names are awkward, and some files are damaged."""
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        path = folder / f'{number:02d}, "x"\n.png'
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
        if number in BROKEN:
            path.write_bytes(b"not an image")
    return folder


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(predicting, "BATCH", BATCH)


@pytest.fixture
def whole(found, images, tmp_path):
    """What a command that is never stopped writes."""
    predict(found, str(images), str(tmp_path / "whole.csv"))
    return (tmp_path / "whole.csv").read_bytes()


def stop_after(monkeypatch, count, error=KeyboardInterrupt):
    """The next predictions end at the batch after ``count`` of them."""
    lines, calls = predicting._lines, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > count:
            raise error
        return lines(*arguments)

    monkeypatch.setattr(predicting, "_lines", stopping)


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def left(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name))


def test_every_readable_image_has_a_row_in_order(whole, images, tmp_path, capsys):
    rows = list(csv.reader(io.StringIO(whole.decode(), newline="")))
    assert rows[0] == ["path", "class", "confidence", "runner_up", "runner_up_confidence"]
    readable = [path for number, path in enumerate(sorted(images.iterdir())) if number not in BROKEN]
    assert [row[0] for row in rows[1:]] == [str(path) for path in readable]
    assert left(tmp_path / "whole.csv") == ["whole.csv"]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_changes_nothing(cache, found, images, whole, tmp_path):
    assert predict(found, str(images), str(tmp_path / "p.csv"), cache=cache) == COUNT - len(BROKEN)
    for row, other in zip(
        rows_of((tmp_path / "p.csv").read_bytes()), rows_of(whole), strict=True
    ):  # other batches, so that the last digit may differ
        assert (row["path"], row["class"]) == (other["path"], other["class"])
        assert float(row["confidence"]) == pytest.approx(float(other["confidence"]), abs=1.01e-4)


@pytest.mark.parametrize("after", [1, 2, 5])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_command_goes_on_to_the_same_file(error, after, found, images, whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patched:
        stop_after(patched, after, error)
        with pytest.raises(error):
            predict(found, str(images), str(out))
    assert not out.exists()
    assert left(out) == ["p.csv.part", "p.csv.part.json"]
    read = []
    decode = table_of_images.decode
    monkeypatch.setattr(table_of_images, "decode", lambda paths, *rest: (read.extend(paths), decode(paths, *rest))[1])
    capsys.readouterr()
    assert predict(found, str(images), str(out)) == COUNT - len(BROKEN)
    assert out.read_bytes() == whole
    assert left(out) == ["p.csv"]
    assert len(read) == COUNT - after * BATCH, "what was done is not read again"
    told = capsys.readouterr().out
    assert f"going on after {after * BATCH} of {COUNT} images" in told
    assert "skipped 3 images" in told, "those of before the stop are told, too"


def test_a_full_disk_is_told_and_the_command_goes_on_later(found, images, whole, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patched:
        stop_after(patched, 3, OSError(28, "No space left on device"))
        with pytest.raises(UserError, match=r"No space left on device.*same command"):
            predict(found, str(images), str(out))
    predict(found, str(images), str(out))
    assert out.read_bytes() == whole


def test_a_kill_that_nothing_could_catch_costs_what_was_not_kept_yet(found, images, whole, tmp_path):
    out = tmp_path / "p.csv"
    program = (
        "import os, signal, sys\n"
        "from dalib.run.finished import predict as predicting, resumable_table\n"
        f"predicting.BATCH, resumable_table._KEEP_SECONDS, lines, calls = {BATCH}, -1, predicting._lines, []\n"
        "def killed(*arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return lines(*arguments)\n"
        "predicting._lines = killed\n"
        "predicting.predict(*sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(found.root), str(images), str(out)], capture_output=True)
    assert done.returncode == -9, done.stderr
    assert json.loads((tmp_path / "p.csv.part.json").read_text())["done"] == 3 * BATCH
    predict(found, str(images), str(out))
    assert out.read_bytes() == whole
    assert left(out) == ["p.csv"]


@pytest.mark.parametrize("change", ["another image", "an image less", "another model"])
def test_a_part_of_other_images_or_another_model_is_refused_and_kept(change, found, images, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            predict(found, str(images), str(out))
    before = (tmp_path / "p.csv.part").read_bytes()
    if change == "another image":
        (images / "99.png").write_bytes((min(images.iterdir())).read_bytes())
    elif change == "an image less":
        max(images.iterdir()).unlink()
    else:
        make_run(found.root, seed=1)
    with pytest.raises(UserError, match=r"p\.csv\.part holds 10 predictions of other images or of another model"):
        predict(found, str(images), str(out))
    assert (tmp_path / "p.csv.part").read_bytes() == before
    assert not out.exists()


def test_a_table_that_is_there_is_replaced_at_the_end(found, images, whole, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    yesterday = f"{','.join(COLUMNS)}\nof yesterday,a,1.0,b,0.0\n"
    out.write_text(yesterday)
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            predict(found, str(images), str(out))
    assert out.read_text() == yesterday
    predict(found, str(images), str(out))
    assert out.read_bytes() == whole


@pytest.mark.parametrize("content", ["of yesterday", "path,label\na.png,cat\n", "path,class,confidence\n"])
@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_a_file_of_something_else_is_not_replaced(found, images, tmp_path, name, content):
    out = tmp_path / name
    if out.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out.write_text(content)
    with pytest.raises(UserError, match=rf"{name}'?: there is a file already that is not a table of predictions"):
        predict(found, str(images), str(out))
    assert out.read_text() == content
    out.write_text("")  # as mktemp makes it
    predict(found, str(images), str(out))
    predict(found, str(images), str(out))
    assert left(out) == [name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_or_a_device_is_not_replaced_by_a_table(found, images, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a table goes to no pipe and no device"):
        predict(found, str(images), str(tmp_path / "pipe"))
    for out in (os.devnull, "-"):  # asked without writing, which would do harm
        with pytest.raises(UserError, match="a table goes to no pipe and no device"):
            check_table(out)
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_table_stays_a_link(found, images, whole, tmp_path):
    (tmp_path / "kept").mkdir()
    table, link = tmp_path / "kept" / "p.csv", tmp_path / "latest.csv"
    table.write_text("")
    link.symlink_to(table)
    predict(found, str(images), str(link))
    assert link.is_symlink()
    assert table.read_bytes() == whole
    assert left(link) == ["latest.csv"]


def test_two_processes_do_not_write_one_file(found, images, tmp_path):
    with locked(tmp_path / "p.csv.part.lock", wait=False) as lock:
        if lock == "impossible":
            pytest.skip("no locks here")
        with pytest.raises(UserError, match="another process"):
            predict(found, str(images), str(tmp_path / "p.csv"))


def test_strict_refuses_the_first_unreadable_image_and_a_mended_one_goes_on(found, images, whole, tmp_path):
    out = tmp_path / "p.csv"
    with pytest.raises(UserError, match=r"(?s)05.*leave out strict"):
        predict(found, str(images), str(out), strict=True)
    assert left(out) == ["p.csv.part", "p.csv.part.json"]
    rng = np.random.default_rng(1)
    for number, path in enumerate(sorted(images.iterdir())):
        if number in BROKEN:
            Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
    assert predict(found, str(images), str(out), strict=True) == COUNT


def test_a_name_of_another_kind_of_file_is_refused(found, tmp_path, capsys):
    assert run(["predict", str(found.root), "--images", str(tmp_path), "--out", str(tmp_path / "p.xlsx")]) == 2
    assert "p.xlsx: expected a name that ends in .csv, or in .parquet" in capsys.readouterr().err


def test_only_unreadable_images_are_an_error_and_leave_nothing(found, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number in range(6):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"no")
    out = tmp_path / "p.csv"
    assert run(["predict", str(found.root), "--images", str(tmp_path / "images"), "--out", str(out)]) == 2
    assert "none of its 6 images can be read (for instance" in capsys.readouterr().err
    assert left(out) == []


# Parquet


def test_parquet_holds_what_csv_holds(found, images, whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "p.parquet"
    assert predict(found, str(images), str(out)) == COUNT - len(BROKEN)
    assert left(out) == ["p.parquet"]
    table = parquet.read_table(out)
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "float", "string", "float"]
    for row, other in zip(table.to_pylist(), rows_of(whole), strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert value == (pytest.approx(float(other[name])) if name.endswith("confidence") else other[name])


def test_parquet_goes_on_too(found, images, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(found, str(images), str(tmp_path / "whole.parquet"))
    out = tmp_path / "p.parquet"
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            predict(found, str(images), str(out))
    predict(found, str(images), str(out))
    assert parquet.read_table(out).equals(parquet.read_table(tmp_path / "whole.parquet"))


def test_without_pyarrow_parquet_is_refused_before_the_work(found, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="pip install pyarrow"):
        predict(found, str(images), str(tmp_path / "p.parquet"))
    assert left(tmp_path / "p.parquet") == []


def test_batches_do_not_pile_up(found, images, tmp_path, monkeypatch):
    """At most one batch is read ahead of the one in use."""
    decode, read, seen = table_of_images.decode, [], []
    lines = predicting._lines
    monkeypatch.setattr(table_of_images, "decode", lambda paths, *rest: (read.append(1), decode(paths, *rest))[1])
    monkeypatch.setattr(predicting, "_lines", lambda *rest: (seen.append(len(read)), lines(*rest))[1])
    predict(found, str(images), str(tmp_path / "p.csv"))
    assert all(begun <= used + 2 for used, begun in enumerate(seen))


def test_a_folder_as_the_file_to_write_is_refused_before_the_work(found, images, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=r"out=.*there': expected a file, this is a folder"):
        predict(found, str(images), str(tmp_path / "there"))
    assert left(tmp_path / "there") == ["there"]


def test_many_large_images_are_predicted_by_the_fastest_way_with_the_same_probabilities(tmp_path, monkeypatch):
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=96, averaged_views=2)
    torch.manual_seed(0)
    network = make_classifier(architecture, 3)
    torch.nn.init.normal_(network.head.weight, std=3.0)
    made = tmp_path / "model"
    save_model(made, network, ModelDescription(architecture, ("a", "b", "c"), Preprocessing(96, 3)))
    opened = open_model(made, device="cpu")
    rows = torch.randint(0, 256, (11, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    many = opened.for_many()
    assert many is not opened
    torch.testing.assert_close(many.probabilities(rows), opened.probabilities(rows), atol=1e-5, rtol=1e-4)
    assert many.for_many() is many
    (tmp_path / "images").mkdir()
    for number, row in enumerate(rows[:3]):
        Image.fromarray(row.permute(1, 2, 0).numpy()).save(tmp_path / "images" / f"{number}.png")
    prepared = []
    monkeypatch.setattr("dalib.models.exported.OpenedModel.for_many", lambda model: prepared.append(1) or model)
    for least, times in ((4, 0), (3, 1)):
        monkeypatch.setattr(predicting, "MANY", least)
        assert predict(made, str(tmp_path / "images"), str(tmp_path / "out.csv"), device="cpu") == 3
        assert len(prepared) == times


def test_small_images_have_one_way(found):
    opened = open_model(found.root, device="cpu")
    assert opened.for_many() is opened


def test_prediction_imports_neither_scikit_learn_nor_the_compiler():
    code = (
        "import sys, dalib.run.finished.predict\n"
        "print([name for name in ('sklearn', 'scipy.stats', 'pandas', 'timm', 'torchvision', 'torch._dynamo') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def with_rule(found, threshold):
    description = replace(load_description(found.model), known=KnownRule(threshold, 1e-4))
    write_description(found.model, description)
    return found


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_model_that_expects_other_images_says_whether_one_is_known(found, images, tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    plain, out = tmp_path / "plain.csv", tmp_path / f"out.{ending}"
    predict(found, str(images), str(plain))
    loaded = load(found.root)
    sure = sorted(certainty(torch.tensor([[*each.probabilities.values()]])).item() for each in loaded(readable(images)))
    middle = len(sure) // 2
    predict(with_rule(found, sum(sure[middle - 1 : middle + 1]) / 2), str(images), str(out))
    rows = table_of(out)
    before = table_of(plain)
    assert [*rows[0]] == [*COLUMNS, "known", "known_class"]
    unknown = [row for row in rows if row["class"] == "unknown"]
    assert len(unknown) == middle
    for row, old in zip(rows, before, strict=True):
        assert (float(row["known"]) < 0.5) == (row["class"] == "unknown")
        assert row["known_class"] != "unknown"
        assert row["class"] in (row["known_class"], "unknown")
        assert row["class"] in ("unknown", old["class"])
        assert row["runner_up"] == old["runner_up"]
    for each, row in zip(load(found.root)(readable(images)), rows, strict=True):
        assert each.label == row["class"]
        assert each.known == pytest.approx(float(row["known"]), abs=1e-2)


def readable(images):
    return [path for number, path in enumerate(sorted(images.iterdir())) if number not in BROKEN]


def table_of(file):
    if file.suffix == ".csv":
        with file.open(newline="") as opened:
            return list(csv.DictReader(opened))
    import pyarrow.parquet

    return pyarrow.parquet.read_table(file).to_pylist()


def test_a_model_that_expects_no_other_images_says_nothing_of_them(found, images):
    assert load(found.root)(readable(images)[0]).known is None


def test_a_batch_function_gives_the_rows_of_the_table(found, images, whole):
    """Of paths and of bytes, as object stores give them; what cannot be read has no row, and is named."""
    expected = list(csv.DictReader(io.StringIO(whole.decode("utf-8"), newline="")))
    paths, predictor = sorted(images.iterdir()), load(found.root)
    for given in (paths, [path.read_bytes() for path in paths]):
        with pytest.warns(UserWarning, match="not an image") as warned:
            table = predictor.table(given, list(map(str, paths)))
        assert ["05" in str(warned[0].message), len(warned)] == [True, len(BROKEN)]
        assert tuple(table) == COLUMNS
        assert [table[name].tolist() for name in ("path", "class", "runner_up")] == [
            [row[name] for row in expected] for name in ("path", "class", "runner_up")
        ]
        assert [f"{each:.4f}" for each in table["confidence"]] == [row["confidence"] for row in expected]
    with pytest.raises(UserError, match="not an image"):
        predictor.table(paths, strict=True)
    with pytest.raises(ValueError, match="names: expected one for each of the 2 images, got 1"):
        predictor.table(paths[:2], ["a"])
    with pytest.warns(UserWarning, match="not an image"):
        assert {len(column) for column in predictor.table([b"no image"], ["a"]).values()} == {0}


STOPPED = """
import os, signal, sys
from dalib.commands.main import run
from dalib.run.finished import predict as predicting
from dalib.run.finished import resumable_table

predicting.BATCH, resumable_table._KEEP_SECONDS = 4, 0.0
lines, calls = predicting._lines, []

def counted(*arguments):
    calls.append(1)
    if os.environ["RANK"] == sys.argv[1] and len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return lines(*arguments)

predicting._lines = counted
sys.exit(run(sys.argv[2:]))
"""


def by_two(program, killed, *arguments):
    """Two processes run a program under torchrun's agent; one of them is killed after two batches."""
    launch = [sys.executable, FORKED_RANKS, program, killed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=200, env=environment)


def test_two_processes_write_what_one_writes_also_after_one_was_killed(found, images, whole, tmp_path):
    program, out = tmp_path / "stopped.py", tmp_path / "out.csv"
    program.write_text(STOPPED)
    command = ("predict", str(found.root), "--images", str(images), "--out", str(out), "--device", "cpu")
    assert by_two(program, "1", *command).returncode != 0
    assert not out.exists()
    second = json.loads((tmp_path / "out.csv.part-2-of-2.json").read_text())
    assert second["done"] == 2 * BATCH
    with pytest.raises(UserError, match=r"part-1-of-2.json is what 2 of torchrun's processes left"):
        predict(found, str(images), str(out))
    resumed = by_two(program, "none", *command)
    assert resumed.returncode == 0, resumed.stderr
    assert out.read_bytes() == whole
    assert resumed.stdout.count("20 predictions in") == 1
    assert not [each.name for each in tmp_path.iterdir() if ".part" in each.name]


@pytest.mark.slow
def test_an_error_of_any_process_is_told_and_ends_all(found, images, tmp_path):
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED)
    where = ("--images", str(images), "--out", str(tmp_path / "out.parquet"), "--device", "cpu")
    strict = by_two(program, "none", "predict", str(found.root), *where, "--strict")
    assert strict.returncode == 1  # torchrun's
    assert "not an image of a format that is read" in strict.stderr
    missing = by_two(program, "none", "predict", str(found.root), "--images", "nowhere", *where[2:])
    assert missing.returncode == 1
    assert missing.stderr.count("no such folder") == 1
