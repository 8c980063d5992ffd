"""The workflow of a public host runs what .ci/run runs, on the versions that the metadata claim."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def job(workflow):
    return workflow["jobs"]["test"]


@pytest.fixture(scope="module")
def elsewhere(workflow):
    return workflow["jobs"]["elsewhere"]


def lowest(package: str) -> str:
    (bound,) = [each.split(">=")[1] for each in PROJECT["dependencies"] if each.startswith(f"{package}>=")]
    return bound


def test_it_runs_what_is_run_here(job):
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "bash .ci/run"
    assert (ROOT / ".ci" / "run").is_file()


def test_its_pythons_are_those_of_the_classifiers(job):
    said = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in PROJECT["classifiers"]]
    pythons = [each.group(1) for each in said if each]
    assert job["strategy"]["matrix"]["python"] == pythons
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert job["steps"][1]["with"]["python-version"] == "${{ matrix.python }}"


def test_its_oldest_torch_is_the_lower_bound(job):
    assert job["strategy"]["matrix"]["torch"] == [lowest("torch"), "current"]
    (hold,) = [step for step in job["steps"] if "if" in step]
    assert hold["if"] == f"matrix.torch == '{lowest('torch')}'"
    for package in ("torch", "torchvision"):
        assert f"{package}=={lowest(package)}.*\\n" in hold["run"]


def test_its_tests_run_on_macos_and_windows_without_make(elsewhere, job):
    assert elsewhere["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    assert elsewhere["runs-on"] == "${{ matrix.system }}"
    assert elsewhere["steps"][1]["with"]["python-version"] in job["strategy"]["matrix"]["python"]
    commands = [step["run"] for step in elsewhere["steps"] if "run" in step]
    assert not any(word in command for command in commands for word in ("make ", "bash", ".venv"))
    options = re.search(r"^PARALLEL := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M).group(1)
    assert commands[-1] == f"python -m pytest {options}"


@pytest.mark.parametrize("name", ["test", "elsewhere"])
def test_it_may_only_read_and_its_actions_have_a_version(workflow, name):
    job = workflow["jobs"][name]
    assert workflow["jobs"].keys() == {"test", "elsewhere"}
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in uses)
    assert True in workflow  # the key "on", which YAML reads as a truth value
    assert "pull_request_target" not in workflow[True]
