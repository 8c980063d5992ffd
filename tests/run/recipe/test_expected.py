"""Whether, and for which targets, the classes that an adaptation expects are decided."""

from types import SimpleNamespace

import pytest

from dalib.run.recipe.expected import can_be_told
from dalib.run.settings.presets import configured


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, True), ({"baseline": False}, False), ({"prior": "source"}, False), ({"prior": "halfway"}, True)],
)
def test_auto_is_same_where_nothing_tells_the_classes(settings, told):
    config = configured("photo-features", settings)
    assert config.classes == "auto"
    assert can_be_told(baseline=config.baseline, prior=config.prior, kit=None) == told


def test_a_model_alone_tells_no_classes():
    assert not can_be_told(baseline=True, prior="halfway", kit=SimpleNamespace(model_alone=True))
    assert can_be_told(baseline=True, prior="halfway", kit=SimpleNamespace(model_alone=False))
