"""What makes whole runs on the built-in example cheap: small maps in their reports, and digits that are drawn once."""

from functools import cache

import pytest

from dalib.data import sources
from dalib.data.digits import render_digits
from dalib.report import sheets

drawn = cache(render_digits)


@pytest.fixture(autouse=True, scope="module")
def cheap_runs():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sheets, "MAPPED", 60)  # images of each domain; t-SNE takes seconds for 500
        patched.setattr(sources, "render_digits", lambda count, seed: tuple(each.copy() for each in drawn(count, seed)))
        yield
