import errno
import io
import json
import os
import shlex
import subprocess
import sys

import pytest

from dalib.core import console
from dalib.core.console import (
    SILENCE,
    BytesProgress,
    CountedProgress,
    Loudness,
    TrainingProgress,
    beat,
    describe,
    loudness,
    say,
    say_detail,
    say_json,
    say_note,
    say_result,
    say_unreadable,
    standard_streams,
)
from dalib.core.errors import OutputClosedError, UserError
from dalib.core.files import Unreadable
from moved_clock import Clock


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


@pytest.mark.parametrize(
    "calls", [((1, 1), (1, 4), (4, 4)), ((2, 2), (3, 3)), ((1, 2), (2, 2), (2, 3), (3, 3)), ((2, 2), (2, 2), (3, 3))]
)
def test_counts_add_up_after_a_small_folder(calls):
    stream = io.StringIO()
    with CountedProgress("images", stream) as progress:
        for done, total in calls:
            progress(done, total)
    assert stream.getvalue().startswith("images: 5 in ")


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
        training.line({"step": 4, "class_confusion": 0.125, "masked": 0.375, "loss": 0.5})
    (line,) = stream.getvalue().splitlines()
    assert "loss 0.500  confusion 0.125  masked 0.375" in line


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


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(console, "time", clock := Clock())
    return clock


class Log(io.StringIO):
    """A stream that is no terminal, and remembers when something was written."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.times = clock, []

    def write(self, text):
        self.times.append(self.clock.now)
        return super().write(text)


def silences(log, clock):
    return [after - before for before, after in zip([0.0, *log.times], [*log.times, clock.now], strict=True)]


@pytest.mark.parametrize("seconds", [0.5, 7, 14, 25])
def test_a_log_gets_a_line_at_least_every_half_minute_of_what_is_counted(seconds, clock):
    log = Log(clock)
    with CountedProgress("features", log) as progress:
        for done in range(1, 301):
            clock.now += seconds
            progress(done, 300)
    assert max(silences(log, clock)) <= SILENCE
    lines = log.getvalue().splitlines()
    pace = {0.5: "2/s", 7: "0.14/s", 14: "0:14 each", 25: "0:25 each"}[seconds]
    assert lines[-2].startswith("features: ")
    assert f", {pace}, " in lines[-2]
    assert lines[-2].endswith(" left")
    assert len(lines) <= 300 * seconds / (SILENCE - 2 * seconds if seconds < 14 else seconds) + 2


def test_the_time_left_does_not_count_what_was_there_before(clock):
    log = Log(clock)
    with CountedProgress("reading", log) as progress:
        progress(900, 1000)
        clock.now += 29.5
        progress(910, 1000)
    assert log.getvalue().splitlines()[0] == "reading: 910/1000, 0.34/s, 4:26 left"


def test_a_log_gets_a_line_at_least_every_half_minute_of_training_and_evaluation(clock):
    log = Log(clock)
    with TrainingProgress("adapted", 40, log) as progress:
        for step in range(1, 41):
            clock.now += 12
            progress.step(step)
            if step % 20 == 0:
                for _ in range(10):  # batches of an evaluation
                    clock.now += 9
                    beat()
                progress.line({"step": step, "loss": 0.5})
    assert max(silences(log, clock)) <= SILENCE
    lines = log.getvalue().splitlines()
    assert lines[0] == "adapted  2/40  7:36 left"
    assert lines[-1] == "adapted  40/40  done  loss 0.500"


def test_a_beat_is_for_the_innermost_progress_and_for_nobody_outside(clock):
    log = Log(clock)
    beat()
    with TrainingProgress("adapted", 4, log):
        clock.now += 100
        with CountedProgress("predictions", log) as progress:
            progress(1, 2)
            clock.now += 100
            beat()
    assert [line.split(":")[0] for line in log.getvalue().splitlines()] == ["predictions"] * 2


def test_what_is_brief_is_told_only_if_it_takes_long(clock):
    log = Log(clock)
    with CountedProgress("predictions", log, brief=True) as progress:
        progress(1, 1)
    assert log.getvalue() == ""
    with CountedProgress("predictions", log, brief=True) as progress:
        for done in range(1, 6):
            clock.now += 20
            progress(done, 5)
    assert log.getvalue().splitlines()[-1] == "predictions: 5 in 1:40"


def test_a_line_shows_each_part_of_the_loss_whatever_the_method_calls_it():
    values = {"step": 5, "supervised": 1.0, "optimal_transport": 0.5, "source_accuracy": 0.3, "loss": 1.5, "rate": 0.1}
    assert describe(values) == "loss 1.500  supervised 1.000  optimal transport 0.500"


@pytest.mark.parametrize("level", list(Loudness))
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_command_prints_as_much_as_it_is_asked_to(level, kind, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = kind()
    with loudness(level):
        say("usual")
        say_result("result")
        say_detail("detail")
        say("error", sys.stderr)
        with CountedProgress("images", stream) as progress:
            progress(1, 1)
        with TrainingProgress("adapted", 100, stream) as training:
            training.line({"step": 1, "loss": 0.5})
        download = BytesProgress("weights", 2, stream=stream)
        download.add(2)
        download.close()
    told = capsys.readouterr()
    assert told.out.split() == [["result"], ["usual", "result"], ["usual", "result", "detail"]][level]
    assert told.err == "error\n"
    for name in ("images", "weights"):
        assert (name in stream.getvalue()) == (level > Loudness.QUIET)
    if kind is io.StringIO:
        assert ("loss 0.500" in stream.getvalue()) == (level == Loudness.VERBOSE)


class Only:
    """An object with what it takes to print, and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


class Broken(Only):
    """A stream whose reader is gone, or whose disk is full."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


LOST = [
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("closed"),
]


def test_an_object_that_can_only_write_is_enough():
    stream = Only()
    say("first", stream)
    with CountedProgress("images", stream) as progress:
        progress(1, 1)
    with TrainingProgress("adapted", 1, stream) as training:
        training.line({"step": 1, "loss": 0.5})
    assert [line.split()[0] for line in stream.text.splitlines()] == ["first", "images:", "adapted"]


def test_a_process_without_standard_output_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    say("nobody hears it")
    with CountedProgress("images") as progress, TrainingProgress("adapted", 1) as training:
        progress(1, 1)
        training.line({"step": 1, "loss": 0.5})


def test_letters_that_an_encoding_lacks_are_escaped():
    for encoding, expected in (("ascii", b"caf\\xe9 \\u2192\n"), ("latin-1", b"caf\xe9 \\u2192\n")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
        say("café →", stream)
        assert stream.buffer.getvalue() == expected


def test_json_is_json_whatever_the_names_in_it_and_the_encoding(monkeypatch):
    names = ["it\x92s", "\x7f", "B\xe4r", "\U0001f600", "\x1b[2J", "\u202e", "\udcff"]
    for encoding in ("ascii", "cp1252", "utf-8"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        with loudness(Loudness.QUIET):
            say_json({"classes": names})
        assert json.loads(written.getvalue().decode(encoding)) == {"classes": names}


def test_a_bar_moves_on_a_terminal_of_ascii(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    class AsciiTerminal(io.TextIOWrapper):
        def isatty(self):
            return True

    stream = AsciiTerminal(io.BytesIO(), "ascii")
    with CountedProgress("café", stream) as progress:
        progress(1, 1)
    assert b"caf\\xe9" in stream.buffer.getvalue()
    assert b"1/1" in stream.buffer.getvalue()


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_script_goes_on_without_its_output(error):
    say("x", Broken(error))
    with CountedProgress("images", Broken(error)) as progress:
        progress(1, 1)


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_command_that_works_goes_on_without_its_output(error, monkeypatch):
    errors = Only()
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", errors)
    with standard_streams(lists=False):
        say("x")
        say("y")
    told = "" if isinstance(error, BrokenPipeError) else f"standard output cannot be written ({error.args[-1]})"
    assert told in errors.text
    assert errors.text.count("\n") == bool(told)


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_command_that_lists_ends_where_nobody_reads(error, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(error))
    expected = OutputClosedError if isinstance(error, BrokenPipeError) else UserError
    with pytest.raises(expected, match="standard output cannot be written"), standard_streams(lists=True):
        say("x")


def test_the_streams_are_put_back(monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream := Only())
    with pytest.raises(ZeroDivisionError), standard_streams(lists=True):
        raise ZeroDivisionError
    assert sys.stdout is stream


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the files")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "| true", ">/dev/full"])
def test_a_process_with_closed_files_leaves_no_traceback(closed):
    command = f"{shlex.quote(sys.executable)} -m dalib train --print_config {closed}"
    told = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in told.stderr
    assert "Exception ignored" not in told.stderr
    assert told.returncode == (2 if "full" in closed else 0)


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the files")
def test_the_number_of_a_closed_file_is_given_to_no_other():
    code = (
        "import os; from dalib.core.console import occupy_standard_files; occupy_standard_files();"
        "import tempfile; print(tempfile.TemporaryFile().fileno(), file=open('/dev/fd/3', 'w'))"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 3>&1 >&- 2>&-"
    told = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert int(told.stdout) > 2


def test_a_note_is_printed_among_results_and_a_warning_on_standard_error_also_where_it_is_quiet(capsys):
    say_note("photos: 2 files are not used")
    say_note("warning: photos: 1 image is there twice")
    with loudness(Loudness.QUIET):
        say_note("photos: 2 files are not used")
        say_note("warning: photos: 1 image is there twice")
    assert capsys.readouterr() == (
        "photos: 2 files are not used\n",
        2 * "warning: photos: 1 image is there twice\n",
    )
