"""What trained by self_ensemble's alpha still does, and a method's own setting goes before it."""

from dataclasses import asdict

import pytest

from dalib.commands.config_file import read_config
from dalib.run.settings.once_shared import ONCE_SHARED
from dalib.run.settings.presets import PRESETS, from_preset
from old_settings import expected, old_file, own_values, parsed


@pytest.mark.parametrize("method", ONCE_SHARED)
def test_an_old_file_is_read_as_it_was(tmp_path, method):
    path = old_file(tmp_path, method)
    assert own_values(read_config(path), method) == expected(method)
    assert own_values(parsed("--config", str(path)), method) == expected(method)


@pytest.mark.parametrize("method", ONCE_SHARED)
def test_a_setting_of_its_own_goes_before(tmp_path, method):
    group, _ = ONCE_SHARED[method]
    path = old_file(tmp_path, method, **{group: {"alpha": 0.99}})
    assert getattr(read_config(path), group).alpha == 0.99
    assert getattr(parsed("--config", str(path)), group).alpha == 0.99
    assert getattr(read_config(path), group).alpha_warmup is False


@pytest.mark.parametrize("method", ONCE_SHARED)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_what_it_set(preset, method):
    config = from_preset(preset, method=method)
    assert own_values(config, method) == expected(method, asdict(config.self_ensemble))
    assert own_values(parsed("--preset", preset, "--method", method), method) == own_values(config, method)


def test_a_change_of_a_preset_counts_as_before():
    config = from_preset("paper-small", method="adamatch", **{"self_ensemble.alpha_warmup": True})
    assert config.adamatch.alpha_warmup
    config = from_preset("paper-small", method="adamatch", **{"self_ensemble.alpha": 0.5, "adamatch.alpha": 0.6})
    assert config.adamatch.alpha == 0.6
    assert parsed(
        "--preset", "paper-small", "--method", "adamatch", "--self_ensemble.alpha_warmup", "true"
    ).adamatch.alpha_warmup
