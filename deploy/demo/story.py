"""The demo act by act. Every wait is a poll with a generous limit: a slow machine makes it longer, not wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from control.status import Observer, Report, data_topics
from deploy.demo import compare, latency, shop, topic_checks
from deploy.demo.screen import Bar, Screen
from deploy.demo.stage import APPLY, CAPTURE, TARGET, WRITER, DemoError, Stage

LIMIT_S = 300.0
"""The longest that any single wait may take."""

KILL_CAPTURE_AT, KILL_APPLY_AT = 0.15, 0.30
"""Fractions of the full load after which the services are killed."""

STREAM_CHANGES = 4_000
"""Changes at the source before, between and after the kills of the streaming act."""

MARKERS, MARKER_SECONDS_MAX = 200, 25.0


@dataclass(slots=True)
class Results:
    """What the demo measured and found."""

    capture_s: float = 0.0
    """How long until capture had published all rows, its kill included."""
    load_s: float = 0.0
    """How long until the target had them."""
    loaded_rows: int = 0
    outage_s: list[tuple[str, float]] = field(default_factory=list)
    """What was killed, and how long until changes flowed to the target again."""
    latency: latency.Latency | None = None
    written: dict[str, float] = field(default_factory=dict)
    differences: list[compare.TableDifference] = field(default_factory=list)
    topics: topic_checks.Findings = field(default_factory=topic_checks.Findings)
    faults: list[str] = field(default_factory=list)


class Story:
    """The acts, on one stage."""

    def __init__(self, stage: Stage, screen: Screen, rate: float, seed: int) -> None:
        self._stage = stage
        self._screen = screen
        self._rate = rate
        self._seed = seed
        self.results = Results()
        self._marker = 0

    def open(self) -> None:
        """Start the servers and fill the shop."""
        stage = self._stage
        self._screen.step(f"Starting a Kafka broker, and {stage.source.title} and {stage.target.title}")
        stage.start_servers(self._screen.good)
        self._screen.step(f"Filling the sample shop: {len(shop.TABLES)} tables, {shop.ROWS_TOTAL:,} rows")
        bar = self._screen.bar("sample rows", shop.ROWS_TOTAL)
        shop.make(stage.source, bar.advance, everywhere=not stage.same_engine)
        bar.finish()

    def load(self) -> None:
        """Full load under fire: the writer writes, capture and apply are killed in the middle."""
        stage, screen = self._stage, self._screen
        screen.step("Full load and streaming begin, while the shop stays open")
        stage.start_writer(self._rate, self._seed)
        stage.start(CAPTURE)
        stage.start(APPLY)
        began = time.monotonic()
        captured = screen.bar("rows captured into Kafka", shop.ROWS_TOTAL)
        applied = screen.bar("rows in the target", shop.ROWS_TOTAL)
        with Observer(stage.settings) as observer, stage.open_target() as target:

            def progress() -> Report:
                report = observer.look()
                captured.update(_loaded(report))
                applied.update(target.count_rows(shop.TABLES))
                return report

            def reached(bar: Bar, fraction: float) -> bool:
                report = progress()
                return bar.fraction >= fraction or _all_loaded(report)

            stage.wait(lambda: reached(captured, KILL_CAPTURE_AT), "the full load begins", LIMIT_S)
            self._kill(CAPTURE, f"after {captured.fraction:.0%} of the full load")
            stage.start(CAPTURE)
            stage.wait(lambda: reached(applied, KILL_APPLY_AT), "the full load goes on", LIMIT_S)
            self._kill(APPLY, f"with {applied.fraction:.0%} of the rows in the target")
            stage.start(APPLY)
            stage.wait(lambda: _all_loaded(progress()), "the full load ends", LIMIT_S, 0.3)
            captured.finish()
            self.results.capture_s = time.monotonic() - began
            stage.wait(lambda: _caught_up(progress()), "the target catches up with the full load", LIMIT_S, 0.3)
            applied.finish()
        self.results.load_s = time.monotonic() - began
        self.results.loaded_rows = shop.ROWS_TOTAL
        screen.good(f"full load done in {self.results.load_s:.1f} s, kills and restarts included")

    def stream(self) -> None:
        """Streaming under fire."""
        self._screen.step("Streaming goes on; capture and apply are killed again")
        for name in (CAPTURE, APPLY):
            self._let_write(STREAM_CHANGES)
            self._kill(name, "while streaming")
            self._let_write(STREAM_CHANGES // 4)
            restarted = time.monotonic()
            self._stage.start(name)
            self._await_marker(f"changes flow again after the kill of {name}")
            outage = time.monotonic() - restarted
            self.results.outage_s.append((name, outage))
            self._screen.good(f"{name} is back: a new change reached the target {outage:.1f} s after the restart")
        self._let_write(STREAM_CHANGES)

    def measure(self) -> None:
        """Measure the latency with everything running undisturbed."""
        self._screen.step("Measuring latency: from a commit at the source until the row is visible in the target")
        with Observer(self._stage.settings) as observer:
            self._stage.wait(lambda: _caught_up(observer.look()), "the target catches up", LIMIT_S, 0.5)
        bar = self._screen.bar("markers", MARKERS)
        try:
            with self._stage.open_source() as source, self._stage.open_target() as target:
                measured = latency.measure(source, target, self._marker + 1, MARKERS, MARKER_SECONDS_MAX, bar.update)
        except latency.LostMarkerError as error:
            raise DemoError(str(error)) from error
        self._marker += MARKERS
        bar.finish()
        self.results.latency = measured
        self._screen.good(
            f"p50 {measured.p50_ms:.0f} ms, p99 {measured.p99_ms:.0f} ms over {measured.samples} commits,"
            f" beside about {self._rate:.0f} other transactions a second"
        )

    def check(self) -> None:
        """Close the shop and compare everything: rows, topics, and what `tailrace verify` says."""
        stage, screen = self._stage, self._screen
        code = stage.stop(WRITER)
        self.results.written = stage.written()
        screen.step("The shop closes; source and target are compared in every row and column")
        if code != 0:
            self._fault(f"the writer ended with code {code}")
        self._await_marker("the last change arrives")
        self.results.differences = self._compare_until_equal()
        rows = sum(d.source_rows for d in self.results.differences)
        different = [d for d in self.results.differences if not d.equal]
        if different:
            for difference in different:
                self._fault(
                    f"{difference.table}: {difference.only_source} rows only at the source or different,"
                    f" {difference.only_target} only at the target"
                )
                for line in difference.shown:
                    screen.say(f"      {line}")
        else:
            screen.good(f"{rows:,} rows in {len(shop.TABLES)} tables are equal in every column")
        self._check_topics()
        screen.step("tailrace verify, for comparison: checksums computed in the databases")
        if stage.run_command("verify", str(stage.configuration), "--target", TARGET) != 0:
            self._fault("tailrace verify did not end with 0")

    def close(self) -> None:
        """Stop the services in order."""
        self._screen.step("SIGTERM to capture and apply: they drain and end")
        for name in filter(self._stage.has, (CAPTURE, APPLY)):
            code = self._stage.stop(name)
            if code == 0:
                self._screen.good(f"{name} ended with code 0")
            else:
                self._fault(f"{name} ended with code {code}")

    def _check_topics(self) -> None:
        screen = self._screen
        screen.step("The topics are read with stock libraries (confluent-kafka, fastavro)")
        settings = self._stage.settings
        topics = data_topics(settings)
        with Observer(settings) as observer:
            expected = sum(observer.ends(topics).values())
        bar = screen.bar("records read", expected)
        findings = topic_checks.read_topics(self._stage.bootstrap, topics, bar.advance)
        bar.finish()
        self.results.topics = findings
        if findings.sound:
            screen.good(f"{findings.records:,} changes: each commit sequence once, increasing in every partition")
        else:
            self._fault(f"topics: {findings.duplicates} duplicates, {findings.backward} out of order")
        schema = self._stage.source.schema
        rows = {f"{settings.name}.{schema}.{d.table}": d.source_rows for d in self.results.differences}
        wrong = [f.topic for f in findings.topics if f.keyed and f.records and f.live_keys != rows.get(f.topic)]
        if wrong:
            self._fault(f"topics whose last records do not amount to the table: {', '.join(wrong)}")
        else:
            screen.good("the last record of every key agrees with the source about which rows exist")

    def _compare_until_equal(self) -> list[compare.TableDifference]:
        """Compare; where something differs, look again: a partition may be behind the marker's."""
        found: dict[str, compare.TableDifference] = {}
        left = list(shop.TABLES)
        alike = self._stage.same_engine
        with self._stage.open_source() as source, self._stage.open_target() as target:
            bar = self._screen.bar("rows compared", source.count_rows(shop.TABLES))
            for pause_s in (1, 2, 5, 10, 20, 40, 0):
                found |= {
                    table: compare.compare(source, target, table, same_engine=alike, tell=bar.advance) for table in left
                }
                left = [table for table in left if not found[table].equal]
                if not left:
                    bar.finish()
                    break
                time.sleep(pause_s)
        return list(found.values())

    def _kill(self, name: str, when: str) -> None:
        self._screen.bang(f"kill -9 {self._stage.pid(name)} ({name}), {when}")
        self._stage.kill(name, when)

    def _let_write(self, changes: int) -> None:
        goal = self._stage.written()["changes"] + changes
        bar = self._screen.bar("changes at the source", changes)
        start = goal - changes

        def written() -> bool:
            done = self._stage.written()["changes"]
            bar.update(done - start)
            return bool(done >= goal)

        self._stage.wait(written, "the writer writes", LIMIT_S, 0.3)
        bar.finish()

    def _await_marker(self, what: str) -> None:
        """Commit a marker at the source and wait until the target shows it."""
        self._marker += 1
        with self._stage.open_source() as source:
            source.add_marker(self._marker)
        with self._stage.open_target() as target:
            self._stage.wait(lambda: target.has_marker(self._marker), what, LIMIT_S)

    def _fault(self, text: str) -> None:
        self.results.faults.append(text)
        self._screen.bad(text)


def _loaded(report: Report) -> int:
    return sum(table.rows_loaded or 0 for table in report.tables)


def _all_loaded(report: Report) -> bool:
    return len(report.tables) >= len(shop.TABLES) and all(table.state == "loaded" for table in report.tables)


def _caught_up(report: Report) -> bool:
    target = next(iter(report.targets), None)
    # The shop stays open: there are always some records on their way.
    return target is not None and target.lag_records is not None and target.lag_records < 2_000
