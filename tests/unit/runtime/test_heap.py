"""The heap of services keeps what was freed: the kernel is not asked for the same memory again and again."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from runtime import heap

SCRIPT = """
import ctypes, resource
from runtime import heap

if {keep}:
    heap.keep()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def records():
    found = [library.malloc(1200) for _ in range(10_000)]
    for record in found:
        library.memset(record, 1, 1200)
    for record in reversed(found):
        library.free(record)


records()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    records()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*, keep: bool) -> int:
    command = [sys.executable, "-c", SCRIPT.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not heap.is_glibc(), reason="another C library")
def test_memory_of_records_is_used_again() -> None:
    # 12 MB have 2,930 pages, which are cleared anew each time otherwise. (Of smaller blocks a thread keeps a few.)
    assert _faults(keep=False) > 10 * _faults(keep=True)


@pytest.mark.parametrize("answer", [OSError(errno.EINVAL, "Invalid argument"), ValueError("unrecognized"), None])
def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, answer: Exception | None) -> None:
    """The first is what musl says."""

    def confstr(_name: str) -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(ctypes, "CDLL", None)
    heap.keep()
