"""The text of docs/benchmarks.md: what was reached first, then everything that was measured, and how."""

from __future__ import annotations

from typing import Any

from benchmarks.page import goals, tables
from benchmarks.peers import debezium

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
NOTES = "benchmarks-notes.md"


def page(parts: dict[str, Results]) -> str:
    """Return the page of all results files, by their names; a file that is not there leaves its section out."""
    compared = parts.get("compare", {})
    sections = [
        _head(compared),
        _goals(parts),
        _beside(compared),
        _method(compared),
        _more("Beside Python programs", PRODUCTS, parts.get("python-peers", {}), _products),
        _more("How cost grows", GROWTH, parts.get("growth", {}), tables.growth),
        _more("Every target", SINKS, parts.get("sinks", {}), tables.sinks),
        _more("What rules and policies cost", OPTIONS, parts.get("options", {}), tables.options),
        _ours(parts["latest"]),
        _more("Where the time goes", PROFILES, parts.get("profiles", {}), tables.profiles),
        TRIED,
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _head(compared: Results) -> str:
    if not compared:
        return "# Benchmarks\n\nMade by `make bench`; do not edit. No other product was measured beside."
    return f"""\
# Benchmarks

Tailrace ("ours") beside a tuned Debezium ("peer"): its connectors for Kafka, its JDBC sink for databases. Both in turn
on one machine, with the same servers, table, topic settings and encoding. `make bench-compare` measures all of it again
and writes this page from [its results](../benchmarks/results/); do not edit it.

{_when(compared["summary"])}
Read events per CPU-second first: both sides share two cores with the broker and the database, and it moves least with
that. What is not said to be a goal or a limit is an order of magnitude of one machine.

{tables.spans(compared)}"""


def _goals(parts: dict[str, Results]) -> str:
    shown = goals.table(parts)
    return f"## What was aimed at\n\n{GOALS.strip()}\n\n{shown}\n\n{BOUNDS.strip()}" if shown else ""


def _beside(compared: Results) -> str:
    if not compared:
        return ""
    return f"""\
## Beside Debezium

The table of ten columns. "/s" is events per second, "/CPU-s" events per second of CPU time, of all threads and
processes of the service; memory is the peak, and bytes are those of an event on the topic, compressed: ours / peer.

{tables.headline(compared)}

From the commit at the source to the commit at the target, of each row, at three rates:

{tables.latencies(compared) or "Not measured beside the peer."}

### Tables of other shapes

So that the figures are not those of one table only; all at PostgreSQL.

{tables.shape_names(compared) or "Not measured."}

{tables.shapes(compared)}

### Limits

What the servers' own tools did with the same rows and log in the same runs, per second. Nothing that does more with
them can be much faster.

{tables.limits(compared)}

{_about_limits(compared)}"""


def _about_limits(compared: Results) -> str:
    names = [str(entry["name"]) for entry in compared["limits"]]
    told = [text for tool, text in TOOLS.items() if any(name.startswith(tool) for name in names)]
    if any(entry["engine"] == "mariadb" for entry in compared["limits"]) and "mariadb-binlog --raw" not in names:
        told.append("MariaDB's own reader of its log is measured where `mariadb-binlog` is installed: here it was not.")
    return "\n".join(f"- {text}" for text in told)


def _when(entries: list[Results]) -> str:
    loads = [entry["machine"][f"load_average_{name}"] for entry in entries for name in ("before", "after")]
    machines: dict[str, list[str]] = {}
    for entry in entries:
        machines.setdefault(_machine(entry["machine"]), []).append(str(entry["when"])[:10])
    measured = [f"- on {' and '.join(sorted(set(days)))}: {machine}" for machine, days in machines.items()]
    others = ""
    if len(machines) > 1:
        others = (
            "\nMachines are of different speed, so compare rates of different days by no more than their order of"
            " magnitude;\nboth sides of a line, and the limits of a table, are of one machine."
        )
    return (
        "Measured\n\n" + "\n".join(measured) + "\n\n"
        f"{_runs({int(entry['rounds']) for entry in entries})}{others}\n"
        f"The load average was {min(loads)} to {max(loads)}; each entry's time, load and rows stand in the results."
    )


def _machine(machine: Results) -> str:
    """Describe a machine; results of before 1 December 2026 do not say which processor it had."""
    processor = f" ({machine['processor']})" if "processor" in machine else ""
    return (
        f"{machine['cores']} cores{processor}, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, {TWIN[machine.get('compiled_twin', True)]}"
    )


def _runs(rounds: set[int]) -> str:
    """Say how often each figure was measured."""
    if rounds == {1}:
        return "Each figure is of one run."
    most = f"Each figure is the median of {max(rounds)} runs, of which each side had one in turn"
    return f"{most}." if len(rounds) == 1 else f"{most}; of fewer where the results say so."


def _ours(results: Results) -> str:
    machine = results["machine"]
    rounds = "one run" if results["rounds"] == 1 else f"medians of {results['rounds']} runs"
    return f"""\
## Our stages by themselves

By `make bench` on {results["when"]}, with {results["rows"]:,} rows, {rounds}; load average
{machine["load_average_before"]} before and {machine["load_average_after"]} after. "With start" is all events over all
CPU-seconds from the process's start to its end.

{tables.ours(results)}"""


def _products(results: Results) -> str:
    return f"{tables.products(results)}\n\n{PROMISES.strip()}"


def _more(title: str, text: str, results: Results, shown: Any) -> str:
    if not results:
        return ""
    machine = results["machine"]
    load = f"load average {machine['load_average_before']} before and {machine['load_average_after']} after"
    rows = f", {results['rows']:,} rows" if "rows" in results else ""
    return f"## {title}\n\n{text.strip()} Last measured {results['when']}{rows}, {load}.\n\n{shown(results)}"


GOALS = """
At least so many times the peer, both per second and per CPU-second; and further, towards [a tool](#limits) of the
server's own or more times the peer. A goal that names no encoding is held to in both.
"""
BOUNDS = f"""
What bounds each stage now, by [the profiles](#where-the-time-goes) and [the notes]({NOTES}), which also tell what was
tried:

- **PostgreSQL log → Kafka**: the machine. Of 7.9 µs of CPU for a change in JSON capture has 3.8, the server's
  walsender 2.8 and the broker 1.3, and both cores are busy. The walsender sends each message by a call of its own,
  whatever the client asks for. Capture's are LZ4, the copy of a record of 840 bytes, and the twin.
  [Tried]({NOTES}#postgresqls-log).
- **MySQL and MariaDB log → Kafka**: capture's LZ4, its copy of each record, and the twin that reads row events. Ten
  times the peer in JSON would be 400,000 to 500,000 changes a second: with the broker's part as much CPU as two cores
  have, or more. [Tried]({NOTES}#mysqls-and-mariadbs-log).
- **Rows → Kafka**: capture, its two loader processes, the server and the broker together keep both cores busy. What
  is left of ours are the pipes between its processes, and compression. [Tried]({NOTES}#rows-into-kafka).
- **Kafka → PostgreSQL, changes**: the server's one backend, which takes 6.5 to 7.2 µs of a core for each change, 60 %
  of it in the upsert. That is 150,000 changes a second at most; ten times the peer in Avro would be more. The peer
  waits for such a backend, too: per CPU-second of the service ten times are reached.
  [Tried]({NOTES}#into-postgresql).
  The peer's rows were counted so often that it was slower, [see below](#what-is-measured-and-is-it-fair).
- **Kafka → PostgreSQL, full load**: the same backend in `COPY`, beside the applier that decodes and the broker that
  sends. The limit is a client that has its rows in memory. [Tried]({NOTES}#kafka-into-databases).
- **Kafka → MySQL and MariaDB**: the server, whose one connection keeps a core busy.
  [Tried]({NOTES}#into-mysql-and-mariadb).
- **Latency**: a Kafka transaction takes the broker 3 to 4 ms, and the target's commit follows.
  [Tried]({NOTES}#latency).
- **Memory**: the most of all tables below, of capture with its loader processes or of one applier.
  [Rows of hundreds of megabytes](limits.md#large-rows) take more.
"""
TRIED = f"""
## What was tried

[Notes on speed]({NOTES}) say by stage what was kept, with what it saved, and what was no gain:

- [the compiled twin]({NOTES}#the-compiled-twin), and [what one event costs]({NOTES}#cpu-of-one-event) with it and
  without;
- into Kafka: [PostgreSQL's log]({NOTES}#postgresqls-log), [MySQL's and MariaDB's]({NOTES}#mysqls-and-mariadbs-log),
  [rows]({NOTES}#rows-into-kafka), [the records themselves]({NOTES}#records-to-kafka);
- [into databases]({NOTES}#kafka-into-databases), [as documents and files]({NOTES}#documents-and-files);
- [large texts]({NOTES}#large-texts), [latency]({NOTES}#latency), [a thousand tables]({NOTES}#a-thousand-tables),
  [measuring itself]({NOTES}#measuring).
"""


GROWTH = """
By `python -m benchmarks.growth`: whole runs, starts included, of small tables, to see what more of something adds.
Two cores are shared with the broker and the database: more processes than that cannot bring more here, only show what
they cost. Some 0.9 CPU-seconds of each process are its start.
"""
SINKS = """
By `python -m benchmarks.sinks`: one applier, defaults, rows and changes of the ten-column table from JSON topics.
Most targets are stand-ins of a service, in one process on the same two cores: they bound what is measured. CPU is
that of the whole run, the start of the process and its libraries included. "Worked" are the applier's CPU-seconds;
"waited" the seconds in which a batch was at the target and no thread of the applier had anything to do, waits for a
core not counted. Both are what every applier says in its status document (`cpu_s`, `waiting_s`). Where it has waited
longer than it has worked, the server bounds; else the applier. Redshift is PostgreSQL behind a relay that reads the
bucket for it (`deploy/local/redshift.py`), whose speed is not Redshift's.
"""
OPTIONS = """
By `python -m benchmarks.options`: rules in one process on batches of rows, CPU time, the best of five; policies as
whole appliers over the same changes, in turn.
"""
PRODUCTS = """
By `python -m benchmarks.python_peers`: the same table and changes from MariaDB to PostgreSQL, each program in turn,
from the start of its processes until the last row or change is in the target. All processes of each count.
"""
PROMISES = """
They do not do the same for it:

- **Tailrace** is two services here, with Kafka between: each change is a record that others can read, too. Exactly
  once, also when a process is killed. Writers go on during the load, which is followed by its log in the same run.
- **pg_chameleon** is one process for one target, without Kafka. It copies tables under a read lock, by one command.
  Another one stores what the log brings as JSON in tables of the target, where a function replays it.
- **Singer** is a pipe of two programs, a batch that ends and is run again. What a killed run has written is written
  again, by upsert.
"""

PROFILES = """
By `python -m benchmarks.profile`: shares of each stage's CPU time, start included; all threads by `perf`, Python's
functions (of the time in which Python's lock is held) by py-spy. Librdkafka's threads compress and send; the kernel's
part are the sockets. What one event costs, step by step, with the compiled twin and without, is
[in the notes](benchmarks-notes.md#cpu-of-one-event).
"""


def _method(compared: Results) -> str:
    """Return how all of it was measured; what was not measured is not spoken of."""
    entries = compared.get("summary", [])
    others = any(entry["engine"] != "postgresql" for entry in entries)
    cold = any(not entry.get("warmed_up") for entry in entries)
    releases = {name.removeprefix("debezium-"): version for name, version in debezium.versions().items()}
    return METHOD.format(
        equals="; at MySQL and MariaDB their equals" if others else "",
        broker=BROKER_LATELY if cold else BROKER,
        avro=AVRO if any(entry["encoding"] == "avro" for entry in entries) else "",
        prompt=PROMPT if compared.get("latencies") else "",
        warm=WARM if compared.get("latencies") else "",
        counted="" if all(entry.get("counted_rarely") for entry in entries) else COUNTED_OFTEN,
        **releases,
    )


BROKER = """
  Before anything is measured the broker takes 400,000 records of ours in transactions: whoever is first, which is ours,
  would pay for its compiler."""
BROKER_LATELY = f"{BROKER} Entries without `warmed_up` in the results are older, and paid."
AVRO = """
- The peer's Avro is written by Apicurio's converter in Confluent's wire format, which Confluent's consumers read:
  Confluent's own converter is in no public repository of Maven's that could be used here."""
PROMPT = " For latency it\n  lingers 0 ms and polls every millisecond."
WARM = "; both sides after twenty seconds of 1,000/s"
COUNTED_OFTEN = """
  Counting rows costs the server's cores while it lasts (at PostgreSQL three processes for 80 ms, of 600,000 rows on a
  busy machine), so the comparison asks rarely now. Entries without `counted_rarely` in the results are older and asked
  ten times a second: what their peer's appliers did per second is less than they can do, and ours lead by less than the
  tables say. Per CPU-second of the service it makes little difference."""
METHOD = """
## What is measured, and is it fair?

- **The table** has ten columns (`bigint`, `varchar`, `numeric`, `text`, `timestamptz`, `timestamp`, `bool`, `jsonb`,
  `int`), about 300 bytes a row{equals}. Of the changes 2/3 are inserts, 4/15 updates and 1/15 deletes, in
  transactions of 100 to 1,000 rows.
- **Ours** has its defaults: exactly once, four partitions, lz4, two loader processes in the full load, one applier.
  The broker is one, with a heap of 512 MiB. Source and target are databases of one server, with `fsync` off.{broker}
- **The peer** is Debezium {postgres} for PostgreSQL, {mysql} for MySQL, {mariadb} for MariaDB, its JDBC sink {jdbc},
  each in a Kafka Connect worker of its own with 2 GiB of heap, on topics with as many partitions. It is configured as
  was found to be fastest: large batches and fetches, lz4, no tombstones where ours writes none, the sink's reduction
  buffer and rewritten batches; all of it stands in [the results](../benchmarks/results/compare.json). It delivers at
  least once: nothing makes it use transactions.{prompt}{avro}
- **What the peer is not given**: batches by `unnest` (`dialect.postgres.unnest.insert.enabled`), a small gain with
  Avro and none with JSON. They take times of milliseconds only, so its copy would not equal the source. More than one
  task at the sink, as ours has one applier. More than one thread that reads a table (`snapshot.max.threads`),
  where ours has two loader processes: not measured yet, it may add to its rows per second.
- **Rates** run from the first sample in which events had moved on to the first in which all were done. So both sides'
  starts are left out, and the peer's is by far the longer one; its compiler still learns in the first half minute. A
  service works ahead of what it has committed, so this flatters short runs of either by some percent.
- **CPU** is that of the service's whole process tree, all threads of each, ours with the loader processes; not of
  broker and databases. **Memory** is the peak of all these processes' resident pages; pages that several share count
  once (PSS, on Linux).
- **Events** on a topic are counted by its end offsets; at a target ours by the offsets that it stores with the rows,
  the peer's by its rows.{counted}
- **Bytes on the topic** are the broker's segment files, as compressed by the producer.
- **Latency** is from the source's to the target's commit time of every inserted row, by one clock, in 100
  transactions a second for ten seconds{warm}.
- **Our copy is compared whole** with the source after the stages; a difference fails the run. The peer's is counted.
- **Limits**: `COPY` in binary form by a client that keeps the rows in memory, into a table with its primary key.

`make bench-compare` takes some hours: the comparison in two rounds, then the sections with commands of their own. A
part, by `python -m benchmarks.compare --record --engines mysql --shapes orders --stages log`, takes the place of the
same part of this page. `make bench BENCH=load` (`changes`, `latency`, `limits`) measures a part of ours.
"""
