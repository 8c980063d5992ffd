import io

import pytest

from dalib.console import CountedProgress, TrainingProgress, say, say_unreadable
from dalib.data.decoding import Unreadable


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_counts_add_up_over_folders():
    stream = io.StringIO()
    with CountedProgress("images", stream) as progress:
        for done, total in ((1, 2), (2, 2), (1, 3), (2, 3), (3, 3)):
            progress(done, total)
    assert stream.getvalue().startswith("images: 5 in ")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_nothing_is_shown_of_what_is_not_done(stream):
    with CountedProgress("images", stream):
        pass
    assert stream.getvalue() == ""


def test_what_went_wrong_is_not_told_to_be_done():
    stream = io.StringIO()
    with pytest.raises(ValueError), CountedProgress("images", stream) as progress:  # noqa: PT012
        progress(1, 2)
        raise ValueError
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with CountedProgress("images", stream) as progress:
        progress(1, 3)
        progress(3, 3)
    assert "3/3" in stream.getvalue()
    stream = Terminal()
    with TrainingProgress("adapted", 4, stream) as training:
        training.line({"step": 4, "loss": 0.5})
    assert "4/4" in stream.getvalue()
    assert "loss 0.500" in stream.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with TrainingProgress("adapted", 4, stream) as training:
        training.line({"step": 4, "loss": 0.5, "masked": 0.25, "class_confusion": 0.125})
    (line,) = stream.getvalue().splitlines()
    assert "loss 0.500  confusion 0.125  masked 0.250" in line


def test_names_that_are_no_text_are_printed_all_the_same(capsys):
    say("a\udcff.png")
    assert capsys.readouterr().out == "a\\udcff.png\n"


def test_some_of_many_unreadable_images_are_named(capsys):
    say_unreadable([Unreadable(f"{number}.png", "empty") for number in range(7)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "skipped 7 images that cannot be read:",
        *(f"  {number}.png: empty" for number in range(5)),
        "  and 2 more",
    ]
    say_unreadable([Unreadable("x.png", "empty")])
    assert "skipped 1 image that cannot be read:" in capsys.readouterr().out
    say_unreadable([Unreadable("x.png", "empty")] * 5, count=1000)
    assert "and 995 more" in capsys.readouterr().out
    say_unreadable([])
    assert capsys.readouterr().out == ""
