"""Results of a training: a folder and the memory hold the same."""

import json

import pytest
import torch
from torch import nn

from dalib.data.preprocessing import Preprocessing
from dalib.engine.checkpoint import Checkpoint
from dalib.engine.results import InFolder, InMemory, Kept
from dalib.models.architecture import Architecture
from dalib.models.saved import ModelDescription, load_tensors, save_model
from dalib.records.folder import TrainingFolder

ARCHITECTURE = Architecture(backbones=("of this test",), bottleneck_dim=None, channels=1, size=8)
DESCRIPTION = ModelDescription(ARCHITECTURE, ("a", "b"), Preprocessing(8, 1))


@pytest.fixture
def in_folder(tmp_path):
    return InFolder(TrainingFolder(tmp_path), lambda to, model: save_model(to, model, DESCRIPTION))


@pytest.fixture(params=["memory", "folder"])
def results(request, in_folder):
    return InMemory() if request.param == "memory" else in_folder


def test_what_is_kept_comes_back_and_is_replaced(results):
    assert results.kept() is None
    for step in (2, 6):
        model = nn.Linear(2, 2)
        results.keep(Kept(step, step / 10), model)
        assert results.kept() == Kept(step, step / 10)
        assert all(torch.equal(results.kept_weights()[name], value) for name, value in model.state_dict().items())


def test_weights_that_are_kept_do_not_change_with_the_model(results):
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    results.keep(Kept(2, 0.5), model)
    nn.init.zeros_(model.weight)
    assert torch.equal(results.kept_weights()["weight"], before)


def test_lines_of_later_steps_are_left_out(results):
    lines = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    if results.metrics is not None:  # which the log of the training writes
        results.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for line in lines:
        results.add(line)
    assert list(results.lines_until(2)) == lines[:2]


def test_memory_has_neither_files_nor_checkpoints():
    results = InMemory()
    assert (results.metrics, results.checkpoints, results.newest()) == (None, None, None)


def test_the_newest_checkpoint_of_a_folder_is_returned(in_folder):
    assert in_folder.newest() is None
    for step in (2, 4):
        in_folder.checkpoints.save(Checkpoint(step, {"weight": torch.ones(2)}, {}))
    assert in_folder.newest().step == 4


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(in_folder, capsys):
    for step in (2, 4):
        in_folder.checkpoints.save(Checkpoint(step, {"weight": torch.ones(2)}, {}))
    newest = sorted(path for path in in_folder.folder.checkpoints.iterdir() if path.is_file())[-1]
    newest.write_bytes(newest.read_bytes()[:50])
    assert in_folder.newest().step == 2
    assert capsys.readouterr().err.startswith("warning: ")


def test_the_finished_model_is_written_into_the_folder(in_folder):
    model = nn.Linear(2, 2)
    in_folder.save(model)
    assert torch.equal(load_tensors(in_folder.folder.model)["weight"], model.weight)
