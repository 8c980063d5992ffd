"""Arrows between the rooms of the library point one way; read from the import statements."""

import ast
from pathlib import Path

import pytest

import dalib

ROOT = Path(dalib.__file__).parent
MODULES = {
    ".".join(("dalib", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
ROOMS = ("adaptation", "augment", "data", "engine", "judge", "models")
DOOR = {
    *("dalib.run.config", "dalib.run.recipe", "dalib.run.train", "dalib.commands.parser"),
    *("dalib.run.domains", "dalib.run.query", "dalib.run.measure", "dalib.run.checks", "dalib.run.feature_space"),
    *("dalib.run.export", "dalib.run.predict", "dalib.run.load"),
    *("dalib.sklearn", "dalib.sklearn.in_memory", "dalib.run.track"),
}


def imports(module: str, *, at_import: bool = False) -> set[str]:
    """What a module imports: anywhere, or only outside of functions and type checking, when it is imported itself."""
    found, pending = set(), [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import, which this test does not read"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {str(node.module)} | (submodules & MODULES.keys())
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not (at_import and (typing_only or isinstance(node, ast.FunctionDef))):
            pending += ast.iter_child_nodes(node)
    return found


def loaded_with(module: str) -> set[str]:
    """Everything that importing the module imports, through our own modules."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += imports(name, at_import=True) if name in MODULES else []
    return found


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[1:2] in [[r] for r in ROOMS]))
def test_the_rooms_do_not_know_the_door(module):
    assert not imports(module) & DOOR


@pytest.mark.parametrize("module", ["report.page", "runfolder", "config", "cli", "errors"])
def test_what_has_to_be_quick_loads_no_torch(module):
    assert not [name for name in loaded_with(f"dalib.{module}") if name.split(".")[0] == "torch"]


def test_only_main_imports_the_command_line():
    assert [name for name in MODULES if "dalib.commands.parser" in imports(name)] == ["dalib.__main__"]


def test_the_imports_of_this_test_are_those_of_the_library():
    assert {"torch", "dalib.adaptation.teacher"} <= imports("dalib.adaptation.self_ensemble")
    assert "torch" in loaded_with("dalib.run.recipe")
    assert "dalib.run.train" in imports("dalib.commands.parser")


def test_only_the_console_prints():
    # standard output may be closed, full or of another encoding, which dalib.core.console knows how to bear
    direct = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert direct == []
