"""What the demo shows while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

PLAIN_INTERVAL_S = 5.0
"""How often a bar becomes a line where there is no terminal."""


class Bar:
    """One thing in progress."""

    def __init__(self, screen: Screen, name: str, total: int) -> None:
        self._screen = screen
        self._name = name
        self._total = max(1, total)
        self._done = 0
        self._told = time.monotonic()
        self._task: TaskID = screen.progress.add_task(name, total=self._total)

    def update(self, done: int) -> None:
        """Set how much is done; it never goes back."""
        self._done = max(self._done, min(done, self._total))
        self._screen.progress.update(self._task, completed=self._done)
        is_due = time.monotonic() - self._told > PLAIN_INTERVAL_S and self._done < self._total
        if not self._screen.live and is_due:
            self._told = time.monotonic()
            self._screen.say(f"  {self._name}: {self._done:,} of {self._total:,}")

    def advance(self, more: int) -> None:
        """Add to what is done."""
        self.update(self._done + more)

    def finish(self) -> None:
        """All is done."""
        self.update(self._total)
        if not self._screen.live:
            self._screen.say(f"  {self._name}: {self._total:,}, done")

    @property
    def fraction(self) -> float:
        """How much of the whole is done."""
        return self._done / self._total


class Screen:
    """The terminal, or whatever stands for it."""

    def __init__(self) -> None:
        # Without a terminal nobody wraps: a log keeps its columns.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        self.live = self.console.is_terminal
        self._began = time.monotonic()
        self.progress = Progress(
            TextColumn("  {task.description:28}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.live,
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def bar(self, name: str, total: int) -> Bar:
        """Begin to show the progress of something."""
        return Bar(self, name, total)

    def step(self, text: str) -> None:
        """Say that a new part begins."""
        self.say(text, style="bold cyan")

    def good(self, text: str) -> None:
        """Say that something is as it should be."""
        self.say(f"  ✔ {text}", style="green")

    def bad(self, text: str) -> None:
        """Say that something is not as it should be."""
        self.say(f"  ✘ {text}", style="bold red")

    def bang(self, text: str) -> None:
        """Say that something was broken on purpose."""
        self.say(f"  ⚡ {text}", style="bold yellow")

    def say(self, text: str, style: str = "") -> None:
        """Print a line, with the seconds since the beginning."""
        seconds = time.monotonic() - self._began
        self.console.print(Text.assemble((f"{seconds:6.1f} s ", "dim"), (text, style)), soft_wrap=True)
