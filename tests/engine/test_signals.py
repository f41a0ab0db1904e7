"""What ends a command: every kind of signal, in a loop and between loops, and what was ignored stays ignored."""

import os
import signal

import pytest

from gssl.engine import dist, signals
from gssl.engine.signals import CODES, Signals, Terminated, ending, received


@pytest.mark.parametrize(("number", "code"), list(CODES.items()))
def test_in_a_loop_a_signal_is_a_flag(number, code):
    with Signals() as found:
        os.kill(os.getpid(), number)
        assert found.code == code
    assert signal.getsignal(number) != found._note


def test_the_first_signal_counts_and_a_second_ctrl_c_stops_at_once():
    with Signals() as found:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert found.code == 75


def test_a_ctrl_c_that_is_passed_on_is_no_second_one(monkeypatch):
    monkeypatch.setattr(dist, "_joined", dist.Group(rank=1, count=2))
    with Signals() as found:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert found.code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", list(CODES))
def test_outside_of_a_loop_a_signal_ends_the_command_whatever_becomes_of_it(number):
    def swallowing():  # as a library may
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ValueError("something else") from None

    with ending(), pytest.raises(ValueError, match="something else"):
        swallowing()
    assert received() == CODES[number]
    with ending():
        assert received() == 0  # a new command
        with ending(), pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Terminated):
            os.kill(os.getpid(), number)
        assert received() == CODES[number]


def test_what_was_ignored_stays_ignored():
    """`nohup gssl …` goes on when the terminal has gone."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as found, ending():
            os.kill(os.getpid(), signal.SIGHUP)
        assert found.code == 0 and signals.received() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
