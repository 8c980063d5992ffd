"""In a notebook progress is a bar of HTML; what else runs in it is not touched."""

import io
import sys
import types

import pytest

from dalib.core.console import CountedProgress, TrainingProgress
from dalib.core.notebook import NotebookBar, is_notebook


class OutStream(io.StringIO):
    """Stands for standard output below a cell."""


OutStream.__module__ = "ipykernel.iostream"


@pytest.fixture
def shown(monkeypatch):
    """What the notebook was told to show, in order."""
    drawn = []
    module = types.ModuleType("IPython.display")
    module.HTML = str
    module.display = lambda content, display_id: drawn.append(content) or types.SimpleNamespace(update=drawn.append)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return drawn


def test_counts_are_a_bar_that_stays_at_its_end(shown):
    stream = OutStream()
    with CountedProgress("images of <b>", stream) as progress:
        progress(1, 3)
        progress(3, 3)
    assert stream.getvalue() == ""
    assert "images of &lt;b&gt;" in shown[-1]
    assert "<progress value='3' max='3'></progress> 3/3" in shown[-1]


def test_a_training_shows_its_metrics_beside_its_bar(shown):
    with TrainingProgress("adapted", 4, OutStream()) as training:
        training.line({"step": 2, "loss": 0.7})
        training.line({"step": 4, "loss": 0.5})
    assert "<progress value='4' max='4'></progress> 4/4" in shown[-1]
    assert "done" in shown[-1]
    assert "loss 0.500" in shown[-1]
    assert "0/4" in shown[0]


def test_a_bar_is_not_drawn_for_each_of_many_calls(shown):
    with CountedProgress("images", OutStream()) as progress:
        for done in range(1, 1001):
            progress(done, 1000)
    assert len(shown) < 20
    assert "1000/1000" in shown[-1]


def test_other_streams_are_no_notebooks():
    assert is_notebook(OutStream())
    assert not is_notebook(io.StringIO())
    assert not is_notebook(sys.stdout)


def test_a_bar_of_nothing_has_no_end_of_0():
    assert "max='1'" in NotebookBar().html()


@pytest.mark.slow
def test_a_notebook_shows_the_bars_of_a_run_and_the_run(images, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    settings = "data={'size': 16}, steps=4, batch=4"
    source, target = str(images / "source"), str(images / "target")
    cells = [
        f"import dalib\nrun = dalib.adapt({source!r}, {target!r}, out={str(tmp_path / 'run')!r}, {settings})",
        "run",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=200).execute()
    pages = [each["data"]["text/html"] for each in book.cells[0].outputs if "text/html" in each.get("data", {})]
    for name in ("source-only", "adapted"):
        assert any(f"<b>{name}</b> <progress value='4' max='4'>" in page for page in pages)
    (shown,) = book.cells[1].outputs
    assert "data:image/png;base64" in shown["data"]["text/html"]
    assert shown["data"]["text/plain"].startswith("Run ")
