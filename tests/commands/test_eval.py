"""dalib eval on a run of folders."""

import json

import numpy as np
from small_run import write_image

from dalib.commands.main import run


def test_eval_measures_both_models_and_the_report_shows_it(trained, folders, capsys):
    assert run(["eval", str(trained), "--data", f"{folders}/labelled"]) == 0
    assert "adapted" in capsys.readouterr().out
    (result,) = [json.loads(path.read_text()) for path in (trained / "evaluations").glob("*.json")]
    assert result["count"] == 24
    for model in result["models"].values():
        low, high = model["interval"]
        assert low <= model["accuracy"] <= high
        assert np.sum(model["confusion"]) == 24
        assert np.trace(model["confusion"]) == round(model["accuracy"] * 24)
    assert "labelled" in (trained / "report.html").read_text()


def test_two_folders_of_one_name_are_two_evaluations(trained, tmp_path):
    rng, before = np.random.default_rng(0), len(list((trained / "evaluations").glob("*.json")))
    for place in ("here", "there"):
        write_image(tmp_path / place / "images" / "dark" / "x.png", 60, rng)
        for _ in range(2):
            assert run(["eval", str(trained), "--data", str(tmp_path / place / "images")]) == 0
    found = sorted((trained / "evaluations").glob("*.json"))
    assert len(found) == before + 2
    for path in found:
        if path.name.startswith("images-"):
            path.unlink()


def test_an_unknown_class_in_the_evaluation_is_named(trained, tmp_path, capsys):
    write_image(tmp_path / "data" / "purple" / "x.png", 100, np.random.default_rng(0))
    assert run(["eval", str(trained), "--data", str(tmp_path / "data")]) == 2
    assert "'purple'" in capsys.readouterr().err
