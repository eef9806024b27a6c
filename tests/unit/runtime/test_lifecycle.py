"""Stop requests by signal and by call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from runtime.lifecycle import WATCH_S, StoppedError, StopRequest, cancelling
from schemas.errors import ErrorKind, TailraceError


def test_nothing_is_requested_at_first_and_waiting_ends_by_itself() -> None:
    stop = StopRequest()
    assert not stop.stopping
    assert stop.wait(0) is False


def test_a_request_ends_every_wait_now_and_later_and_keeps_its_first_reason() -> None:
    stop = StopRequest()
    waiting = [threading.Thread(target=stop.wait, args=(600,)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    stop.request("first")
    stop.request("second")
    for thread in waiting:
        thread.join(60)
        assert not thread.is_alive()
    assert stop.wait(600) is True
    assert stop.reason == "first"


def test_sigterm_becomes_a_request_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)
        assert stop.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


TOLD_TWICE = (
    "import os, signal\n"
    "from runtime.lifecycle import StopRequest\n"
    "with StopRequest() as stop:\n"
    "    os.kill(os.getpid(), signal.SIGTERM)\n"
    "    stop.wait(60)\n"
    "    os.kill(os.getpid(), signal.SIGTERM)\n"
    "    stop.wait(60)\n"
    "    print('still here')\n"
)


def test_a_second_signal_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD_TWICE], capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == b""


def test_a_second_signal_ends_the_first_process_of_a_container() -> None:
    # The kernel gives it no default actions.
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces here")
    done = subprocess.run([*alone, sys.executable, "-c", TOLD_TWICE], capture_output=True, timeout=120, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == b""


def test_what_a_process_is_in_the_midst_of_is_cancelled_when_it_is_told_to_end() -> None:
    cancelled = threading.Event()

    def call() -> None:
        assert cancelled.wait(60)
        raise TailraceError(ErrorKind.PREREQUISITE, "cancelled")

    with StopRequest() as stop:
        threading.Timer(0.05, stop.request, ["test"]).start()
        with pytest.raises(StoppedError, match="told to end while it waits"), cancelling(cancelled.set, "it waits"):
            call()
        # What has ended well by then is followed by nothing else.
        with pytest.raises(StoppedError), cancelling(cancelled.set, "it waits"):
            pass


def test_nothing_is_cancelled_that_has_ended_and_its_errors_are_its_own() -> None:
    cancelled = threading.Event()
    with StopRequest() as stop:
        with cancelling(cancelled.set, "it waits"):
            pass
        with pytest.raises(TailraceError, match="its own"), cancelling(cancelled.set, "it waits"):
            raise TailraceError(ErrorKind.PREREQUISITE, "its own")
        stop.request("test")
        assert not cancelled.wait(3 * WATCH_S)
