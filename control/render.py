"""Reports as a person wants to see them in a terminal. Nothing here decides anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from control.status import ENDED
from schemas.errors import TailraceError
from schemas.findings import Finding, Severity

if TYPE_CHECKING:
    from control.mappings import Explanation, Preview
    from control.parked import ParkedKey
    from control.plan import Report as Plan
    from control.status import Report as Status
    from control.status import TargetStatus
    from control.topics import Report as Topics
    from control.verify.comparison import Report as Verification
    from control.verify.comparison import TableResult

# Without a terminal nobody wraps: what is piped should keep its columns.
console = Console(width=None if Console().is_terminal else 200)

_STYLES = {Severity.BLOCKS: "bold red", Severity.WARNS: "yellow", Severity.NOTE: "dim"}
_STATE_STYLES = {"running": "green", "failed": "bold red", "silent": "red", "standby": "cyan", "stopped": "yellow"}
_STATE_STYLES |= {"paused": "yellow"}
HEARD_LATE_S = 3.0
"""A process that lives writes its status every second or so; what it said longer ago is shown with its age."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int | None) -> str:
    """Print a number of bytes."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def duration(milliseconds: float | None) -> str:
    """Print a duration."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 60_000:.0f} min"


def number(value: float | None) -> str:
    """Print a count."""
    return "-" if value is None else f"{value:,.0f}"


def plan(report: Plan, *, columns: bool) -> None:
    """Print a plan: tables, mappings worth a look, findings with the statements that repair them."""
    console.print(f"[bold]Plan of {escape(report.replication)}[/]: reached {escape('; '.join(report.reached) or '-')}")
    table = _table("table", "rows ≈", "key", "columns", "topic")
    for planned in report.tables:
        key = ", ".join(planned.key) or "none"
        rows = "not analysed" if planned.rows_estimated is None else number(planned.rows_estimated)
        cells = (str(planned.name), rows, key, str(len(planned.columns)), planned.topic)
        table.add_row(*map(escape, cells))
    if table.row_count:
        console.print(table)
    mappings = _table("table", "column", "source type", "on the wire", "note")
    for planned in report.tables:
        for column in planned.columns:
            if columns or column.note:
                cells = (str(planned.name), column.name, column.source, column.wire, column.note or "")
                mappings.add_row(*map(escape, cells))
    if mappings.row_count:
        console.print(mappings)
    for placed in report.findings:
        finding = placed.finding
        where = f" {finding.table}" if finding.table else ""
        heading = Text(f"{finding.severity} ", style=_STYLES[finding.severity])
        heading.append(f"{placed.place}{where}: {finding.message} [{finding.code}]", style="default")
        console.print(heading)
        if finding.remedy:
            # Statements are for copying: not wrapped, not coloured.
            console.print(Text("\n".join(f"    {line}" for line in finding.remedy.splitlines())), soft_wrap=True)
    blocking = sum(placed.finding.severity is Severity.BLOCKS for placed in report.findings)
    console.print(f"[bold red]{blocking} finding(s) block a run[/]" if blocking else "[green]nothing blocks a run[/]")


def status(report: Status) -> None:
    """Print the state of a replication once."""
    console.print(_status(report))


def watch_status(look: Callable[[], Status], interval_s: float) -> None:
    """Show the state of a replication until interrupted. A cluster that does not answer for a while is said so."""
    with suppress(KeyboardInterrupt), Live(_status(look()), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(interval_s)
            try:
                live.update(_status(look()))
            except TailraceError as error:
                live.update(Text(str(error), style="red"))


def _status(report: Status) -> RenderableType:
    source = report.source
    facts = report.capture.facts if report.capture else {}
    head = Table.grid(padding=(0, 2))
    age_s = report.capture.age_s if report.capture else None
    head.add_row("[bold]capture[/]", _state(report.state, age_s), escape(report.phase or ""))
    head.add_row("", "position", f"{source.get('position', '-')} of {source.get('end', '-')}")
    transactions = source.get("lag_transactions")
    lag = size(source.get("lag_bytes")) if transactions is None else f"{number(transactions)} transactions"
    head.add_row("", "lag", f"{lag}, {duration(source.get('lag_ms'))}")
    head.add_row("", "log retained at the source", size(source.get("retained_bytes")))
    if source.get("log_left_bytes") is not None:
        head.add_row("", "until it is given up", size(source["log_left_bytes"]))
    head.add_row("", "published", f"{number(facts.get('rows'))} rows, {number(facts.get('rows_per_s'))}/s")
    if report.standbys:
        head.add_row("", "standbys", str(report.standbys))
    parts: list[RenderableType] = [head]
    if error := facts.get("error"):
        parts.append(_error("capture", error))
    if report.tables:
        parts.append(_load_table(report))
    targets = _table("target", "state", "appliers", "lag, records", "lag, time", "applied", "rows/s", "parked")
    for target in report.targets:
        live = sum(i.state == "running" for i in target.instances)
        counts = (number(target.lag_records), duration(target.lag_ms), number(target.rows), number(target.rows_per_s))
        age_s = min((instance.age_s for instance in target.instances), default=None)
        targets.add_row(escape(target.name), _state(target.state, age_s), str(live), *counts, str(target.parked))
    if targets.row_count:
        parts.append(targets)
    parts += [part for target in report.targets for part in _target_details(target)]
    parts += [Text(f"note: {note}", style="yellow") for note in report.notes]
    return Group(*parts)


def _load_table(report: Status) -> Table:
    table = _table("table", "state", "rows loaded", "of about", "chunks")
    for entry in report.tables:
        chunks = f"{entry.chunks_done}/{entry.chunks}" if entry.chunks is not None else "-"
        counts = (number(entry.rows_loaded), number(entry.rows_estimated))
        table.add_row(escape(entry.name), _state(entry.state), *counts, chunks)
    return table


def _target_details(target: TargetStatus) -> Iterator[RenderableType]:
    for topic, left in sorted(target.topics.items(), key=lambda item: -item[1])[:5]:
        yield Text(f"  {target.name}: {left:,} records behind on {topic}", style="dim")
    for instance in target.instances:
        for wait in instance.facts.get("waits") or ():
            rows, since = f"{number(wait['keys'])} rows of {wait['table']}", duration(1000 * wait["seconds"])
            yield Text(f"  {instance.component}: {rows} wait for others, {since}: {wait['for']}", style="yellow")
        if error := instance.facts.get("error"):
            yield _error(instance.component, error)


def _error(component: str, error: dict[str, str]) -> Text:
    text = Text(f"{component}: ", style="bold red")
    text.append(f"{error.get('kind', 'error')}: {error.get('message', '')}", style="red")
    if error.get("remedy"):
        text.append(f"\n    remedy: {error['remedy']}", style="default")
    return text


def _state(state: str, age_s: float | None = None) -> str:
    """Return a state in its colour. `age_s`: how long ago it was said, shown where that is long for one that lives."""
    style = _STATE_STYLES.get(state)
    shown = f"[{style}]{escape(state)}[/]" if style else escape(state)
    if age_s is None or age_s < HEARD_LATE_S or state in ENDED:
        return shown
    return f"{shown}, last heard of {duration(age_s * 1000)} ago"


class VerifyProgress:
    """Shows how far a comparison is."""

    def __init__(self, *, enabled: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not enabled,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, table: str) -> None:
        """A table's comparison begins."""
        self._task = self._progress.add_task(escape(table), total=1.0, note="")

    def advance(self, fraction: float) -> None:
        """A fraction of its first scan is done."""
        if self._task is not None:
            self._progress.advance(self._task, fraction)

    def note(self, text: str) -> None:
        """Something else is being done with it."""
        if self._task is not None:
            self._progress.update(self._task, note=escape(text))

    def finish(self, result: TableResult) -> None:
        """It ended."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def verify_progress(*, enabled: bool) -> Iterator[VerifyProgress]:
    """Show a comparison's progress while it runs, on a terminal."""
    with VerifyProgress(enabled=enabled and console.is_terminal) as progress:
        yield progress


def verify(report: Verification) -> None:
    """Print what a comparison found."""
    table = _table("table", "source rows", "target rows", "differing", "moving", "tries", "result")
    for result in report.tables:
        counts = (result.source_rows, result.target_rows, result.differing, result.moving)
        verdict = _verdict(result, "equal", result.error or "different")
        table.add_row(escape(result.table), *map(number, counts), str(result.tries), verdict)
    console.print(table)
    for result in report.tables:
        for difference in result.differences:
            key = ", ".join("null" if part is None else part for part in difference.key)
            console.print(Text(f"{result.table}: {difference.kind}: ({key})"), soft_wrap=True)
        if result.differing > len(result.differences):
            console.print(f"{escape(result.table)}: … and {result.differing - len(result.differences):,} more")
        if result.unexamined:
            text = f"{result.unexamined:,} rows of differing buckets not looked at: undecided"
            console.print(f"{escape(result.table)}: {text}")
        if result.behind and not result.equal:
            text = f"{result.table}: the target had not caught up within the wait: these may be mere lag"
            console.print(Text(text, style="yellow"))
        if result.moving:
            console.print(f"{escape(result.table)}: {result.moving:,} keys changed during every try: undecided")
    if report.unrecorded:
        text = f"the target's awsdms_validation_failures_v1 could not be written: {report.unrecorded}"
        console.print(Text(text, style="yellow"))
    console.print(_verdict(report, "no differences", "differences found"))


def _verdict(found: TableResult | Verification, equal: str, different: str) -> str:
    if found.undecided:
        return "[yellow]undecided[/]"
    return f"[green]{equal}[/]" if found.equal else f"[bold red]{escape(different)}[/]"


def topics(report: Topics) -> None:
    """Print the topics and how to read them."""
    table = _table("topic", "content", "partitions", "cleanup", "offsets")
    for facts in report.topics:
        counts = (
            (str(facts.partitions), facts.cleanup, number(facts.offsets)) if facts.exists else ("not there", "", "")
        )
        table.add_row(escape(facts.name), escape(facts.content), *counts)
    console.print(table)
    for what, command in report.commands:
        console.print(Text(f"# {what}", style="dim"))
        console.print(Text(command), soft_wrap=True)


def parked(rows: Sequence[ParkedKey]) -> None:
    """Print the parked keys of a target."""
    table = _table("id", "topic", "waiting", "error", "since")
    for row in rows:
        table.add_row(*map(escape, (row.identifier, row.topic, str(row.waiting), row.error, row.since)))
    console.print(table if rows else "nothing is parked")


def mappings(explained: Sequence[Explanation]) -> None:
    """Print what each rule of table mappings says."""
    table = _table("rule", "meaning", "remark")
    for one in explained:
        table.add_row(escape(one.rule_id), Text(one.meaning), Text(one.remark, style="red" if one.blocks else ""))
    console.print(table)


def preview(one: Preview | Finding) -> None:
    """Print a table's rows before and after its mappings, or a rule that is about none."""
    if isinstance(one, Finding):
        console.print(Text(f"{one.severity} {one.message}", style=_STYLES[one.severity]), soft_wrap=True)
        return
    for schema, rows in ((one.source, one.before), (one.target, one.after)):
        table = _table(*(escape(f"{column.name}\n{column.native}") for column in schema.columns))
        table.title = escape(f"{'from' if schema is one.source else 'to'} {schema.name}")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    if one.left_out:
        console.print(Text(f"left out: {', '.join(one.left_out)}"))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numeric = (
        "rows",
        "lag",
        "parti",
        "offsets",
        "applied",
        "differing",
        "moving",
        "tries",
        "waiting",
        "parked",
        "of a",
    )
    for column in columns:
        table.add_column(column, justify="right" if column.startswith(numeric) else "left", overflow="fold")
    return table
