"""The text of docs/benchmarks.md: what matters first, then everything that was measured, and how."""

from __future__ import annotations

from typing import Any

from benchmarks.page import tables

Results = dict[str, Any]
TOOLS = {
    "LOAD DATA": (
        "`mysql --quick` and `mariadb --quick` write what they select to a file; `LOAD DATA LOCAL` "
        "reads that file into a table with its primary key."
    ),
    "pg_recvlogical": (
        "`pg_recvlogical` reads `pgoutput` in text form to nowhere, its start included: a yardstick, no bound for who "
        "asks for binary values and is counted from the first of them."
    ),
    "mysqlbinlog": "`mysqlbinlog --raw` copies the log's bytes to a file, without looking at them.",
    "mariadb-binlog": "`mariadb-binlog --raw` copies the log's bytes to a file, without looking at them.",
    "kafka-producer-perf-test": (
        "Kafka's producer test sends the same rows as JSON, a million records of them, without transactions."
    ),
}
"""What the tools of the limits do, by how their names begin."""
TWIN = {True: "with the compiled twin", False: "without the compiled twin"}


def page(parts: dict[str, Results], notes: str) -> str:
    """Return the page of all results files, by their names; a file that is not there leaves its section out."""
    sections = [
        _head(parts.get("compare", {})),
        _ours(parts["latest"]),
        _more("How cost grows", GROWTH, parts.get("growth", {}), tables.growth),
        _more("Every target", SINKS, parts.get("sinks", {}), tables.sinks),
        _more("What rules and policies cost", OPTIONS, parts.get("options", {}), tables.options),
        _more("Beside Python programs", PRODUCTS, parts.get("python-peers", {}), tables.products),
        _method(parts.get("compare", {})),
        _more("Profiles", PROFILES, parts.get("profiles", {}), tables.profiles),
        notes,
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _head(compared: Results) -> str:
    if not compared:
        return "# Benchmarks\n\nMade by `make bench`; do not edit. No other product was measured beside."
    others = tables.shapes(compared)
    return f"""\
# Benchmarks

Made by the commands below, from [their results](../benchmarks/results/); do not edit. Tailrace ("ours") beside a
tuned Debezium ("peer"): its connector for Kafka, its JDBC sink for databases, each in a Kafka Connect worker of its
own. Both sides in turn on the same servers, with the same table, topic settings and encoding.
{_when(compared["summary"])}
Rates leave out each side's start; CPU-seconds are all threads of the service. All of it shares two cores, so read
events per CPU-second first: it moves least with other load. These are orders of magnitude of one machine.

{tables.spans(compared)}

The table of ten columns:

{tables.headline(compared)}

{tables.latencies(compared) or "Latency beside the peer was not measured."}

## Tables of other shapes

{others or "Not measured."}

| table    | what it is                                                      |
| -------- | --------------------------------------------------------------- |
| `narrow` | three columns                                                   |
| `wide`   | sixty columns                                                   |
| `texts`  | a text of 10 kB in each row                                     |
| `tiny`   | the ten columns, changed in transactions of one row             |
| `huge`   | the ten columns, all changes in one transaction                 |
| `full`   | the ten columns under `replica identity full`                   |

## Limits

{tables.limits(compared)}

{_about_limits(compared)}"""


def _about_limits(compared: Results) -> str:
    names = [str(entry["name"]) for entry in compared["limits"]]
    return "\n".join(text for tool, text in TOOLS.items() if any(name.startswith(tool) for name in names))


def _when(entries: list[Results]) -> str:
    days = sorted({str(entry["when"])[:10] for entry in entries})
    loads = [entry["machine"][f"load_average_{name}"] for entry in entries for name in ("before", "after")]
    machine, rows = entries[-1]["machine"], sorted({int(entry["rows"]) for entry in entries})
    rounds = sorted({int(entry["rounds"]) for entry in entries})
    twins = {entry["machine"].get("compiled_twin", True) for entry in entries}
    twin = "some with, some without the compiled twin" if len(twins) > 1 else TWIN[twins.pop()]
    return (
        f"Measured on {' and '.join(days)}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, {twin}, with {' or '.join(f'{n:,}' for n in rows)} rows of\n"
        f"each table and half as many changes again; medians of {' or '.join(map(str, rounds))} round(s); the load\n"
        f"average was {min(loads)} to {max(loads)} (each entry's time and load stand in the results)."
    )


def _ours(results: Results) -> str:
    machine = results["machine"]
    return f"""\
## Our stages by themselves

By `make bench` on {results["when"]}, with {results["rows"]:,} rows, medians of {results["rounds"]} round(s); load
average {machine["load_average_before"]} before the run and {machine["load_average_after"]} after it.

{tables.ours(results)}"""


def _more(title: str, text: str, results: Results, shown: Any) -> str:
    if not results:
        return ""
    machine = results["machine"]
    load = f"load average {machine['load_average_before']} before and {machine['load_average_after']} after"
    return f"## {title}\n\n{text.strip()} Last measured {results['when']}, {load}.\n\n{shown(results)}"


GROWTH = """
By `python -m benchmarks.growth`: whole runs, starts included, of small tables, to see what more of something adds.
Two cores are shared with the broker and the database: more processes than that cannot bring more here, only show what
they cost.
"""
SINKS = """
By `python -m benchmarks.sinks`: one applier, defaults, rows and changes of the ten-column table from JSON topics.
Most targets are stand-ins of a service, in one process on the same two cores: they bound what is measured. CPU is that
of the whole run, the start of the process and its libraries included. "Worked" are the applier's CPU-seconds; "waited"
the seconds in which a batch was at the target and no thread of the applier had anything to do, waits for a core not
counted. Both are what every applier says in its status document (`cpu_s`, `waiting_s`). Where it has waited longer than
it has worked, the server bounds; else the applier. Redshift is PostgreSQL behind a relay that reads the bucket for it
(`deploy/local/redshift.py`), whose speed is not Redshift's.
"""
OPTIONS = """
By `python -m benchmarks.options`: rules in one process on batches of rows, CPU time, the best of five; policies as
whole appliers over the same changes, in turn.
"""
PRODUCTS = """
By `python -m benchmarks.python_peers`: the same table and changes from MariaDB to PostgreSQL, each program in turn.
From the start of its processes to the last row or change; ours are a capture and an applier, with Kafka between.
"""

PROFILES = """
By `python -m benchmarks.profile`: shares of each stage's CPU time, start included; all threads by `perf`, Python's
functions (of the time in which Python's lock is held) by py-spy. Librdkafka's threads compress and send; the kernel's
part are the sockets.
"""


def _method(compared: Results) -> str:
    """Return how all of it was measured; what was not measured is not spoken of."""
    entries = compared.get("summary", [])
    others = any(entry["engine"] != "postgresql" for entry in entries)
    return METHOD.format(
        equals="; at MySQL and MariaDB their equals" if others else "",
        broker=BROKER if entries and all(entry.get("warmed_up") for entry in entries) else "",
        avro=AVRO if any(entry["encoding"] == "avro" for entry in entries) else "",
        prompt=PROMPT if compared.get("latencies") else "",
        warm=WARM if compared.get("latencies") else "",
    )


BROKER = """
  Before anything is measured the broker takes 400,000 records of ours in transactions: whoever is first, which is ours,
  would pay for its compiler."""
AVRO = """
- The peer's Avro is written by Apicurio's converter in Confluent's wire format, which Confluent's consumers read:
  Confluent's own converter is in no public repository of Maven's that could be used here."""
PROMPT = " For latency it lingers 0 ms and polls\n  every millisecond."
WARM = "; both sides after twenty seconds of 1,000/s in the comparison"
METHOD = """
## What is measured

- The table has ten columns (`bigint`, `varchar`, `numeric`, `text`, `timestamptz`, `timestamp`, `bool`, `jsonb`,
  `int`), about 300 bytes a row{equals}. Of the changes 2/3 are inserts, 4/15 updates and
  1/15 deletes, in transactions of 100 to 1,000 rows.
- Settings are the defaults: exactly once, four partitions, two reader processes in the full load. The broker is one,
  with a heap of 512 MiB. Source and target are databases of one server, with `fsync` off.{broker}
- The peer's whole configuration stands in [the results](../benchmarks/results/compare.json). It delivers at least
  once; its worker is not made to use transactions.{prompt}{avro}
- Rates run from the first sample in which events had moved on to the first in which all were done, ten samples a
  second: the start of the service is left out. A service works ahead of what it has committed, so this flatters short
  runs by some percent; "with start" is all events over all CPU-seconds from the process's start to its end, which is
  the other bound. The whole runs' seconds are in the results file.
- CPU and memory are those of the service's process tree, not of broker and databases. Memory is the peak of the
  resident pages of all these processes, the two readers of the full load included; pages that several share count
  once (PSS, on Linux).
- Bytes on the topic are the broker's segment files, as compressed by the producer.
- Latency is from the source's to the target's commit time of every inserted row, by one clock, in 100 transactions a
  second for ten seconds{warm}.
- Source and target are compared whole after the stages; a difference fails the run.
- Limits: `COPY` in binary form by a client that keeps the rows in memory, into a table with its primary key.

`make bench BENCH=load` (`changes`, `latency`, `limits`) measures a part of ours; `make bench-compare` everything
on this page but that: beside the peer, two rounds, which takes two hours, then the sections with commands of their own.
A part, by `python -m benchmarks.compare --record --engines mysql --shapes orders --stages log`, takes the place of the
same part of this page.
"""
