"""The sources of the pages, without building them: links, modules, and what must not stand in them."""

import importlib
import inspect
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import timm
from site_modules import DOCS, check_site

import dalib
from dalib.adaptation.methods import METHODS
from dalib.models.pretrained import pretrained_settings
from dalib.run.settings.image_defaults import SHORT_NAMES, WEIGHTS_PACKAGE

PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if not {"_build", "generated", "tutorials", "cases"} & set(page.relative_to(DOCS).parts)
)
MADE = {
    "generated/reference/configuration.rst",
    "generated/reference/methods.rst",
    "generated/reference/command-line.rst",
    "generated/reference/presets.rst",
    "generated/cases/index.rst",
    *(f"generated/cases/{program.stem}.rst" for program in (DOCS / "cases").glob("plot_*.py")),
}
PACKAGE = Path(dalib.__file__).parent
ROOMS = ("adaptation", "augment", "data", "engine", "judge", "models")


def slug(heading: str) -> str:
    """As MyST makes an anchor of a heading."""
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return plain.replace(" ", "-")


def text_of(page: Path) -> str:
    """With the files that it includes, or the part of them between two marks."""
    text = page.read_text(encoding="utf-8")
    for included, start, end in re.findall(
        r"```\{include\} (\S+)\n(?::start-after: (.+)\n)?(?::end-before: (.+)\n)?", text
    ):
        whole = (page.parent / included).read_text(encoding="utf-8")
        text += whole.partition(start)[2].partition(end)[0] if start else whole
    return text


def anchors_of(page: Path) -> set[str]:
    text = text_of(page)
    headings = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    return {slug(heading) for heading in headings} | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```(?!\{).*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)  # code is no link
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / unquote(path)).resolve() if path else page
        if target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in MADE:
            continue
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_page_is_in_a_table_of_contents(page):
    if page == DOCS / "index.md":
        return
    listed = set()
    for other in PAGES:
        text = other.read_text(encoding="utf-8")
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
            for line in tree.splitlines():
                if line and not line.startswith(":"):
                    listed |= {match.resolve() for match in other.parent.glob(f"{line}.md")}
    assert page.resolve() in listed


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_of_a_room_is_on_a_page(room):
    modules = {f"dalib.{room}.{path.stem}" for path in (PACKAGE / room).glob("[!_]*.py")}
    assert modules - {"dalib.adaptation.self_ensemble"} <= set(check_site.documented_modules(DOCS / "api"))


def test_documented_modules_exist():
    modules = check_site.documented_modules(DOCS / "api")
    assert len(modules) > 50
    for module in modules:
        importlib.import_module(module)


@pytest.mark.parametrize("module", check_site.documented_modules(DOCS / "api"))
def test_every_public_name_has_a_docstring_or_an_excuse(module):
    found = importlib.import_module(module)
    for name in check_site.public_names(module):
        value = getattr(found, name.rpartition(".")[2])
        if (inspect.isclass(value) or inspect.isfunction(value)) and name not in check_site.NOT_SHOWN:
            assert (value.__doc__ or "").strip(), name


def test_an_excuse_is_for_something_that_is_there():
    for name in check_site.NOT_SHOWN:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_lines_are_not_of_this_machine(page):
    assert not re.search(r"/w[o]rk/|[.]{2}/sh[a]red|/root/|/tmp/|localhost", page.read_text(encoding="utf-8"))


def test_the_table_of_methods_has_each_method_once():
    recipes = (DOCS / "recipes.md").read_text(encoding="utf-8")
    table = recipes.partition("\n## Methods\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert sorted(named) == sorted([*METHODS, "--masked_consistency.weight 1"])


@pytest.fixture(scope="module")
def backbones():
    """The rows of the table of backbones by the short name, each with its cells."""
    results = (DOCS.parent / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    table = results.partition("<!-- backbones -->")[2].partition("<!-- /backbones -->")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")
    ]
    return {row[0].split("`")[1]: row for row in rows[1:]}


def test_the_table_of_backbones_has_each_short_name(backbones):
    assert set(SHORT_NAMES) <= set(backbones)
    for short, settings in SHORT_NAMES.items():
        package = settings["weights"].removeprefix("package:").replace("_", "-")
        assert backbones[short][8].startswith(f"`{package}`")


def test_the_table_of_backbones_has_the_pixels_and_parameters_of_timm(backbones):
    for short, row in backbones.items():
        name = SHORT_NAMES.get(short, {"backbone": short})["backbone"]
        network = timm.create_model(name, num_classes=0)
        millions = sum(weights.numel() for weights in network.parameters()) / 1e6
        assert row[4:6] == [str(pretrained_settings(name).input_size), f"{millions:.1f}"]


def test_the_table_of_backbones_has_the_size_of_the_installed_weights(backbones):
    folder = Path(importlib.import_module(WEIGHTS_PACKAGE).__file__).parent
    (file,) = (folder / "models").glob("*.pth")
    assert backbones["lite0"][6] == f"{file.stat().st_size / 1e6:.1f}"
