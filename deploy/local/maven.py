"""Downloads by Maven: the jars of a pom, or one artifact."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from deploy.local.cache import DownloadError, cached, download
from deploy.local.java import find_java

_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def jars(name: str, pom: Path, title: str) -> Path:
    """Return the cache's directory with the runtime dependencies of `pom`; `name` begins the directory's name.

    Another text of the pom is another directory.
    """

    def make(directory: Path) -> None:
        goal = ["-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        _maven([*goal, f"-DoutputDirectory={directory}"], title)

    return cached(f"{name}-{uuid.uuid5(uuid.NAMESPACE_URL, pom.read_text()).hex[:8]}", make)


def copy_artifact(artifact: str, box: Path, title: str) -> Path:
    """Download `group:name:version:type[:classifier]`, without what it depends on, into the empty directory `box`."""
    _maven([_COPY_GOAL, f"-Dartifact={artifact}", f"-DoutputDirectory={box}"], title)
    (path,) = box.iterdir()
    return path


def _maven(arguments: list[str], title: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise DownloadError(f"{title} needs Maven (`mvn`)")
    # Java asks the user database where home is, we ask $HOME: both must mean the same repository directory.
    options = f"{os.environ.get('MAVEN_OPTS', '')} -Duser.home={Path.home()}".strip()
    home = str(Path(find_java()).resolve().parent.parent)
    download([maven, "-q", "-B", *arguments], title, {"MAVEN_OPTS": options, "JAVA_HOME": home})
