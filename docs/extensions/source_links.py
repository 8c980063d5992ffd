"""viewcode's links that lead nowhere go: back to a module that shows another's object, and to built-in types."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LISTED = re.compile(r'<li><a href="([^"]*)">[^<]*</a></li>')
BACK = re.compile(r'<a class="viewcode-back" href="([^"#]*)#([^"]*)">\[docs\]</a>')


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", _without_dead_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _without_dead_links(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return

    @cache
    def text_of(page: Path) -> str:
        return page.read_text(encoding="utf-8")

    for page in (Path(app.outdir) / "_modules").rglob("*.html"):

        def living(link: re.Match[str], page: Path = page) -> str:
            return link[0] if f'id="{link[2]}"' in text_of((page.parent / link[1]).resolve()) else ""

        text = page.read_text(encoding="utf-8")
        if (kept := BACK.sub(living, text)) != text:
            page.write_text(kept, encoding="utf-8")

    def there(entry: re.Match[str]) -> str:
        return entry[0] if (index.parent / entry[1]).exists() else ""

    index = Path(app.outdir) / "_modules" / "index.html"
    if index.exists():
        text = index.read_text(encoding="utf-8")
        index.write_text(LISTED.sub(there, text), encoding="utf-8")
