"""Completion of the command line by shells."""

import re
import shlex
import shutil
import subprocess

import pytest

from dalib.commands import completion
from dalib.commands.main import run


def completed(script: str, words: list[str]) -> list[str]:
    """What bash offers for the last of the words, by the function that the script defines."""
    asked = f"COMP_WORDS=({' '.join(map(shlex.quote, words))})\nCOMP_CWORD={len(words) - 1}"
    found = re.search(r"^complete .*-F (\S+) dalib$", script, re.MULTILINE)
    assert found is not None
    program = f'{script}\n{asked}\n{found.group(1)} dalib\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_settings_values_and_paths(capsys, tmp_path):
    assert run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, ["dalib", "tr"]) == ["train"]
    assert completed(script, ["dalib", "train", "--pre"]) == ["--preset", "--precision"]
    assert completed(script, ["dalib", "train", "--preset", "photo-f"]) == ["photo-features"]
    assert completed(script, ["dalib", "train", "--steps", "5", "--self_ensemble.thr"]) == ["--self_ensemble.threshold"]
    assert completed(script, ["dalib", "completion", "z"]) == ["zsh"]
    (tmp_path / "studio").mkdir()
    for words in (["train", "--source"], ["predict", "RUN", "--images"], ["report"]):
        assert completed(script, ["dalib", *words, f"{tmp_path}/stu"]) == [f"{tmp_path}/studio"]


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef dalib"), ("tcsh", "# AUTOMATICALLY GENERATED")])
def test_other_shells_have_a_script_too(shell, begins, capsys):
    assert run(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert said.startswith(begins)
    assert "--preset" in said or "preset" in said


def test_completion_without_shtab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(completion, "find_spec", lambda name: None)
    assert run(["completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        "dalib: error: completion bash: the package shtab is not installed; pip install shtab\n"
    )
