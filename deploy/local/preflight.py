"""What this machine lacks, on one screen, with the command that installs it. Runs before anything is installed.

    python3 -m deploy.local.preflight [lint]

Only the standard library, and nothing that an old Python cannot read: telling that Python is too old is the first job.
`lint` asks for what the checks without servers need. Exit code 2 when something is missing.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

PYTHON_MIN = (3, 11)
MEMORY_MB_MIN = 1_500
DISK_MB_MIN = 2_000
CONNECT_TIMEOUT_S = 5.0


def python_findings() -> list[tuple[bool, str, str, str, str]]:
    """Return what is to say of Python itself."""
    version = sys.version.split()[0]
    found = [
        (
            sys.version_info >= PYTHON_MIN,
            "Python 3.11 or later",
            f"{version} at {sys.executable}",
            "apt-get install python3.11 python3.11-venv",
            "brew install python@3.12",
        )
    ]
    has_venv = importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None
    state = "there" if has_venv else "missing: Debian packs it apart"
    found.append((has_venv, "Python's venv module", state, "apt-get install python3-venv", "brew install python@3.12"))
    return found


def kafka_findings() -> list[tuple[bool, str, str, str, str]]:
    """Return what is to say of Kafka: a named cluster, an unpacked distribution, or Maven's jars."""
    from deploy.local.cache import cache_directory
    from deploy.local.java import system_java

    if named := os.environ.get("TAILRACE_KAFKA"):
        refusal = _unreachable(named)
        state = f"the cluster at {named} (TAILRACE_KAFKA){refusal}"
        return [(not refusal, "Kafka", state, "unset TAILRACE_KAFKA", "unset TAILRACE_KAFKA")]
    java = system_java()
    java_state = java or "none on this machine: one will come from the Python package index"
    found = [(True, "Java 17 or later", java_state, "", "")]
    if home := os.environ.get("KAFKA_HOME"):
        there = (Path(home) / "libs").is_dir()
        state = home if there else f"KAFKA_HOME={home} has no `libs` directory"
        found.append((there, "Kafka", state, "unset KAFKA_HOME", "unset KAFKA_HOME"))
        return found
    cached = any(cache_directory().glob("kafka-*"))
    maven = shutil.which("mvn")
    state = "jars in the cache" if cached else maven or "missing: it fetches Kafka's jars, once"
    found.append(
        (
            cached or maven is not None,
            "Maven",
            state,
            "apt-get install maven openjdk-17-jre-headless",
            "brew install maven",
        )
    )
    return found


def _unreachable(addresses: str) -> str:
    """Return what is wrong with a cluster of which no broker takes a connection; nothing if one does."""
    reasons = []
    for address in addresses.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdigit():
            reasons.append(f"{address} is not host:port")
            continue
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            reasons.append(f"{address}: {error}")
        else:
            return ""
    return f" does not answer: {'; '.join(reasons)}"


def postgresql_findings() -> list[tuple[bool, str, str, str, str]]:
    """Return what is to say of PostgreSQL: a named installation, or the wheel."""
    from deploy.local.cache import LocalServerError
    from deploy.local.postgresql import server_user

    found = []
    if named := os.environ.get("TAILRACE_PG_BIN"):
        there = (Path(named) / "postgres").is_file()
        state = named if there else f"TAILRACE_PG_BIN={named} holds no program `postgres`"
        found.append((there, "PostgreSQL", state, "unset TAILRACE_PG_BIN", "unset TAILRACE_PG_BIN"))
    else:
        known = (platform.system(), platform.machine()) in {
            ("Linux", "x86_64"),
            ("Linux", "aarch64"),
            ("Darwin", "arm64"),
            ("Darwin", "x86_64"),
        }
        state = "16 and 18 from a Python wheel" if known else f"no wheel for {platform.system()} {platform.machine()}"
        how = "install PostgreSQL 16 or later and set TAILRACE_PG_BIN to its bin directory"
        found.append((known, "PostgreSQL", state, how, how))
    try:
        server_user()
    except LocalServerError as error:
        found.append((False, "A user for PostgreSQL", str(error), "adduser --system postgres", ""))
    return found


def machine_findings() -> list[tuple[bool, str, str, str, str]]:
    """Return what is to say of memory and disk."""
    from deploy.local.cache import cache_directory

    cache = cache_directory()
    free_mb = shutil.disk_usage(cache).free >> 20
    how = f"free some space, or set TAILRACE_CACHE (now {cache}) and TMPDIR"
    found = [(free_mb >= DISK_MB_MIN, f"{DISK_MB_MIN} MB of disk", f"{free_mb} MB free", how, how)]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        how = "a machine with more memory, or TAILRACE_KAFKA=host:port of a cluster elsewhere"
        found.append((memory_mb >= MEMORY_MB_MIN, f"{MEMORY_MB_MIN} MB of memory", f"{memory_mb} MB", how, how))
    return found


def main() -> int:
    """Print the screen; return the exit code."""
    findings = python_findings()
    if all(finding[0] for finding in findings) and sys.argv[1:] != ["lint"]:
        findings += kafka_findings() + postgresql_findings() + machine_findings()
    missing = [finding for finding in findings if not finding[0]]
    if not missing and "--quiet" in sys.argv:
        return 0
    for there, what, state, _, _ in findings:
        print(f"  {'ok     ' if there else 'MISSING'}  {what:24}  {state}")
    if not missing:
        return 0
    print("\nTo install what is missing:")
    for _, what, _, debian, macos in missing:
        print(f"  {what}")
        print(f"    Debian, Ubuntu:  {debian}")
        if macos:
            print(f"    macOS:           {macos}")
    print("\nOr, with Docker and nothing else:  docker compose up")
    return 2


if __name__ == "__main__":
    sys.exit(main())
