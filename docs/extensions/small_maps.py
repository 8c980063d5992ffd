"""Draws the maps in the reports of the gallery's runs from few images: no page shows them, and each takes seconds."""

from __future__ import annotations

from typing import Any

MAPPED = 60  # of each domain, in place of hundreds


def draw_small_maps(gallery_conf: dict[str, Any], program: str) -> None:  # noqa: ARG001 - as Sphinx-Gallery calls it
    """Resets the number of images on a map, before each program of the gallery."""
    from dalib.report import sheets  # torch takes seconds to import, and only the programs' processes need it

    sheets.MAPPED = MAPPED
