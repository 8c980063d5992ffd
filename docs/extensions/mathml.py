"""Equations as MathML, which browsers draw themselves: no script, nothing fetched, the colour of the text around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(f'<span class="math">{_one_line(node.astext(), as_block=False)}</span>')
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    # the box scrolls where an equation is wider than a telephone
    translator.body.append(
        f'<div class="math" tabindex="0" role="group" aria-label="equation">'
        f"{_one_line(node.astext(), as_block=True)}</div>\n"
    )
    raise nodes.SkipNode


def _one_line(tex: str, *, as_block: bool) -> str:
    """MathML without the line breaks and spaces that stand between its elements."""
    return "".join(line.strip() for line in tex2mathml(" ".join(tex.split()), as_block=as_block).splitlines())
