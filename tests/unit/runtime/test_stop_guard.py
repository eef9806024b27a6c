"""A process that does not end when it is told to, and its guard."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from runtime import exit_codes
from runtime.stop_guard import StopGuard

CODE = """
import ctypes, os, signal, threading, time
from runtime.lifecycle import StopRequest
from runtime.stop_guard import StopGuard

asked = []
def hopeless():
    asked.append(1)
    return {answers}

with StopRequest() as stop, StopGuard(hopeless, patience_s=0.1):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    {waits}
print("drained", len(asked))
"""

# As a call into a library that waits for ever: no handler of Python's runs meanwhile.
DEAF = """
    library = ctypes.CDLL(None)
    library.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = ctypes.c_void_p(library.PyThread_allocate_lock())
    for _ in range(2):
        library.PyThread_acquire_lock(lock, 1)
"""


@pytest.mark.parametrize(
    ("answers", "waits", "code", "said"),
    [
        ('"nobody answers"', DEAF, exit_codes.STOPPED, ""),
        # One answer in between is hope.
        ('"late" if len(asked) % 2 else None', "stop.wait(60); time.sleep(1)", exit_codes.OK, "drained"),
        ('"nobody answers"', "stop.wait(60)", exit_codes.OK, "drained 0"),
    ],
)
def test_a_process_ends_in_any_case_but_not_while_there_is_hope(answers: str, waits: str, code: int, said: str) -> None:
    program = CODE.format(answers=answers, waits=waits)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, said in done.stdout) == (code, True), done.stderr
    assert ("nobody answers" in done.stdout + done.stderr) == (code == exit_codes.STOPPED)


def test_what_wakes_the_interpreter_is_given_back() -> None:
    before = signal.set_wakeup_fd(-1)
    with StopGuard(lambda: None):
        pass
    assert signal.set_wakeup_fd(before) == -1
