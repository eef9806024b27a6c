"""Programs of Debian's packages: downloaded through apt with a configuration of our own, unpacked, never installed.

They are those of Debian's unstable (sid), whatever release this machine has, and run with the libraries that came with
them. Debian's mirrors keep the newest version of a package only: none can be pinned.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.cache import DownloadError, download

_APT_SETTINGS = """
Dir::Etc::sourcelist "{box}/sid.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "{box}/lists";
Dir::State::status "{box}/status";
Dir::Cache "{box}/cache";
Acquire::Languages "none";
APT::Install-Recommends "false";
"""


def unpack(packages: Sequence[str], directory: Path) -> None:
    """Download packages with all that they depend on, and unpack them into a directory."""
    lines = Path("/etc/apt").rglob("*.list"), Path("/etc/apt").rglob("*.sources")
    text = "\n".join(path.read_text(errors="replace") for paths in lines for path in paths)
    mirror = re.search(r"https?://\S+/debian/?(?=\s|$)", text)
    keys = sorted(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    names = ", ".join(packages)
    if mirror is None or not keys or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise DownloadError(f"the packages {names} need apt with a Debian source")
    with tempfile.TemporaryDirectory() as box:
        for part in ("lists/partial", "cache/archives/partial"):
            (Path(box) / part).mkdir(parents=True)
        (Path(box) / "status").touch()
        (Path(box) / "sid.list").write_text(f"deb [signed-by={keys[0]}] {mirror.group()} sid main\n")
        configuration = Path(box) / "apt.conf"
        configuration.write_text(_APT_SETTINGS.format(box=box))
        environment = {"APT_CONFIG": str(configuration)}
        # apt downloads as a user of its own, who must be able to enter.
        Path(box).chmod(0o755)
        download(["apt-get", "update", "-q"], "the list of Debian's packages", environment)
        download(["apt-get", "install", "--yes", "-q", "--download-only", *packages], names, environment)
        for package in sorted(Path(box).glob("cache/archives/*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(directory)], check=True, capture_output=True)


def command(root: Path, name: str, *libraries: str) -> list[str]:
    """Return the words that run an unpacked program; `libraries` are further folders of `usr/lib`."""
    loaders = sorted(root.glob("usr/lib*/**/ld-linux-x86-64.so.2"))
    programs = sorted(root.glob(f"usr/*bin/{name}"))
    if not loaders or not programs:
        raise DownloadError(f"Debian's packages hold no {name} for this machine")
    folders = ":".join(str(root / "usr" / "lib" / part) for part in ("x86_64-linux-gnu", *libraries))
    return [str(loaders[0]), "--library-path", folders, str(programs[0])]
