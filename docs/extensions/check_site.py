"""What a build does not check: links, anchors and images within the pages, and that every public name is there.

`make docs` runs it on the folder of the built pages.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sphinx.util.inventory import InventoryFile

from dalib.adaptation.methods import METHODS, module_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_SHOWN = {
    "dalib.__version__": "the version in the title of every page",
    "dalib.Run": "shown where it is defined, in dalib.run.opened",
    "dalib.ImageFeatures": "shown where it is defined, in dalib.run.finished.image_features",
    "dalib.ImagePrediction": "shown where it is defined, in dalib.run.finished.image_predictions",
    "dalib.ModelsJudgement": "shown where it is defined, in dalib.judge.models_judgement",
    "dalib.Prediction": "shown where it is defined, in dalib.run.finished.load",
    "dalib.Predictions": "shown where it is defined, in dalib.run.finished.image_predictions",
    "dalib.Predictor": "shown where it is defined, in dalib.run.finished.load",
    "dalib.RunStoppedError": "shown where it is defined, in dalib.core.errors",
    "dalib.UserError": "shown where it is defined, in dalib.core.errors",
    "dalib.TrainConfig": "shown where it is defined, in dalib.run.settings.config",
    "dalib.adapt": "shown where it is defined, in dalib.run.adapt",
    "dalib.Runs": "shown where it is defined, in dalib.run.opened",
    "dalib.adapt_each": "shown where it is defined, in dalib.run.adapt",
    "dalib.open_runs": "shown where it is defined, in dalib.run.opened",
    "dalib.compare": "shown where it is defined, in dalib.run.opened",
    "dalib.judge_models": "shown where it is defined, in dalib.run.others.judge_models",
    "dalib.open_run": "shown where it is defined, in dalib.run.opened",
    "dalib.data.sources.BUILT_IN_LABELLED": "a tuple of names that the configuration lists",
    "dalib.data.sources.BUILT_IN_SOURCES": "a tuple of names that the configuration lists",
    "dalib.data.sources.BUILT_IN_TARGETS": "a tuple of names that the configuration lists",
    "dalib.adaptation.losses.squared_distance": "shown in dalib.adaptation.self_ensemble",
    "dalib.adaptation.losses.mean_squared_distance": "shown in dalib.adaptation.self_ensemble",
    "dalib.adaptation.losses.binary_cross_entropy_distance": "shown in dalib.adaptation.self_ensemble",
    "dalib.adaptation.losses.kl_divergence_distance": "shown in dalib.adaptation.self_ensemble",
    "dalib.adaptation.losses.information_loss": "shown in dalib.adaptation.self_ensemble",
}
"""Public names that the pages leave out, and why."""


def documented_modules(api: Path) -> list[str]:
    """Returns the modules that the sources of the API pages name, and those of the methods, whose page is generated."""
    pages = sorted(api.glob("*.md"))
    named = {name for page in pages for name in re.findall(r"automodule:: (\S+)", page.read_text("utf-8"))}
    return sorted(named | set(map(module_of, METHODS)))


def public_names(module: str) -> list[str]:
    """What a module offers: its ``__all__``, or the functions and classes without an underscore that it defines."""
    found = importlib.import_module(module)
    listed = getattr(found, "__all__", None)
    if listed is None:
        listed = [
            name
            for name, value in vars(found).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module
        ]
    return [f"{module}.{name}" for name in listed]


def inventory_of(site: Path) -> set[str]:
    """Every Python name that the built pages have an anchor for."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}


def missing_names(site: Path, api: Path) -> list[str]:
    """Public names of the documented modules that are neither in the inventory nor in NOT_SHOWN."""
    shown = inventory_of(site)
    names = [name for module in documented_modules(api) for name in public_names(module)]
    return [name for name in names if name not in shown and name not in NOT_SHOWN]


class _Page(HTMLParser):
    """The anchors of a page, and what it links to or shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        link = (
            values.get("src") if tag in ("img", "script", "source") else values.get("href") if tag != "base" else None
        )
        if link:
            self.links.append(link)


def broken_links(site: Path) -> Iterator[str]:
    """Links, anchors and images within the site that lead nowhere, each with its page."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme not in ("http", "https", "mailto", "data"):
                    yield f"{where}: {link}: a link that is neither of the site nor of the web"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{where}: {link}: no such file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {link}: no such anchor"


LOST = (
    (re.compile(r"<strong>(\w+)</strong> \u2013\s*(?:</p>|<ol)"), "has no description"),
    (re.compile(r'Type<span class="colon">:</span></dt>\s*<dd[^>]*><p>([^<]{40,})'), "is no type"),
)
"""What Sphinx makes of words that it takes for something else."""


def lost_words(site: Path) -> Iterator[str]:
    """Parameters whose description Sphinx took for a list, and sentences that it took for a type, by page."""
    for page in sorted((site / "api").glob("*.html")):
        text = page.read_text(encoding="utf-8")
        for pattern, what in LOST:
            for found in pattern.finditer(text):
                yield f"{page.relative_to(site)}: {found[1]} {what}"


def main(site: Path, api: Path) -> int:
    """Print what is wrong; 1 if anything is."""
    wrong = [
        *broken_links(site),
        *lost_words(site),
        *(f"{name}: not on any page of the API" for name in missing_names(site, api)),
    ]
    print("\n".join(wrong) or f"{sum(1 for _ in site.rglob('*.html'))} pages, no broken link, every public name")
    return 1 if wrong else 0


if __name__ == "__main__":
    here = Path(__file__).parents[1]
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "_build" / "html", here / "api"))
