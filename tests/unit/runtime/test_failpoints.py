"""Failpoints: each is in the code, armed by the variable alone, and does what it says to the process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from runtime.failpoints import FAILPOINTS, VARIABLE, arm, hit
from schemas.errors import ErrorKind, TailraceError
from tests.unit.architecture.tree import PACKAGES, python_files, text

DEADLINE_S = 60

PROCESS = """
from runtime import failpoints
failpoints.arm_from_environment()
for _ in range(3):
    failpoints.hit("apply.flush.before")
    failpoints.hit("apply.flush.after")
    print("passed", flush=True)
"""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(None)


def start(failpoint: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if failpoint:
        environment[VARIABLE] = failpoint
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_every_failpoint_stands_once_in_the_code() -> None:
    texts = [text(path) for path in python_files(*PACKAGES)]
    found = Counter(name for each in texts for name in re.findall(r"\bhit\(\"([^\"]+)\"\)", each))
    assert found == dict.fromkeys(FAILPOINTS, 1)


@pytest.mark.parametrize(
    ("failpoint", "code", "passed"),
    [
        (None, 0, 3),
        ("apply.flush.after", -signal.SIGKILL, 0),
        ("apply.flush.before:3", -signal.SIGKILL, 2),
        ("apply.flush.before:4", 0, 3),
        ("apply.write.before", 0, 3),
    ],
)
def test_the_process_dies_when_it_gets_there(failpoint: str | None, code: int, passed: int) -> None:
    process = start(failpoint)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out.count("passed")) == (code, passed), err
    assert err == (f"failpoint {failpoint.partition(':')[0]}\n" if failpoint and code else "")


def test_a_process_that_stands_still_goes_on_when_it_is_told_to() -> None:
    process = start("apply.flush.after:2:stop")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out.count("passed"), err) == (0, 3, "failpoint apply.flush.after\n")


@pytest.mark.parametrize("text", ["apply.flush.aftr", "x", "apply.flush.after:0", "apply.flush.after:1:maim", "a:b"])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    with pytest.raises(TailraceError) as caught:
        arm(text)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    if text == "apply.flush.aftr":
        assert caught.value.remedy == "did you mean apply.flush.after?"
    hit("apply.flush.after")
