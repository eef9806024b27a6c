"""Downloads by Maven: the jars of a pom, or one artifact."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from deploy.local.cache import DownloadError, LocalServerError, cached, download, edition
from deploy.local.java import find_java

# Release 2.8 takes a file as it is; from 3 on the goals want the poms of its parents first, which a mirror may lack.
_GET_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"


def jars(name: str, pom: Path, title: str) -> Path:
    """Return the cache's directory with the runtime dependencies of `pom`; `name` begins the directory's name.

    Another text of the pom is another directory.
    """

    def make(directory: Path) -> None:
        goal = ["-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        _maven([*goal, f"-DoutputDirectory={directory}"], title)

    return cached(f"{name}-{edition(pom.read_text())}", make)


def copy_artifact(artifact: str, box: Path, title: str, sha256: str | None = None) -> Path:
    """Download `group:name:version:type[:classifier]`, without what it depends on, into the empty directory `box`.

    A file of another digest than the given one is a LocalServerError: no test is skipped for it.
    """
    _maven([_GET_GOAL, f"-Dartifact={artifact}", "-Dtransitive=false", f"-Ddest={box}"], title)
    (path,) = box.iterdir()
    with path.open("rb") as file:
        if sha256 not in (None, found := hashlib.file_digest(file, "sha256").hexdigest()):
            raise LocalServerError(f"{title}: {artifact} has the digest {found}, and not {sha256}")
    return path


def _maven(arguments: list[str], title: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise DownloadError(f"{title} needs Maven (`mvn`)")
    # Java asks the user database where home is, we ask $HOME: both must mean the same repository directory.
    options = f"{os.environ.get('MAVEN_OPTS', '')} -Duser.home={Path.home()}".strip()
    home = str(Path(find_java()).resolve().parent.parent)
    # Maven remembers for a day what could not be had, and would not ask again: with -U a second attempt is one.
    download([maven, "-q", "-B", "-U", *arguments], title, {"MAVEN_OPTS": options, "JAVA_HOME": home})
