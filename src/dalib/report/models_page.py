"""The page of ``dalib judge``: several models of one target, compared without a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.words import likelihood
from dalib.report.figures import picture
from dalib.report.page import environment

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.judge.models_judgement import ModelsJudgement
    from dalib.report.figures import Picture

MOST_IN_MATRIX = 12
"""Models whose pairs are shown as a table of all against all."""

_TONES = {"helped": "helped", "best": "helped", "hurt": "hurt", "collapsed": "hurt", "unclear": "unclear"}


def judged_page(judgement: ModelsJudgement, title: str) -> str:
    """Returns the page as HTML, in the style of a run's report; names are escaped.

    Args:
        judgement: of the models.
        title: name of the page.
    """
    return (
        environment()
        .get_template("models_page.html")
        .render(
            title=title,
            tone=_TONES[judgement.outcome],
            judgement=judgement,
            pictures=_pictures(judgement),
            likelihood=likelihood,
            matrix=bool(judgement.pairs) and len(judgement.models) <= MOST_IN_MATRIX,
        )
    )


def _pictures(judgement: ModelsJudgement) -> dict[str, Picture]:
    """Returns the pictures that there are of images on which the first two models differ, by the images' names."""
    found = {name: picture(content) for name, content in judgement.pictures.items()}
    return {name: each for name, each in found.items() if each is not None}


def is_judged_page(file: Path) -> bool:
    """Returns whether a file is such a page, by its title."""
    with file.open("rb") as opened:
        return " · dalib judge</title>".encode() in opened.read(_TITLE_WITHIN)


_TITLE_WITHIN = 4000  # bytes of a page; the title stands before the style
