"""Signals that end a process: the first between two steps waits, the next stops at once."""

import signal
import threading

import pytest

from dalib.engine.signals import SIGNALS, StopRequests

SIGNAL = signal.SIGINT


@pytest.fixture(autouse=True)
def heeded():
    """A shell starts background jobs with SIGINT ignored, and what is ignored stays so."""
    before = signal.signal(SIGNAL, signal.default_int_handler)
    yield
    signal.signal(SIGNAL, before)


def test_the_first_signal_within_a_step_waits_and_is_told(capsys):
    with StopRequests() as requests, requests.at_a_step():
        assert requests.signal is None
        signal.raise_signal(SIGNAL)
        assert requests.signal == SIGNAL
    assert "stopping after this step" in capsys.readouterr().out


def test_the_second_signal_stops_at_once(capsys):
    with StopRequests() as requests, requests.at_a_step():
        signal.raise_signal(SIGNAL)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(SIGNAL)
    assert capsys.readouterr().out.count("stopping") == 1


def test_outside_of_a_step_the_first_signal_stops_at_once():
    with StopRequests() as requests:
        with requests.at_a_step():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(SIGNAL)
    assert requests.signal == SIGNAL


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_the_handlers_are_put_back_whatever_happens(error):
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with StopRequests():
            assert signal.getsignal(SIGNAL) != before[0]
            if error is not None:
                raise error
    except (KeyboardInterrupt, ValueError):
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(SIGNAL, signal.SIG_IGN)
    try:
        with StopRequests() as requests:
            signal.raise_signal(SIGNAL)
            assert requests.signal is None
        assert signal.getsignal(SIGNAL) is signal.SIG_IGN
    finally:
        signal.signal(SIGNAL, before)


def test_a_thread_may_not_listen_and_works_all_the_same():
    found = []

    def listen():
        with StopRequests() as requests, requests.at_a_step():
            found.append(requests.signal)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [None]
