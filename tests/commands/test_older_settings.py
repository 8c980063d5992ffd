"""Flags that used to set several methods' settings still do."""

import pytest
import yaml

from dalib.commands.main import run
from dalib.commands.older_settings import with_older_meanings
from dalib.run.settings.once_shared import ONCE_SHARED
from old_settings import expected, old_file, own_values, parsed


@pytest.mark.parametrize("method", ONCE_SHARED)
@pytest.mark.parametrize(
    "arguments",
    [
        ("--self_ensemble.alpha=0.5", "--self_ensemble.alpha_warmup", "false", "--self_ensemble.teacher_dropout=false"),
        ("--self_ensemble", '{"alpha": 0.5, "alpha_warmup": false, "teacher_dropout": false}'),
    ],
    ids=["one by one", "as a group"],
)
def test_old_flags_train_what_they_trained(method, arguments):
    assert own_values(parsed("--method", method, *arguments), method) == expected(method)


def test_a_later_flag_goes_before_a_file(tmp_path):
    path = old_file(tmp_path, "fixmatch")
    assert parsed("--config", str(path), "--self_ensemble.alpha", "0.7").fixmatch.alpha == 0.7
    assert parsed("--config", str(path), "--fixmatch.alpha", "0.7").fixmatch.alpha == 0.7


def test_what_is_not_trained_keeps_its_own():
    config = parsed("--self_ensemble.alpha", "0.5", "--method", "fixmatch")
    assert (config.fixmatch.alpha, config.adamatch.alpha, config.mean_teacher.alpha) == (0.5, 0.99, 0.99)
    assert with_older_meanings(["train", "--self_ensemble.alpha", "0.5"]) == (
        ["train", "--self_ensemble.alpha", "0.5"],
        {},
    )


def test_it_is_said_and_printed(capsys):
    arguments = ["train", "--method", "fixmatch", "--self_ensemble.alpha", "0.5", "--print_config"]
    with pytest.raises(SystemExit):
        run(arguments)
    printed = capsys.readouterr()
    assert "--self_ensemble.alpha sets fixmatch.alpha, as it used to; write --fixmatch.alpha" in printed.err
    assert yaml.safe_load(printed.out)["fixmatch"]["alpha"] == 0.5
