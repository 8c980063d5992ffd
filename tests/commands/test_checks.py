"""dalib checks, which trains nothing."""

from pathlib import Path

from small_run import QUICK

import dalib
from dalib.commands.main import run
from dalib.run.checks import import_conflicts


def test_checks_tells_counts_without_training(folders, capsys):
    assert run(["checks", "--source", f"{folders}/source", "--target", f"{folders}/target", *QUICK]) == 0
    out = capsys.readouterr().out
    for expected in ("torch", "dark: 12", "24 images", "broken.png"):
        assert expected in out


def test_another_owner_of_the_import_name_is_told(tmp_path):
    (tmp_path / "dalib").mkdir()
    (tmp_path / "dalib" / "__init__.py").touch()
    assert import_conflicts(["dalib"], []) == []
    assert import_conflicts(["dalib"], [str(Path(dalib.__file__).parents[1])]) == []
    assert "pip uninstall other" in import_conflicts(["dalib", "other"], [])[0]
    assert str(tmp_path / "dalib") in import_conflicts(["dalib"], [str(tmp_path)])[0]
