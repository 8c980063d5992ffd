"""What is built: the wheel has the library and nothing else, the sdist all that its tests need."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import dalib

ROOT = Path(__file__).parents[2]
LIBRARY = Path(dalib.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def files_of(folder: Path) -> set[str]:
    every = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in every if "__pycache__" not in name}


def test_the_wheel_is_the_library_and_nothing_else(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    about = f"dalib-{dalib.__version__}.dist-info/"
    assert {name.removeprefix("dalib/") for name in names if not name.startswith(about)} == files_of(LIBRARY)
    assert {
        "dalib/py.typed",
        "dalib/report/head.html",
        "dalib/report/template.html",
        "dalib/report/models_page.html",
        "dalib/report/style.css",
    } <= names
    assert about + "licenses/LICENSE" in names


def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built[1]) as wheel:
        about = f"dalib-{dalib.__version__}.dist-info/"
        metadata = email.message_from_bytes(wheel.read(about + "METADATA"))
        entry = wheel.read(about + "entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == ("dalib", dalib.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(PROJECT["optional-dependencies"])
    required = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert sorted(required) == sorted(PROJECT["dependencies"])
    assert "dalib = dalib.__main__:main" in entry


def test_the_sdist_has_all_that_its_tests_need(built):
    with tarfile.open(built[0]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames()}
    for folder in ("src", "tests", "examples"):
        assert {f"{folder}/{name}" for name in files_of(ROOT / folder)} <= names
    assert {"pyproject.toml", "Makefile", ".ci/run", ".github/workflows/ci.yml", "CITATION.cff", "LICENSE"} <= names
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/faults.py"} <= names
    unwanted = re.compile(r"(^|/)(runs|data|dist|_build|\.venv|__pycache__|\.[a-z]+_cache)/(?!.*\.py$)|\.pyc$")
    assert not [name for name in names if unwanted.search(name) and not name.startswith(("src/", "tests/"))]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_works_where_nothing_else_is(built, tmp_path):
    """In a new environment, which pip fills from its index: trains, reports and predicts."""
    home = tmp_path / "home"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"DALIB_CACHE": str(tmp_path / "cache")}

    def call(*command: object) -> str:
        done = subprocess.run(
            [str(each) for each in command], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        call(python, "-m", "pip", "install", "--quiet", built[1])
        assert call(home / "bin" / "dalib", "--version").splitlines()[0] == f"dalib {dalib.__version__}"
        steps = ["--steps", "5", "--batch", "16", "--every.checkpoint", "5"]
        call(home / "bin" / "dalib", "train", *steps, "--out", "run")
        assert "<html" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
        program = (
            "import dalib, numpy\n"
            f"assert dalib.__file__.startswith({str(home)!r}), dalib.__file__\n"
            "print(dalib.load('run')(numpy.zeros((16, 16, 3), numpy.uint8)).label)"
        )
        assert call(python, "-c", program).strip() in set("0123456789")
    finally:
        shutil.rmtree(home)  # gigabytes, which pytest would keep
