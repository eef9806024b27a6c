"""What servers in a JVM have in common that a class of a few lines starts: `Launcher.java`, compiled by Java itself."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from deploy.local.java import find_java
from deploy.local.maven import jars
from deploy.local.server import LocalServer

ROOT = Path(__file__).resolve().parent.parent


class LauncherServer(LocalServer):
    """One server whose launcher and list of jars (`pom.xml`) are in a directory beside this one."""

    name: ClassVar[str]
    """Of that directory."""
    heap: ClassVar[str]
    """Java's option for it."""
    start_timeout_s = 300.0

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def jars(cls) -> Path:
        """Return the directory of the jars, downloaded once. Raises DownloadError."""
        return jars(cls.name, cls.home() / "pom.xml", cls.title)

    @classmethod
    def home(cls) -> Path:
        """Return the directory of the launcher."""
        return ROOT / cls.name

    @abstractmethod
    def _arguments(self) -> list[str]:
        """Return what the launcher is told."""

    def _prepare(self) -> None:
        self.jars()

    def _command(self) -> list[str]:
        # A server whose memory is full would go on, and answer nothing.
        virtual_machine = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]
        options = [self.heap, *virtual_machine, "-cp", f"{self.jars()}/*"]
        return [find_java(), *options, str(self.home() / "Launcher.java"), *self._arguments()]
