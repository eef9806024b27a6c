"""`make demo TARGETS=s3,opensearch,…`: one capture, several targets at once, each killed, each verified.

Some of the shop's tables, so that imitations of cloud services keep up. What `tailrace verify` says is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml
from rich.table import Table

from control.status import Observer, applied_topics
from deploy.demo.screen import Screen
from deploy.demo.stage import APPLY, CAPTURE, TARGET, WRITER, DemoError, Stage
from deploy.demo.story import LIMIT_S, Story
from deploy.demo.targets import KINDS, Running

TABLES = ("countries", "warehouses", "categories", "products", "customers", "inventory")
"""All of them have a key: a document or a history of changes without one says nothing of a row."""

CHANGES = 3_000
"""Changes at the source after the appliers were killed."""


class FanOut(Story):
    """The acts, on a stage with further targets."""

    def __init__(self, stage: Stage, screen: Screen, rate: float, seed: int, names: list[str]) -> None:
        super().__init__(stage, screen, rate, seed)
        self._others = [Running(name, KINDS[name], stage.directory / f"target-{name}") for name in names]
        stage.at_close += [other.stop for other in self._others]
        self._names = [TARGET, *names]
        self._verified: dict[str, bool] = {}
        self._caught_up_s: dict[str, float] = {}

    def open(self) -> None:
        """Start all servers, and fill the shop."""
        super().open()
        stage, screen = self._stage, self._screen
        screen.step(f"Starting further targets: {', '.join(name for name in self._names if name != TARGET)}")
        with ThreadPoolExecutor(max(1, len(self._others))) as pool:
            starts = {other.name: pool.submit(other.start, stage.bootstrap) for other in self._others}
            sections = {name: start.result() for name, start in starts.items()}
        for other in self._others:
            screen.good(f"{other.name}: {other.kind.title}")
        document: dict[str, Any] = yaml.safe_load(stage.configuration.read_text(encoding="utf-8"))
        schema = document["source"]["tables"][0].partition(".")[0]
        document["source"]["tables"] = [f"{schema}.{table}" for table in TABLES]
        document["targets"] |= sections
        stage.configuration.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def apply(self) -> None:
        """Full load and changes to all targets at once; every applier is killed on its way."""
        stage, screen = self._stage, self._screen
        screen.step(f"One capture, {len(self._names)} targets, while the shop stays open")
        stage.start_writer(self._rate, self._seed)
        stage.start(CAPTURE)
        for name in self._names:
            stage.start_applier(name)
        with Observer(stage.settings) as observer:
            stage.wait(lambda: _is_loaded(observer, len(TABLES)), "the full load is published", LIMIT_S, 0.5)
            screen.good(f"{len(TABLES)} tables are published")
            for name in self._names:
                self._kill(f"{APPLY} {name}", "with rows on their way")
                stage.start_applier(name)
        self._let_write(CHANGES)
        if stage.stop(WRITER) != 0:
            self._fault("the writer did not end with 0")

    def check(self) -> None:
        """Wait until each target has everything, and verify it."""
        stage, screen = self._stage, self._screen
        screen.step("The shop closes; each target catches up, and is compared with the source")
        began = time.monotonic()
        with Observer(stage.settings) as observer:
            self._await_captured(observer)
            goals = observer.ends(applied_topics(stage.settings))
            for name in self._names:
                self._await_target(observer, name, goals)
                self._caught_up_s[name] = time.monotonic() - began
                screen.good(f"{name} has every change, {self._caught_up_s[name]:.0f} s after the last one")
        for name in self._names:
            screen.step(f"tailrace verify --target {name}")
            self._verified[name] = stage.run_command("verify", str(stage.configuration), "--target", name) == 0
            if not self._verified[name]:
                self._fault(f"{name} is not equal to the source")

    def close(self) -> None:
        """Stop the services in order."""
        for name in filter(self._stage.has, (CAPTURE, *(f"{APPLY} {n}" for n in self._names))):
            if self._stage.stop(name) != 0:
                self._fault(f"{name} did not end with 0")

    def summary(self) -> None:
        """Print what became of each target."""
        table = Table(title="Tailrace demo: one capture, several targets", title_style="bold")
        for column in ("target", "caught up after the last change", "tailrace verify"):
            table.add_column(column)
        for name in self._names:
            seconds = self._caught_up_s.get(name)
            equal = "[bold green]equal[/]" if self._verified.get(name) else "[bold red]not equal[/]"
            table.add_row(name, "-" if seconds is None else f"{seconds:.0f} s", equal)
        self._screen.console.print(table)
        for fault in self.results.faults:
            self._screen.bad(fault)

    def _await_target(self, observer: Observer, name: str, goals: Mapping[tuple[str, int], int]) -> None:
        self._stage.wait(lambda: not observer.behind(name, goals), f"{name} has everything", 3 * LIMIT_S, 0.5)

    def _await_captured(self, observer: Observer) -> None:
        """Wait until capture has read the log up to now."""
        from capture.sources import open_source

        source = open_source(self._stage.settings)
        try:
            position = source.current_position().commit
        finally:
            source.close()

        def is_captured() -> bool:
            return int(observer.documents().get("capture", {}).get("position_commit") or 0) >= position

        self._stage.wait(is_captured, "capture has everything", LIMIT_S, 0.3)


def checked(text: str) -> list[str]:
    """Return the targets that a list names. Raises DemoError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise DemoError(f"there is no target {name!r}; known: {', '.join(sorted(KINDS))}")
    return list(dict.fromkeys(names))


def run(stage: Stage, screen: Screen, rate: float, seed: int, names: list[str]) -> bool:
    """Play it; tell whether everything was as it should be."""
    story = FanOut(stage, screen, rate, seed, names)
    for act in (story.open, story.apply, story.check, story.close):
        act()
    story.summary()
    return not story.results.faults


def _is_loaded(observer: Observer, count: int) -> bool:
    report = observer.look()
    return len(report.tables) >= count and all(table.state == "loaded" for table in report.tables)
