"""`python -m deploy.demo`: run the demo, print its summary; exit code 0 only if everything was as it should be."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from control.topics import commands, sample
from deploy.demo import fan_out
from deploy.demo.screen import Screen
from deploy.demo.shop import PRODUCTS
from deploy.demo.stage import TARGET, DemoError, Stage
from deploy.demo.story import Results, Story
from deploy.local.cache import LocalServerError
from deploy.local.postgresql import PASSWORD
from schemas.errors import TailraceError

OK, FAILED = 0, 1
TAILRACE = shlex.quote(str(Path(sys.executable).with_name("tailrace")))
"""The program of the environment that the demo runs in."""


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    keep_default = os.environ.get("KEEP", "") not in ("", "0")
    parser.add_argument("--keep", action="store_true", default=keep_default, help="leave everything running (KEEP=1)")
    for side in ("source", "target"):
        default = os.environ.get(side.upper()) or "postgresql"
        parser.add_argument(
            f"--{side}", choices=PRODUCTS, default=default, help=f"what the {side} is ({side.upper()}=…)"
        )
    parser.add_argument("--rate", type=float, default=250.0, help="transactions a second of the writer")
    parser.add_argument("--seed", type=int, default=1, help="of the writer")
    further = "further targets, with commas between them (TARGETS=s3,opensearch)"
    parser.add_argument("--targets", default=os.environ.get("TARGETS", ""), help=further)
    parser.add_argument("--directory", type=Path, help="where data and logs go; kept if given")
    arguments = parser.parse_args()
    # A terminated demo cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = Stage(arguments.directory, arguments.source, arguments.target)
    failed = True
    try:
        with Screen() as screen:
            if arguments.targets:
                failed = not _fan_out(stage, screen, arguments)
                return FAILED if failed else OK
            story = Story(stage, screen, arguments.rate, arguments.seed)
            failed = not _play(story, screen)
            if not arguments.keep:
                story.close()
                failed = failed or bool(story.results.faults)
        summary(stage, screen, story.results, failed=failed)
        if arguments.keep and not failed:
            _keep(stage, screen)
    except KeyboardInterrupt:
        print("Interrupted: stopping everything.", file=sys.stderr)
    finally:
        # Cleaning up is not interrupted: whoever asks twice waits some seconds.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        stage.close(keep_files=failed or arguments.directory is not None)
    if failed:
        print(f"Logs and data are kept in {stage.directory}", file=sys.stderr)
    return FAILED if failed else OK


def _fan_out(stage: Stage, screen: Screen, arguments: argparse.Namespace) -> bool:
    """Play the story of several targets; tell whether everything was as it should be."""
    try:
        names = fan_out.checked(arguments.targets)
        return fan_out.run(stage, screen, arguments.rate, arguments.seed, names)
    except (DemoError, LocalServerError, TailraceError) as error:
        screen.bad(str(error))
        return False


def _play(story: Story, screen: Screen) -> bool:
    """Play all acts; tell whether everything was as it should be."""
    try:
        for act in (story.open, story.load, story.stream, story.measure, story.check):
            act()
    except (DemoError, LocalServerError, TailraceError) as error:
        screen.bad(str(error))
        return False
    return not story.results.faults


def summary(stage: Stage, screen: Screen, results: Results, *, failed: bool) -> None:
    """Print what was measured, and what to look at."""
    written, measured = results.written, results.latency
    table = Table(title="Tailrace demo", show_header=False, title_style="bold")
    rows = sum(d.source_rows for d in results.differences)
    for what, seconds in (("full load into Kafka", results.capture_s), ("… and into the target", results.load_s)):
        if seconds:
            speed = f"{results.loaded_rows / seconds:,.0f} rows/s"
            table.add_row(
                what, f"{results.loaded_rows:,} rows in {seconds:.1f} s, {speed}, kills and start-up included"
            )
    if written:
        rate = written["changes"] / max(written["seconds"], 1e-9)
        changes = f"{written['changes']:,.0f} row changes in {written['transactions']:,.0f} transactions"
        table.add_row("written meanwhile", f"{changes}, {rate:,.0f} changes/s")
    table.add_row("kill -9", "; ".join(stage.kills) or "none")
    table.add_row("back after", "; ".join(f"{name} {seconds:.1f} s" for name, seconds in results.outage_s) or "-")
    if measured:
        table.add_row("latency", f"p50 {measured.p50_ms:.0f} ms, p99 {measured.p99_ms:.0f} ms, commit to visible")
    different = sum(not d.equal for d in results.differences)
    table.add_row("compared", f"{rows:,} rows in {len(results.differences)} tables, {different} tables differ")
    topics = results.topics
    faults = f"{topics.duplicates} duplicates, {topics.backward} out of order"
    table.add_row("topics", f"{topics.records:,} changes in {len(topics.topics)} topics, {faults}")
    table.add_row("result", "[bold red]FAILED[/]" if failed else "[bold green]source = target[/]")
    if topics.topics:
        _show_topics(stage, screen, results)
    screen.console.print(table)
    for fault in results.faults:
        screen.bad(fault)


def _show_topics(stage: Stage, screen: Screen, results: Results) -> None:
    """Show what the topics hold, and the commands to look at them."""
    table = Table(title="Topics", title_style="bold")
    operations = {"r": "read", "c": "created", "u": "updated", "d": "deleted", "t": "truncated"}
    for column in ("topic", "records", *operations.values()):
        table.add_column(column, justify="left" if column == "topic" else "right", overflow="fold")
    for facts in results.topics.topics:
        counts = [f"{facts.operations.get(operation, 0):,}" for operation in operations]
        table.add_row(facts.topic, f"{facts.records:,}", *counts)
    lines = [Text("To look at them yourself (make demo KEEP=1 leaves everything running):", style="bold")]
    # Loopback servers for an hour: their password is no secret.
    read = f"DEMO_PASSWORD={PASSWORD} {TAILRACE} debug read {shlex.quote(str(stage.configuration))}"
    for what, command in commands(stage.settings, sample(stage.settings), read=read, scripts=stage.scripts):
        lines += [Text(f"  # {what}", style="dim"), Text(f"  {command}")]
    screen.console.print(table)
    for line in lines:
        # For copying: not wrapped.
        screen.console.print(line, soft_wrap=True)


def _keep(stage: Stage, screen: Screen) -> None:
    """Say how to look at everything, and wait to be told to stop."""
    configuration = shlex.quote(str(stage.configuration))
    screen.console.print(
        f"""
Servers, capture and apply are still running; the writer has ended, so the source changes only by your hand.
In another terminal:
  export DEMO_PASSWORD={PASSWORD}
  {TAILRACE} status {configuration} --watch
  {TAILRACE} topics {configuration}
  {TAILRACE} debug read {configuration} {stage.settings.name}.{stage.source.schema}.orders --max 5
  {TAILRACE} verify {configuration} --target {TARGET}
  source: {stage.source.url}
  target: {stage.target.url}
Ctrl-C here, or `kill {os.getpid()}`, stops and removes all of it.""",
        soft_wrap=True,
    )
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        screen.console.print("Stopping everything.")


if __name__ == "__main__":
    sys.exit(main())
