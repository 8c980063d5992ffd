"""dalib.adapt trains as the command line does, and a Run does with the folder what the commands do."""

import html
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import dalib
from dalib.commands.main import run as command
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.run.adapt import Run

QUICK = {
    "data": {"size": 16},
    "steps": 4,
    "batch": 4,
    "every": {"log": 2, "evaluate": 2, "checkpoint": 2},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """studio/{cup,pen}, 12 images each, street, 10 images, and labelled/{cup,pen}, 4 images each."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for folder, count in (
        ("studio/cup", 12),
        ("studio/pen", 12),
        ("street", 10),
        ("labelled/cup", 4),
        ("labelled/pen", 4),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            shade = 60 if folder.endswith("cup") else 200
            pixels = np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    return dalib.adapt(images / "studio", images / "street", out=out, **QUICK)


def test_a_run_is_what_the_command_line_trains(trained, images, tmp_path):
    out = tmp_path / "command"
    arguments = ["--data.size", "16", "--steps", "4", "--batch", "4"]
    arguments += ["--every.log", "2", "--every.evaluate", "2", "--every.checkpoint", "2"]
    where = ["--source", str(images / "studio"), "--target", str(images / "street"), "--out", str(out)]
    assert command(["train", *where, *arguments]) == 0
    one, other = ((each / "model" / "model.safetensors").read_bytes() for each in (trained.path, out))
    assert one == other


def test_a_run_prints_what_came_of_it_in_six_lines(trained):
    lines = repr(trained).splitlines()
    assert len(lines) <= 6
    assert str(trained.path) in lines[0]
    assert "10 target images, 2 classes" in lines[0]
    assert trained.judgement.headline in lines[1]
    (selected,) = (line for line in lines if line.startswith(">"))
    assert selected.split()[1] == trained.selected
    assert selected.endswith(", selected")
    assert lines[-1] == f"report: {trained.folder.report}"


def test_in_a_notebook_it_shows_the_verdict_and_target_images_and_escapes_names(trained):
    page = trained._repr_html_()
    assert html.escape(trained.judgement.headline) in page
    assert page.count("data:image/png;base64,") == len(list(trained.folder.samples.glob("*.png"))[:12])
    assert "<script" not in page


def test_predictions_have_rows_and_list_what_cannot_be_read(trained, images, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").write_bytes((images / "street/00.png").read_bytes())
    (folder / "b.png").write_bytes(b"no image")
    found = trained.predict(folder)
    assert len(found) == 1
    assert found[0].path == str(folder / "a.png")
    assert found[0].label in ("cup", "pen")
    assert found[0].confidence == max(found[0].probabilities.values())
    assert sum(found[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert [each.path for each in found.unreadable] == [str(folder / "b.png")]
    assert "1 images, 1 unreadable" in repr(found)
    assert trained.predict(images / "street/00.png")[0].probabilities == found[0].probabilities


def test_predictions_are_those_of_the_command_and_out_writes_its_table(trained, images, tmp_path):
    out = tmp_path / "street.csv"
    found = trained.predict(images / "street", out=out)
    table = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert len(found) == len(table) == 10
    assert [row.label for row in found] == [row[1] for row in table]
    with pytest.raises(UserError, match=r"out=.*expected one folder"):
        trained.predict([images / "street"], out=out)


def test_predictions_become_a_data_frame_where_pandas_is_installed(trained, images):
    pytest.importorskip("pandas")
    frame = trained.predict(images / "street").to_pandas()
    assert list(frame.columns) == ["path", "label", "confidence", "cup", "pen"]
    assert len(frame) == 10


def test_a_run_that_is_opened_again_measures_asks_compares_keeps_and_exports(trained, images, tmp_path):
    again = dalib.open_run(trained.path)
    assert isinstance(again, Run)
    assert again.evaluate(images / "labelled").count == 8
    assert again.query(3, out=tmp_path / "label.csv") == tmp_path / "label.csv"
    assert (tmp_path / "label.csv").is_file()
    other = dalib.adapt(images / "studio", images / "street", out=tmp_path / "other", seed=1, **QUICK)
    assert set(again.compare(other)) == {str(trained.path), str(other.path)}
    assert other.keep("source-only").model == other.selected == "source-only"
    assert other.export(tmp_path / "model") == tmp_path / "model"
    assert dalib.load(tmp_path / "model").classes == ("cup", "pen")
    assert again.report.is_file()


def test_a_run_that_was_stopped_is_resumed_as_it_was_configured(trained, tmp_path):
    stopped = tmp_path / "stopped"
    shutil.copytree(trained.path, stopped)
    for folder in (stopped, stopped / "source-only"):
        shutil.rmtree(folder / "model")
    resumed = dalib.adapt(resume=stopped)
    assert resumed.path == stopped
    one, other = ((each / "model" / "model.safetensors").read_bytes() for each in (trained.path, stopped))
    assert one == other


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "source: expected a folder, a list file or the name of a data set, got nothing"),
        ({"source": "a", "target": np.zeros(3)}, "target: expected a folder.*got ndarray"),
        ({"source": "a", "target": "b", "no_such": 1}, "no_such: no such setting"),
        ({"source": "a", "target": "b", "data": {"sise": 3}}, r"data\.sise: no such setting"),
        ({"source": "a", "target": "b", "preset": "photographs"}, "preset: expected one of"),
        ({"source": "a", "target": "b", "config": dalib.TrainConfig()}, "config: expected alone, got source, target"),
        ({"resume": "nowhere"}, "no such folder"),
        ({"source": "nowhere", "target": "b"}, "source='nowhere'"),
    ],
)
def test_a_mistake_is_named_as_the_argument(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        dalib.adapt(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_not_finished_says_so(trained, tmp_path):
    root = tmp_path / "begun"
    root.mkdir()
    for name in ("config.yaml", "summary.json"):
        (root / name).write_bytes((trained.path / name).read_bytes())
    assert "no judgement yet" in repr(dalib.open_run(root))
    assert RunFolder.existing(root).root == root


def test_importing_dalib_is_quick_and_shows_what_there_is():
    program = (
        "import sys, time; since = time.perf_counter(); import dalib; seconds = time.perf_counter() - since\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert dir(dalib) == ['Run', 'TrainConfig', '__version__', 'adapt', 'load', 'open_run'], dir(dalib)\n"
        "print(seconds)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.1
