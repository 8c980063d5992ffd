"""Errors as values: spelled for their reader, whole between processes."""

import pickle

import pytest

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import (
    Call,
    Message,
    PythonSpelling,
    Setting,
    UserError,
    spelled,
)
from dalib.data.listing import list_images


def test_a_spelling_ends_with_its_block_whatever_happens_in_it():
    with pytest.raises(UserError), spelled(FlagSpelling()):
        raise UserError(Setting("seed"))
    assert str(Setting("seed", 1)) == "seed=1"


def test_a_caller_may_have_other_names_for_settings():
    assert UserError(Setting("target"), ": none").text(PythonSpelling(target="X_target")) == "X_target: none"


def test_images_that_were_given_as_objects_are_named_by_what_they_are():
    place = f"/cache/given/{'0' * 32}/array-of-12-labelled-images.csv"
    error = UserError(Setting("evaluate", place), ": no class of theirs is known")
    assert str(error) == "evaluate (array-of-12-labelled-images): no class of theirs is known"
    asked = Call("dalib.run.finished.measure.evaluate", Setting("run", "runs/first"), Setting("data", place))
    assert str(asked) == f"dalib.open_run('runs/first').evaluate(data={place!r})"  # to be copied


def test_a_message_is_spelled_as_python_unless_it_is_said_otherwise():
    message = Message("give ", Setting("steps", 5), " or leave it out")
    assert str(message) == "give steps=5 or leave it out"
    assert message.text(PythonSpelling()) == str(message)


def test_an_error_of_several_parts_is_whole_after_a_pipe():
    again = pickle.loads(pickle.dumps(UserError("images in ", Setting("target", "a b"), ": none")))
    assert str(again) == "images in target='a b': none"


def test_a_notebook_shows_the_message_and_the_line_that_called_and_not_the_lines_of_dalib():
    with pytest.raises(UserError) as error:
        list_images("no/such/folder", argument="target")
    *lines, last = error.value._render_traceback_()
    assert last.startswith("NotThereError: target='no/such/folder'")
    assert len(lines) == 1
    assert 'list_images("no/such/folder", argument="target")' in lines[0]
    assert "test_errors.py" in lines[0]
