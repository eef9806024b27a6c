"""Results as Markdown tables, which read well on a screen, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks.databases.shapes import SHAPES, changes

ENGINES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
STAGES = {
    "rows": "{} rows → Kafka",
    "log": "{} log → Kafka",
    "apply rows": "Kafka → {}, full load",
    "apply changes": "Kafka → {}, changes",
}
SIDES = {"ours": "Tailrace", "peer": "Debezium"}
_BESIDE = ("ours /s", "peer /s", "times", "ours /CPU-s", "peer /CPU-s", "times", "memory, MiB", "bytes on the topic")
_PARTS = ("Python's interpreter", "the compiled twin", "librdkafka", "confluent-kafka", "libc", "the kernel")
"""Of a profile's libraries, those that every stage has."""
FIRST_SHAPE = "orders"

Entry = dict[str, Any]


def ours(results: Entry) -> str:
    """Return our stages, by themselves."""
    head = ("stage", "events/s", "events per CPU-second", "with start", "peak memory", "bytes on the topic")
    rows = [
        (
            s["title"],
            f"{s['events_per_s']:,.0f}",
            f"{s['events_per_cpu_s']:,.0f}",
            f"{s['events_per_cpu_s_with_start']:,.0f}",
            f"{s['memory_peak_mib']:.0f} MiB",
            "" if s["topic_bytes_per_event"] is None else f"{s['topic_bytes_per_event']:.0f} per event",
        )
        for s in results["stages"]
    ]
    waits = [(f"{entry['wanted_per_s']:,}/s", *_delays(entry)) for entry in results["latencies"]]
    limits = [(f"`{entry['name']}`", f"{entry['events_per_s']:,.0f}") for entry in results["limits"]]
    return "\n\n".join(
        [
            table(head, rows),
            table(("commit at source → commit at target", *_DELAYS), waits),
            table(("limit", "rows or changes per second"), limits),
        ]
    )


_DELAYS = ("achieved", "p50", "p95", "p99", "max")


def _delays(entry: Entry) -> tuple[str, ...]:
    shown = (f"{entry[f'{name}_ms']:,.0f} ms" for name in ("p50", "p95", "p99", "max"))
    return f"{entry['achieved_per_s']:,.0f}/s", *shown


def comparison(results: Entry) -> str:
    """Return all figures of both sides, and how many times the peer's ours are."""
    parts = [headline(results), shapes(results), latencies(results), limits(results)]
    return "\n\n".join(part for part in parts if part)


def headline(results: Entry) -> str:
    """Return both sides' figures of the ten-column table, a table for each database."""
    sizes = _topic_bytes(results)
    found = []
    for engine in ENGINES:
        entries = [e for e in results["summary"] if e["shape"] == FIRST_SHAPE and e["engine"] == engine]
        rows = [(stage_title(entry), entry["encoding"], *_beside(entry, sizes)) for entry in _ordered(entries)]
        found.append(table(("stage", "encoding", *_BESIDE), rows))
    return "\n\n".join(part for part in found if part)


def spans(results: Entry) -> str:
    """Return, for each stage, the least and the most that ours does of the peer's, over all that was measured."""
    rows = []
    for stage, title in STAGES.items():
        entries = [entry for entry in results["summary"] if entry["stage"] == stage]
        if entries:
            spans_ = (sorted(entry[name] for entry in entries) for name in ("times", "times_per_cpu"))
            shown = (f"{found[0]:.1f} to {found[-1]:.1f}" for found in spans_)
            rows.append((title.format("database"), *shown, str(len(entries))))
    return table(("stage", "times the peer per second", "per CPU-second", "comparisons"), rows)


def shapes(results: Entry) -> str:
    """Return both sides' figures of tables of other shapes."""
    entries = [entry for entry in results["summary"] if entry["shape"] != FIRST_SHAPE]
    names = [shape.name for shape in SHAPES]
    entries = sorted(_ordered(entries), key=lambda entry: names.index(entry["shape"]))
    sizes = _topic_bytes(results)
    rows = [
        (entry["shape"], stage_title(entry), entry["encoding"], *_beside(entry, sizes), str(entry["when"])[:10])
        for entry in entries
    ]
    return table(("table", "stage", "encoding", *_BESIDE, "measured"), rows)


def shape_names(results: Entry) -> str:
    """Return what the tables of other shapes are, and how much of them was moved."""
    counts: dict[str, set[int]] = {}
    for entry in results["summary"]:
        counts.setdefault(entry["shape"], set()).add(int(entry["rows"]))
    rows = [
        (
            f"`{shape.name}`",
            shape.title,
            " or ".join(f"{count:,}" for count in sorted(counts[shape.name])),
            " or ".join(f"{changes(count):,}" for count in sorted(counts[shape.name])),
        )
        for shape in SHAPES
        if shape.name in counts and shape.name != FIRST_SHAPE
    ]
    return table(("table", "what it is", "rows", "changes"), rows)


def latencies(results: Entry) -> str:
    """Return both sides' times from commit to commit."""
    entries = sorted(results.get("latencies", []), key=lambda entry: (entry["wanted_per_s"], entry["side"]))
    rows = [
        (f"{entry['wanted_per_s']:,}/s", SIDES[entry["side"]], entry["encoding"], *_delays(entry)) for entry in entries
    ]
    return table(("commit at source → commit at target", "", "encoding", *_DELAYS), rows)


def limits(results: Entry) -> str:
    """Return what the servers' own tools did, a table for each database: its tables by its tools."""
    found = []
    for engine, title in ENGINES.items():
        entries = [entry for entry in results.get("limits", []) if entry["engine"] == engine]
        tools = list(dict.fromkeys(entry["name"] for entry in entries))
        speeds = {(entry["shape"], entry["name"]): f"{entry['events_per_s']:,.0f}" for entry in entries}
        names = [shape.name for shape in SHAPES if any(entry["shape"] == shape.name for entry in entries)]
        rows = [(f"{title}, {name}", *(speeds.get((name, tool), "") for tool in tools)) for name in names]
        found.append(table(("table", *(f"`{tool}`" for tool in tools)), rows))
    return "\n\n".join(part for part in found if part)


def stage_title(entry: Entry) -> str:
    """Return what a stage of a database is called."""
    return STAGES[entry["stage"]].format(ENGINES[entry["engine"]])


def _ordered(entries: Iterable[Entry]) -> list[Entry]:
    engines, stages = list(ENGINES), list(STAGES)
    return sorted(entries, key=lambda e: (engines.index(e["engine"]), stages.index(e["stage"]), e["encoding"]))


def _topic_bytes(results: Entry) -> dict[tuple[str, ...], float]:
    """Return the bytes of an event on the topic by what was measured and the side: the medians of its runs."""
    found: dict[tuple[str, ...], list[float]] = {}
    for run in results.get("runs", []):
        if run["bytes_per_event"] is not None:
            found.setdefault((*_what(run), run["side"]), []).append(run["bytes_per_event"])
    return {key: median(sizes) for key, sizes in found.items()}


def _what(entry: Entry) -> tuple[str, ...]:
    return tuple(entry[name] for name in ("engine", "stage", "shape", "encoding"))


def _beside(entry: Entry, sizes: dict[tuple[str, ...], float]) -> tuple[str, ...]:
    ours, peer = entry["ours"], entry["peer"]
    return (
        f"{ours['events_per_s']:,.0f}",
        f"{peer['events_per_s']:,.0f}",
        f"{entry['times']:.1f}",
        f"{ours['events_per_cpu_s']:,.0f}",
        f"{peer['events_per_cpu_s']:,.0f}",
        f"{entry['times_per_cpu']:.1f}",
        f"{ours['memory_peak_mib']:.0f} / {peer['memory_peak_mib']:,.0f}",
        " / ".join(f"{sizes[key]:,.0f}" for side in SIDES if (key := (*_what(entry), side)) in sizes),
    )


def growth(results: Entry) -> str:
    """Return how each stage's cost grows, a table for each thing that grows."""
    parts = []
    for grows in dict.fromkeys(entry["grows"] for entry in results.get("steps", [])):
        steps = sorted((e for e in results["steps"] if e["grows"] == grows), key=lambda e: int(e["size"]))
        names = list(dict.fromkeys(name for step in steps for name in step["costs"]))
        rows = [(f"{step['size']:,}", *(_spent(step["costs"].get(name)) for name in names)) for step in steps]
        parts.append(table((grows, *names), rows))
    return "\n\n".join(parts)


def _spent(cost: Entry | None) -> str:
    if cost is None:
        return ""
    return f"{cost['seconds']:.1f} s, {cost['cpu_s']:.1f} CPU-s, {cost['memory_mib']:.0f} MiB"


def sinks(results: Entry) -> str:
    """Return what an applier did with each target, what it cost, and how long it waited."""
    rows = [
        (
            entry["title"],
            f"{entry['events_per_s']:,.0f}",
            f"{entry['events_per_cpu_s']:,.0f}",
            f"{1e6 / float(entry['events_per_cpu_s']):.1f} µs",
            f"{entry['worked_s']:.1f} / {entry['waited_s']:.1f} s" if "waited_s" in entry else "",
            f"{entry['memory_mib']:.0f} MiB",
            entry["bound"] if "waited_s" in entry else "",
        )
        for entry in sorted(results.get("targets", []), key=lambda entry: -float(entry["events_per_s"]))
    ]
    return table(
        ("target", "records/s", "per CPU-second", "CPU of a record", "worked / waited", "memory", "bound by"), rows
    )


def options(results: Entry) -> str:
    """Return what rules and policies cost."""
    rules = [(entry["rule"], f"{entry['us']:.2f} µs") for entry in results.get("rules", [])]
    policies = [
        (entry["policy"], f"{entry['events_per_s']:,.0f}", f"{entry['us']:.1f} µs", f"{entry['more']:+.0%}")
        for entry in results.get("policies", [])
    ]
    parts = [
        table(("rule", "of a row of six columns"), rules),
        table(("conflict policies", "changes/s", "CPU of a change", "more than with none"), policies),
    ]
    return "\n\n".join(part for part in parts if part)


def products(results: Entry) -> str:
    """Return other Python programs' figures beside ours."""
    rows = [
        (
            entry["product"],
            entry["stage"],
            f"{entry['events_per_s']:,.0f}",
            f"{entry['events_per_cpu_s']:,.0f}",
            f"{entry['memory_mib']:.0f} MiB",
        )
        for entry in results.get("products", [])
    ]
    left = [f"- {product} was left out ({why.splitlines()[0]})." for product, why in results.get("left", {}).items()]
    found = table(("program", "what it does", "per second", "per CPU-second", "memory"), rows)
    return "\n".join([found, "", *left] if left else [found])


def profiles(results: Entry) -> str:
    """Return what each stage's CPU time goes into: libraries in one table, then the functions of each stage."""
    rows, functions = [], []
    for entry in _ordered(results.get("profiles", [])):
        title = f"{stage_title(entry)}, {entry['encoding']}"
        shares = {share["name"]: float(share["share"]) for share in entry["parts"]}
        known = [shares.get(name, 0.0) for name in _PARTS]
        rows.append((title, *(f"{share:.0%}" for share in (*known, max(0.0, 1 - sum(known))))))
        told = [f"- **{title}**"]
        for name, kind in (("python", "Python"), ("machine_code", "machine code")):
            told.append(f"  - {kind}: {', '.join(_share(share) for share in entry[name])}")
        functions.append("\n".join(told))
    head = ("stage", *(name.removeprefix("the ") for name in _PARTS), "other")
    return "\n\n".join(part for part in (table(head, rows), "\n".join(functions)) if part)


def _share(share: Entry) -> str:
    name, _, where = str(share["name"]).partition(" (")
    return f"`{name}`{f' ({where}' if where else ''} {share['share']:.0%}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; nothing of no rows."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
