"""What ends a run early is an error that names the remedy: the call to resume, where there is a run to resume."""

import signal

import pytest

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import (
    ImageChangedError,
    NotThereError,
    RanksLostError,
    RunStoppedError,
    Setting,
    StoppedError,
    UserError,
)
from dalib.engine.distributed import ALONE, World
from dalib.engine.signals import StopRequests
from dalib.records.folder import RunFolder
from dalib.run.remedies import remedies

TWO = World(rank=1, size=2)
LOST = RuntimeError(
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234. More"
)


@pytest.fixture(params=["not begun", "begun", "resumed", "to be replaced", "replaced"])
def state(request):
    """What is in the run's folder: its summary, from its beginning on, and before that the one of a run to replace."""
    return request.param


def has_begun(state):
    return state in ("begun", "resumed", "replaced")


def raised(error, tmp_path, *, state="not begun", world=ALONE, resume=False, came=None):
    requests, run = StopRequests(), RunFolder(tmp_path)
    requests.signal = came
    if state in ("resumed", "to be replaced", "replaced"):
        run.summary.write_text("of before")
    with pytest.raises(BaseException) as found, remedies(run, world, requests, resume=resume or state == "resumed"):
        train(run, state, error)
    return found.value


def train(run, state, error):
    if state in ("begun", "replaced"):
        run.summary.write_text("of now")
    raise error


@pytest.mark.parametrize(("error", "where"), [(KeyboardInterrupt(), ""), (StoppedError(3), " after step 3")])
@pytest.mark.parametrize(("came", "code"), [(signal.SIGTERM, 143), (None, 130)])
def test_a_stop_has_the_code_of_its_signal_and_the_command_to_resume(state, tmp_path, error, where, came, code):
    found = raised(error, tmp_path, state=state, came=came)
    assert isinstance(found, RunStoppedError)
    assert found.code == code
    assert found.text(FlagSpelling()) == f"stopped{where}" + (
        f"; to resume: dalib train --resume {tmp_path}"
        if has_begun(state)
        else " before the run began; decoded images are kept; give the same command again"
    )


@pytest.mark.parametrize("resume", [True, False])
def test_images_that_are_not_there_are_to_be_put_back_where_a_run_is_resumed(tmp_path, monkeypatch, resume):
    monkeypatch.chdir(tmp_path)
    error = NotThereError(Setting("source", "photos"), ": no such folder", "; name another")
    found = raised(error, tmp_path, resume=resume)
    if resume:
        told = str(found)
        assert told.startswith(
            f"source='photos': no such folder in {tmp_path}. A run is resumed with the places that it"
        )
        assert "name another" not in told
    else:
        assert found is error


def test_an_image_that_has_changed_leaves_what_is_there(state, tmp_path):
    error = ImageChangedError("1.png: it can no longer be read")
    found = raised(error, tmp_path, state=state)
    if has_begun(state):
        kept = f". What is in {tmp_path} is kept: dalib.adapt(resume='{tmp_path}')"
        assert str(found) == f"1.png: it can no longer be read{kept}"
    else:
        assert found is error


def test_a_disk_that_is_full_asks_for_room(state, tmp_path):
    found = raised(OSError(28, "No space left on device", "/cache/rows"), tmp_path, state=state)
    assert isinstance(found, UserError)
    what = "/cache/rows: cannot be read or written (No space left on device). "
    assert str(found) == what + (
        f"What is in {tmp_path} is whole; make room, or let it be written, and go on: dalib.adapt(resume='{tmp_path}')"
        if has_begun(state)
        else "Nothing was trained; make room, or name another folder with out"
    )


def test_a_process_that_loses_the_others_names_the_launcher_and_the_call(state, tmp_path):
    found = raised(LOST, tmp_path, state=state, world=TWO)
    assert isinstance(found, RanksLostError)
    assert str(found) == (
        "rank 1 of 2 lost the others, one of them ended or cannot be reached (Connection closed by peer "
        "[127.0.0.1]:1234). The output of that one shows why. "
    ) + (
        f"To resume, use the same launcher and: dalib.adapt(resume='{tmp_path}')"
        if has_begun(state)
        else "The run has not begun; give the same command again"
    )


@pytest.mark.parametrize(("error", "world"), [(LOST, ALONE), (RuntimeError("CUDA out of memory"), TWO)])
def test_other_errors_pass_as_they_are(tmp_path, error, world):
    assert raised(error, tmp_path, world=world) is error
