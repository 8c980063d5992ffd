"""Another package of the name dalib is told, wherever Python finds it."""

from pathlib import Path

import dalib
from dalib.core.import_conflicts import import_conflicts


def test_another_owner_of_the_import_name_is_told(tmp_path):
    (tmp_path / "dalib").mkdir()
    (tmp_path / "dalib" / "__init__.py").touch()
    assert import_conflicts(["dalib"], []) == []
    assert import_conflicts(["dalib"], [str(Path(dalib.__file__).parents[1])]) == []
    assert "pip uninstall other" in import_conflicts(["dalib", "other"], [])[0]
    assert str(tmp_path / "dalib") in import_conflicts(["dalib"], [str(tmp_path)])[0]
