"""Every script of benchmarks can be imported, and explains itself. What they measure is in benchmarks/RESULTS.md."""

import importlib
import runpy
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = sorted(BENCHMARKS.rglob("*.py"))
SCRIPTS = [path for path in MODULES if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
NOT_EVERYWHERE = ("matplotlib", "resource")
"""What a script may import that an environment for development may lack, or Windows."""
STOOD_IN_FOR = ("vtk", "vtk.util", "vtk.util.numpy_support")
"""What some modules refuse to be imported without, and an environment for development lacks."""


def named(path: Path) -> str:
    return path.relative_to(BENCHMARKS).as_posix()


@contextmanager
def started_in(folder: Path):
    """Imports find the modules of a script's folder, as when Python starts the script; afterwards they are forgotten.

    Two folders may have modules of the same name.
    """
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        # one module switches Pillow's guard against bombs off: tests after it would decode damaged images of 20 GB
        patched.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        try:
            yield patched
        except ModuleNotFoundError as error:
            if error.name not in NOT_EVERYWHERE:
                raise
            pytest.skip(str(error))
        finally:
            for name in set(sys.modules) - before:
                if BENCHMARKS in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
                    del sys.modules[name]


def test_scripts_are_told_from_the_modules_that_they_share():
    assert {"judging/__main__.py", "packages/__main__.py", "office31.py"} <= set(map(named, SCRIPTS))
    assert {"arguments.py", "judging/record.py"} <= set(map(named, MODULES)) - set(map(named, SCRIPTS))


def test_a_named_data_set_is_no_folder_of_its_name(tmp_path):
    for name in ("office31/amazon", "pairs/steel/neu"):
        (tmp_path / name).mkdir(parents=True)
    with started_in(BENCHMARKS):
        place_in = importlib.import_module("arguments").place_in
        assert place_in(tmp_path, "office31/amazon") == "office31/amazon"
        assert place_in(tmp_path, "pairs/steel/neu") == str(tmp_path / "pairs/steel/neu")
        assert place_in(tmp_path, "usps") == "usps"


def test_pillows_guard_against_bombs_stays_on():
    before = Image.MAX_IMAGE_PIXELS
    assert before is not None
    with started_in(BENCHMARKS):
        Image.MAX_IMAGE_PIXELS = None
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_a_script_explains_itself_and_begins_nothing(script, capsys):
    with started_in(script.parent) as patched:
        patched.setattr(sys, "argv", [str(script), "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("module", [path for path in MODULES if path not in SCRIPTS], ids=named)
def test_a_module_that_scripts_share_can_be_imported(module):
    with started_in(module.parent) as patched:
        for name in STOOD_IN_FOR:
            patched.setitem(sys.modules, name, MagicMock())
        importlib.import_module(module.stem)
