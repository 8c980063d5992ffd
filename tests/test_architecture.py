"""Arrows between the rooms of the library point one way; read from the import statements."""

import ast
import functools
import re
from pathlib import Path

import pytest

import dalib
from dalib.adaptation.methods import MASKED_CONSISTENCY, METHODS, SOURCE_ONLY

ROOT = Path(dalib.__file__).parent
MODULES = {
    ".".join(("dalib", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
FLOORS = (
    "commands",
    "sklearn",
    "run",
    "run.others",
    "run.timing",
    "run.recipe",
    "run.finished",
    "run.features",
    "run.start",
    "run.classes",
    "run.settings",
    "report",
    "adaptation",
    "engine",
    "judge",
    "models",
    "augment",
    "data",
    "records",
    "core",
)
"""The rooms from the top floor down: each imports only from those below it. The room run has rooms of its own."""
ENTRIES = {*(floor for floor in FLOORS if "." not in floor), "__init__.py", "__main__.py", "_version.py", "py.typed"}
ABOVE = ("dalib", "dalib.__main__")
"""The two front doors, which open the rooms; and dalib._version, which everybody may read."""


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@functools.cache
def nodes_of(module: str) -> list[ast.AST]:
    return [*ast.walk(tree_of(module))]


@functools.cache
def imports(module: str, *, at_import: bool = False) -> frozenset[str]:
    """What a module imports: anywhere, or only outside of functions and type checking, when it is imported itself."""
    found, pending = set(), [tree_of(module)]
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
    return frozenset(found)


def loaded_with(module: str) -> set[str]:
    """Everything that importing the module imports, through our own modules."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += imports(name, at_import=True) if name in MODULES else []
    return found


def room_of(module: str) -> str:
    _, room, *within = module.split(".")
    inner = f"{room}.{within[0]}" if within else room
    return inner if inner in FLOORS else room


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others."""
    found, done = [], set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for below in sorted(arrows.get(name, ())):
                visit(below, [*path, name])
            done.add(name)

    for name in sorted(arrows):
        visit(name, [])
    return found


def test_the_root_holds_the_rooms_and_the_front_doors_alone():
    there = {path.name for path in ROOT.iterdir() if path.name != "__pycache__"}
    assert there == ENTRIES


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {*ABOVE, "dalib._version"}))
def test_each_room_imports_only_from_below(module):
    below = FLOORS[FLOORS.index(room_of(module)) :]
    ours = {name for name in imports(module) if name in MODULES and name not in ("dalib", "dalib._version")}
    assert sorted(name for name in ours if room_of(name) not in below) == []


def test_no_modules_import_each_other():
    assert circles({name: imports(name) & MODULES.keys() - {"dalib"} for name in MODULES}) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


@pytest.mark.parametrize(
    "module",
    ["report.page", "records.folder", "run.settings.config", "commands.main", "core.errors", "models.architecture"],
)
def test_what_has_to_be_quick_loads_no_torch(module):
    assert not [name for name in loaded_with(f"dalib.{module}") if name.split(".")[0] == "torch"]


def test_prediction_loads_neither_training_nor_judgement():  # one image takes little longer than its imports
    loaded = loaded_with("dalib.run.finished.predict")
    assert "dalib.run.finished.load" in loaded
    assert not [
        name for name in loaded if name == "dalib.run.recipe.recipe" or name.startswith(("dalib.judge", "scipy."))
    ]


def test_only_main_imports_the_command_line():
    assert [name for name in MODULES if "dalib.commands.main" in imports(name)] == ["dalib.__main__"]


def test_the_imports_of_this_test_are_those_of_the_library():
    assert {"torch", "dalib.adaptation.teacher"} <= imports("dalib.adaptation.self_ensemble")
    assert "torch" in loaded_with("dalib.run.recipe.recipe")
    assert "dalib.run.train" in imports("dalib.commands.train")


def test_only_the_console_prints():
    # standard output may be closed, full or of another encoding, which dalib.core.console knows how to bear
    direct = [
        f"{module}:{node.lineno}"
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert direct == []


TESTS = Path(__file__).parent
WITHOUT_TESTS = {"__init__", "__main__", "_version"}


def test_each_module_has_a_file_of_tests():
    ours = [path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.stem not in WITHOUT_TESTS]
    assert [str(path) for path in sorted(ours) if not (TESTS / path.parent / f"test_{path.name}").is_file()] == []


@pytest.mark.parametrize("room", [floor for floor in FLOORS if floor != "sklearn"])  # whose map is its public names
def test_the_map_of_a_room_names_all_that_is_in_it_once(room):
    place = ROOT.joinpath(*room.split("."))
    named = re.findall(r"``(\w+)``", ast.get_docstring(ast.parse((place / "__init__.py").read_text("utf-8"))) or "")
    there = {each.stem for each in place.iterdir()} - {"__init__", "__pycache__"}
    told_again = {"train"} if room == "run" else set()  # where a reader begins
    assert set(named) == there
    assert {name for name in named if named.count(name) > 1} == told_again


CONFIGURED = {
    "run.adapt",
    "run.checks",
    "run.kit_check",
    "run.settings.config",
    "run.settings.config_file",
    "run.settings.presets",
    "run.settings_check",
    "run.setup",
    "run.several",
    "run.timing.pace",
    "run.timing.time_limit",
    "run.train",
    "run.recipe.image_network",
    "run.recipe.task",
    "run.recipe.recipe",
}
"""Modules of the room run that read the configuration: what makes it, and what makes the objects of a run from it."""
CONFIGURED_ROOMS = {"run", "run.settings", "run.timing", "run.recipe"}
"""The rooms that may: the story, what a user sets, the objects made of it, and the time limit, which changes it."""


def names_configuration(module: str) -> bool:
    return any(
        isinstance(node, ast.Name | ast.alias) and "TrainConfig" in (getattr(node, "id", ""), getattr(node, "name", ""))
        for node in nodes_of(module)
    )


def test_the_configuration_ends_at_the_recipe():
    found = {module.removeprefix("dalib.") for module in MODULES if module != "dalib" and names_configuration(module)}
    above = {module for module in found if module.split(".")[0] in ("commands", "sklearn")}
    assert found - above == CONFIGURED
    assert {room_of(f"dalib.{module}") for module in CONFIGURED} == CONFIGURED_ROOMS


MOST_LINES, MOST_PARAMETERS = 60, 8
LONGER = {
    "adaptation.self_ensemble.self_ensemble_objective",  # reads beside the paper's formula, with its quantities
    "adaptation.self_ensemble.__init__",  # settings one by one in the reference, for loops without a configuration
    "adaptation.adamatch.__init__",  # likewise
    "models.classifier.__init__",  # each part that may be left out is an argument of its own
    "run.others.judge_models.judge_models",  # each kind of evidence, which may be missing, is an argument of its own
    "sklearn.estimator.__init__",  # scikit-learn clones and searches an estimator by its arguments
}
"""Functions that are longer or take more, with the reason, which stands beside each of them too."""


def test_functions_are_short_and_take_few_arguments():
    found = set()
    for module in MODULES:
        for node in nodes_of(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                taken = [each for each in every if each.arg not in ("self", "cls")]
                if node.end_lineno - node.lineno >= MOST_LINES or len(taken) > MOST_PARAMETERS:
                    found.add(f"{module.removeprefix('dalib.')}.{node.name}")
    assert found == LONGER


METHOD_CLASSES = {path.rpartition(".")[2] for path in (*METHODS.values(), MASKED_CONSISTENCY)}


CHANGING = {"append", "add", "update", "extend", "insert", "pop", "popitem", "clear", "setdefault", "discard", "sort"}
"""Methods of lists, sets and dictionaries that change them; remove is left out, as a store has it for its files."""


def changes_of_frozen(tree: ast.AST) -> list[str]:
    """Lines of frozen dataclasses that remember or change something: it belongs in a class that says so."""
    found = []
    for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if not any("frozen=True" in ast.unparse(each) for each in made.decorator_list):
            continue
        for node in ast.walk(made):
            changed = None
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                changed = node.func.value
            of_self = changed is not None and ast.unparse(changed).startswith("self")
            cached = isinstance(node, ast.Name) and node.id == "cached_property"
            held = isinstance(node, ast.AnnAssign) and "ExitStack" in ast.unparse(node.annotation)
            found += [f"{made.name}:{node.lineno}"] if of_self or cached or held else []
    return found


def test_frozen_dataclasses_neither_remember_nor_change_anything():
    found = {name: changes_of_frozen(tree_of(name)) for name in MODULES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "@cached_property\n def fast(self): ...",
        "def put(self): self.done.models['a'] = 1",
        "def put(self): self.done['a'] += 1",
        "def drop(self): del self.done['a']",
        "def put(self): self.done.models.pop('a')",
        "def put(self): self.seen.append(1)",
        "held: ExitStack",
    ],
)
def test_a_change_of_a_frozen_dataclass_would_be_found(line):
    assert changes_of_frozen(ast.parse(f"@dataclass(frozen=True, eq=False)\nclass Made:\n {line}"))
    assert not changes_of_frozen(ast.parse(f"@dataclass(eq=False)\nclass Made:\n {line}"))


NAMES_METHODS = {
    "run.settings.config": "the default, which is a name in the reference and in --help",
    "run.settings.once_shared": "a closed table of what older settings meant",
}
"""Modules outside of the room that name a method beside the baseline, with the reason."""
READS_METHODS = {"records.summary": "the files of a run know the baseline by its name, and no method"}
"""Modules outside of the room that compare a method with a name, with the reason."""


def named_methods(tree: ast.AST) -> list[int]:
    """Lines whose code names a method. The name of the baseline is that of a model too, and is left out."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in METHODS.keys() - {SOURCE_ONLY}
    ]


def asked_methods(tree: ast.AST) -> list[int]:
    """Lines that ask which method there is: by its class, or a thing that is called method by a name."""
    found = []
    for node in ast.walk(tree):
        parts = [*ast.walk(node)] if isinstance(node, ast.Compare) else []
        texts = {each.value for each in parts if isinstance(each, ast.Constant)}
        called = {getattr(each, "attr", getattr(each, "id", "")) for each in parts}
        found += [node.lineno] if texts & METHODS.keys() and "method" in texts | called else []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            named = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
            found += [node.lineno] if named & METHOD_CLASSES else []
    return found


@pytest.mark.parametrize(("ask", "allowed"), [(named_methods, NAMES_METHODS), (asked_methods, READS_METHODS)])
def test_no_room_asks_which_method_it_has(ask, allowed):
    outside = [name for name in MODULES if not name.startswith("dalib.adaptation")]
    found = {name.removeprefix("dalib."): ask(tree_of(name)) for name in outside}
    assert {name: lines for name, lines in found.items() if lines and name not in allowed} == {}
    assert all(found[name] for name in allowed)  # an entry that is needed no longer goes


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("config.method == 'source-only'", asked_methods),
        ("settings.get('method') != 'source-only'", asked_methods),
        ("method in ('mcc', 'source-only')", asked_methods),
        ("isinstance(method, FixMatch)", asked_methods),
        ("allows(lambda name: name == 'self-ensemble')", named_methods),
        ("UserError('take ', Setting('method', 'self-ensemble'))", named_methods),
    ],
)
def test_a_question_for_a_method_would_be_found(text, ask):
    assert ask(ast.parse(text)) == [1]


def test_the_name_of_the_source_only_model_is_no_question_for_a_method():
    assert asked_methods(ast.parse("name == 'source-only'")) == named_methods(ast.parse("name == 'source-only'")) == []
