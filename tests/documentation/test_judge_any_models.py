"""The page on judging models of any origin: its code runs, and its commands are understood."""

import re
import shlex

import numpy as np
import pytest
import torch
from site_modules import DOCS

import dalib
import sklearn
from dalib.commands.parser import make_parser
from dalib.run.finished.feature_table import write_features
from dalib.run.others.model_features import GivenFeatures

TEXT = (DOCS / "judge-any-models.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
BLOCKS = dict(zip(("skada", "torch", "transformers"), CODE, strict=True))


@pytest.fixture
def routing():
    before = sklearn.get_config()["enable_metadata_routing"]
    yield
    sklearn.set_config(enable_metadata_routing=before)


def run(name):
    names = {"__name__": name}
    exec(compile(BLOCKS[name], f"{name} in judge-any-models.md", "exec"), names)
    assert isinstance(names["judgement"], dalib.ModelsJudgement)
    return names


def test_models_of_skada(routing):
    pytest.importorskip("skada")
    sklearn.set_config(enable_metadata_routing=True)
    names = run("skada")
    truth = names["y"][120:]
    right = {name: (each.argmax(axis=1) == truth).mean() for name, each in names["probabilities"].items()}
    assert names["judgement"].best == max(right, key=right.get)


def test_models_of_a_loop_in_torch():
    names = run("torch")
    right = {
        name: float((each.argmax(dim=1) == names["labels"]).double().mean())
        for name, each in names["probabilities"].items()
    }
    assert right["moved"] > right["before"] + 0.1
    assert (names["judgement"].best, names["judgement"].outcome) == ("moved", "helped")


def test_models_of_hugging_face():
    pytest.importorskip("transformers")
    names = run("transformers")
    assert set(names["judgement"].ranking) == {"first", "second"}


def test_the_output_of_a_hugging_face_pipeline():
    code = BLOCKS["transformers"]
    names = {"np": np}
    exec(code[code.index("def of_pipeline") : code.index("classes =")], names)
    output = [[{"label": "dog", "score": 0.9}, {"label": "cat", "score": 0.1}]] * 2
    probabilities = names["of_pipeline"](output, ["cat", "dog"])
    np.testing.assert_allclose(probabilities, [[0.1, 0.9]] * 2)


def test_the_commands_are_understood():
    commands = re.findall(r"^dalib judge .*$", TEXT, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        arguments = shlex.split(command)[1:]
        assert len(make_parser(arguments).parse_args(arguments)["judge"]["models"]) >= 2
    computing = re.findall(r"^dalib features .*$", TEXT, re.MULTILINE)
    assert len(computing) == 2
    for command in computing:
        arguments = shlex.split(command)[1:]
        assert make_parser(arguments).parse_args(arguments)["features"]["out"].endswith(".npz")


def test_the_program_gives_features_of_the_source_their_labels(tmp_path, monkeypatch):
    (program,) = re.findall(r'^python -c "\n(.*?)^"$', TEXT, re.DOTALL | re.MULTILINE)
    names, values = ["studio/ant/1.jpg", "studio/bee/1.jpg", "studio/ant/2.jpg"], torch.randn(3, 4)
    write_features(tmp_path / "studio.npz", names, values)
    monkeypatch.chdir(tmp_path)
    exec(program, {"__name__": "program"})
    found = GivenFeatures(np.ones((2, 4)), None, "labelled.npz").representation(
        torch.arange(2), 2, None, ("ant", "bee")
    )
    assert torch.equal(found.source, values)
    assert found.labels.tolist() == [0, 1, 0]
