"""Files that have a header and no whole picture, which only decoding finds: a survey without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dalib.core.errors import Setting
from dalib.data.decoding import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.core.files import Unreadable
    from dalib.data.listing import Listing
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.survey import DomainSurvey

MOST_DECODED = 1000
"""Files of a domain that are decoded to find those that are cut off; with ``strict`` all of them are."""

_TOGETHER = 64  # files that are in memory at once


def without_damaged(
    listing: Listing | None,
    domain: DomainSurvey | None,
    preprocessing: Preprocessing,
    whole: bool,
    *,
    on_note: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> DomainSurvey | None:
    """Returns the survey of a domain with the files that have a header and no whole picture as unreadable.

    Args:
        listing, domain: files and their survey; None where there are none.
        whole: decode all files; otherwise at most MOST_DECODED of them, evenly spread.
        on_note: called with a sentence where not all files are decoded.
        on_progress: called with (done, total) while files are decoded.
    """
    if listing is None or domain is None:
        return domain
    known = {each.path for each in domain.unreadable}
    known.update(each.path for each in domain.whole_numbers)  # these were decoded for their values
    positions = [position for position, path in enumerate(listing.paths) if str(path) not in known]
    if not whole and len(positions) > MOST_DECODED:
        on_note(
            f"{listing.where}: {MOST_DECODED} of {len(positions)} files are decoded; "
            f"{Setting('strict', True)} decodes all"
        )
        positions = [positions[number * len(positions) // MOST_DECODED] for number in range(MOST_DECODED)]
    damaged: dict[int, Unreadable] = {}
    for first in range(0, len(positions), _TOGETHER):
        some = positions[first : first + _TOGETHER]
        _, kept, failed = decode([listing.paths[position] for position in some], preprocessing)
        lost = sorted(set(range(len(some))) - set(kept.tolist()))
        damaged.update(zip([some[number] for number in lost], failed, strict=True))
        on_progress(first + len(some), len(positions))
    counts = None if domain.class_counts is None else dict(domain.class_counts)
    if counts is not None and listing.labels is not None and listing.classes is not None:
        for position in damaged:
            counts[listing.classes[listing.labels[position]]] -= 1
    return replace(
        domain,
        headers=tuple(None if number in damaged else header for number, header in enumerate(domain.headers)),
        class_counts=counts,
        unreadable=(*damaged.values(), *domain.unreadable),
    )
