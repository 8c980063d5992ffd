"""The settings of a run refuse other types and values where they are made."""

import pytest

from dalib.core.errors import UserError
from dalib.run.settings.config import OptimizerConfig, TrainConfig


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"select": "best"}, r"select='best': expected 'judged', 'last' or 'most-confident'"),
        ({"keep": "all"}, r"keep='all': expected 'better' or 'adapted'"),
        ({"steps": "2"}, r"steps='2': expected a whole number or None"),
        ({"batch": True}, r"batch=True: expected a whole number"),
        ({"data": 16}, r"data=16: expected a DataConfig"),
        ({"track": "excel"}, r"track='excel': expected 'tensorboard', 'mlflow' or 'wandb' or None"),
        ({"source": [1]}, r"source=\[1\]: expected a string or a list of these"),
    ],
)
def test_what_is_no_setting_is_refused_where_it_is_made(settings, expected):
    with pytest.raises(UserError, match=expected):
        TrainConfig(**settings)


def test_a_group_refuses_too():
    with pytest.raises(UserError, match=r"schedule='step': expected 'one-cycle'"):
        OptimizerConfig(schedule="step")


def test_paths_are_taken_for_strings(tmp_path):
    config = TrainConfig(source=[tmp_path / "a", "b"], target=tmp_path)
    assert (config.source, config.target) == ([str(tmp_path / "a"), "b"], str(tmp_path))
