"""A disk of a few megabytes, to be filled up: a file system in memory, mounted for a test that has the right to."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK = bytes(1 << 20)


class SmallDisk:
    """A mounted disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            for block in (BLOCK, BLOCK[:4096], b"0"):
                try:
                    while file.write(block) == len(block):
                        continue
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(directory: Path, size_mib: int, owner: int | None = None) -> Iterator[SmallDisk | None]:
    """Mount a disk at `directory`, which must be empty, for a user; None where that is not allowed."""
    directory.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        if owner is not None:
            os.chown(directory, owner, -1)
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
