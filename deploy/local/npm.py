"""Downloads by npm: one package with what it depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.local.cache import DownloadError, cached, download


def package(name: str, version: str) -> Path:
    """Return the cache's directory with a package and its dependencies in `node_modules`. Raises DownloadError."""

    def make(directory: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise DownloadError(f"{name} needs Node.js with npm")
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error", "--prefix", str(directory)]
        download([npm, "install", *options, f"{name}@{version}"], name)

    return cached(f"{name}-{version}", make)


def node() -> str:
    """Return the path of Node.js. Raises DownloadError."""
    found = shutil.which("node")
    if found is None:
        raise DownloadError("Node.js is not installed")
    return found
