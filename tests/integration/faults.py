"""Everything that can be done to a replication under load, by name. A fault returns when it is over.

Two servers die at the same instant where one fault names both.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from functools import partial

import psutil
from confluent_kafka.admin import AdminClient

from deploy.local.mysql import MysqlServer
from runtime import exit_codes
from schemas.topics import apply_group, checkpoints_topic
from tests.integration.services import DEADLINE_S, TARGET
from tests.integration.stage import Stage
from tests.kit.mysql_replica import follow, promote
from tests.kit.proxy import Proxy
from tests.kit.sides import MysqlSide

FROZEN_S = 10.0
"""How long something stands still: past the session time-outs, so that another one takes its place."""
STALL_S = 4.0


class Faults(Stage):
    """A stage with all that can be done to it."""

    def kill_capture(self) -> None:
        """The active capture dies; the standby takes over, and a new one stands by."""
        name = self._active()
        self.services.crash(name)

    def kill_loader(self) -> None:
        """A loader process dies, if a table is being loaded."""
        for child in psutil.Process(self.services.pid(self._active())).children():
            child.kill()

    def kill_apply(self) -> None:
        """An applier dies."""
        self.services.crash("apply")

    def kill_kafka(self) -> None:
        """A broker dies and comes back."""
        broker = self.choose.choice(self.brokers)
        broker.kill()
        broker.restart()

    def kill_leader(self) -> None:
        """The broker dies that leads the checkpoints topic, which every transaction of capture writes to."""
        topic = checkpoints_topic(self.replication)
        admin = AdminClient({**self.kafka.settings})
        found: list[int] = []

        def look() -> bool:
            # Capture may not have made it yet.
            metadata = admin.list_topics(timeout=60).topics.get(topic)
            found[:] = [p.leader for p in metadata.partitions.values() if p.leader > 0] if metadata else []
            return bool(found)

        self.services.wait(look, f"{topic} has a leader")
        broker = self.brokers[found[0] - 1]
        broker.kill()
        # The others go on meanwhile.
        self._stop.wait(FROZEN_S)
        broker.restart()

    def pause_broker(self) -> None:
        """A broker hears and says nothing, long enough to be voted out, and wakes as if nothing had been."""
        broker = self.choose.choice(self.brokers)
        os.kill(broker.pid, signal.SIGSTOP)
        self._stop.wait(FROZEN_S)
        os.kill(broker.pid, signal.SIGCONT)

    def kill_source(self) -> None:
        """The source server crashes and comes back."""
        self.source_server.kill()
        self.source_server.restart()

    def kill_target(self) -> None:
        """The target server crashes and comes back."""
        self.target_server.kill()
        self.target_server.restart()

    def restart_source(self) -> None:
        """The source server is restarted in an orderly way."""
        self.source_server.restart()

    def restart_target(self) -> None:
        """The target server is restarted in an orderly way."""
        self.target_server.restart()

    def freeze_capture(self) -> None:
        """The active capture hangs past its session time-out and wakes beside its successor."""
        name = self._active()
        self._freeze(name)

    def freeze_apply(self) -> None:
        """An applier hangs past its session time-out, another takes over, and it wakes."""
        self.services.start("apply-2")
        self.services.wait(partial(self.services.said, "apply-2", "applying"), "another applier joins")
        self._freeze("apply")
        self._end("apply-2")

    def cut_source(self) -> None:
        """Connections to the source are reset in the middle of what it says."""
        self._cut(self.source_proxy)

    def cut_target(self) -> None:
        """Connections to the target are reset in the middle of what it says."""
        self._cut(self.target_proxy)

    def stall_source(self) -> None:
        """The source does not answer for a while."""
        self._stall(self.source_proxy)

    def stall_target(self) -> None:
        """The target does not answer for a while."""
        self._stall(self.target_proxy)

    def lose_commit(self) -> None:
        """The target commits, and its answer is lost."""
        self.target_proxy.lose_commit()
        self.services.wait(self.target_proxy.acted.is_set, "a commit at the target is lost")

    def delay_commit(self) -> None:
        """The target carries out a commit when the client has long given up, come back and asked where it stands."""
        self.target_proxy.delay_commit()
        self.services.wait(self.target_proxy.acted.is_set, "a commit at the target is late")

    def slow_target(self) -> None:
        """The way to the target is slow."""
        self.target_proxy.delay(0.05)
        self._stop.wait(STALL_S)
        self.target_proxy.delay(0)

    def scale_apply(self) -> None:
        """Appliers join and leave under load: 1, 4, 2, 1. One of them leaves by dying."""
        more = ["apply-2", "apply-3", "apply-4"]
        for name in more:
            self.services.start(name)
        for name in more:
            self.services.wait(partial(self.services.said, name, "applying"), f"{name} joins")
        self.services.kill("apply-4")
        self._end("apply-3")
        self._stop.wait(1)
        self._end("apply-2")

    def rejoin_apply(self) -> None:
        """An applier with a name of its own in the group is back after a kill, and wakes when another has its name."""
        self._join_named("apply-2")
        self.services.kill("apply-2")
        self._join_named("apply-2")
        self.services.signal("apply-2", signal.SIGSTOP)
        self._join_named("apply-3")
        self.services.signal("apply-2", signal.SIGCONT)
        code = self.services.join("apply-2")
        assert code == exit_codes.STOPPED, f"ended with {code}\n{self.services.log_tail('apply-2')}"
        self._end("apply-3")

    def isolate_broker(self) -> None:
        """A broker is cut off from the others and from all clients, long enough to be voted out, while it runs."""
        network = self.servers.network
        assert network is not None
        network.isolate(self.choose.choice(self.brokers).pid)
        self._stop.wait(FROZEN_S)
        network.heal()

    def fill_kafka(self) -> None:
        """The broker's disk is full: it ends. It is started again when there is room."""
        disk = self.servers.disks["kafka"]
        (broker,) = self.brokers
        process = psutil.Process(broker.pid)
        disk.fill()
        try:
            # It finds out when it needs the room.
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(DEADLINE_S / 4)
        finally:
            disk.free()
        broker.kill()
        broker.restart()

    def fill_target(self) -> None:
        """The disk of the target's tables is full for a while."""
        disk = self.servers.disks["target"]
        disk.fill()
        try:
            self._stop.wait(STALL_S)
        finally:
            disk.free()

    def kill_capture_and_kafka(self) -> None:
        """The active capture and a broker die at the same instant."""
        name = self._active()
        broker = self.choose.choice(self.brokers)
        self.services.signal(name, signal.SIGKILL)
        broker.kill()
        self.services.kill(name)
        broker.restart()
        self.services.start(name)

    def kill_apply_and_target(self) -> None:
        """An applier and the target server die at the same instant."""
        self.services.signal("apply", signal.SIGKILL)
        self.target_server.kill()
        self.services.kill("apply")
        self.target_server.restart()
        self.services.start("apply")

    def kill_capture_and_source(self) -> None:
        """The active capture and the source server die at the same instant."""
        name = self._active()
        self.services.signal(name, signal.SIGKILL)
        self.source_server.kill()
        self.services.kill(name)
        self.source_server.restart()
        self.services.start(name)

    def poison_apply(self) -> None:
        """An applier joins, dies as soon as it has written something, comes back and dies again, three times."""
        for _ in range(3):
            self.services.start("apply-2", failpoint=_POISON)
            if self.ordering == "transactional":
                # It only writes once the first one is gone.
                self.services.kill("apply")
            self.services.meet("apply-2", _POISON)
            if self.ordering == "transactional":
                self.services.start("apply")

    def switch_source(self) -> None:
        """A replica of the source that has all of it takes its place for good; the old server dies."""
        old, source = self.source_server, self.source
        assert isinstance(old, MysqlServer)
        assert isinstance(source, MysqlSide)
        self._replicas += 1
        new = old.replica(old.directory.with_name(f"replica-{self._replicas}-{self.replication}"), self._replicas + 1)
        new.start()
        with contextlib.ExitStack() as stack:
            stack.callback(new.kill)
            session = replace(source.database, address=new.address, name="mysql").connect()
            stack.callback(session.close)
            follow(source.database, session, from_start=True)
            with self.resting():
                promote(source.database, session)
                old.kill()
                source.database = replace(source.database, address=new.address)
                self.workload.place = source.database
                self.source_proxy.lead_to(new.port)
            self.source_server = new
            stack.pop_all()
            session.close()

    def alter_tables(self) -> None:
        """Tables get columns and lose them while they are written to."""
        self._columns += 1
        added = f"extra_{self._columns}"
        self._alter(f"alter table wl_items add column {added} text default ('added')")
        self._alter(f"alter table wl_log add column {added} integer default {self._columns}")
        self._stop.wait(1)
        self._alter(f"update wl_items set {added} = 'changed' where id % 7 = 0")
        if self._columns > 1:
            self._alter(f"alter table wl_items drop column extra_{self._columns - 1}")

    def reload_tables(self) -> None:
        """An operator has a table with a key and one without published again."""
        for table in ("wl_items", "wl_log"):
            self._signal("reload", "--table", f"{self.source.schema}.{table}")

    def pause(self) -> None:
        """An operator pauses the target, then capture, and lets both go on."""
        self._signal("pause", "--target", TARGET)
        self._signal("pause")
        self._stop.wait(STALL_S)
        self._signal("resume")
        self._signal("resume", "--target", TARGET)

    def _join_named(self, name: str) -> None:
        """Start an applier under the name that is given to one at a time, and wait until the group knows it by it."""
        group = apply_group(self.replication, TARGET)
        admin = AdminClient({**self.kafka.settings})

        def member() -> set[str]:
            found = admin.describe_consumer_groups([group])[group].result().members
            return {one.member_id for one in found if one.group_instance_id == _INSTANCE}

        before = member()
        self.services.start(name, instance=_INSTANCE)
        self.services.wait(lambda: bool(member() - before), f"{name} joins")

    def _freeze(self, name: str) -> None:
        self.services.signal(name, signal.SIGSTOP)
        self._stop.wait(FROZEN_S)
        self.services.signal(name, signal.SIGCONT)
        # One that finds itself fenced may end with an error; what must not be is two at work.
        self.services.supervise(name)

    def _cut(self, proxy: Proxy) -> None:
        proxy.cut_in_answer(self.choose.choice((1, 50, 400)))
        self.services.wait(proxy.acted.is_set, "a connection is cut")
        proxy.cut()

    def _stall(self, proxy: Proxy) -> None:
        proxy.stall()
        self._stop.wait(STALL_S)
        proxy.resume()

    def _signal(self, command: str, *arguments: str) -> None:
        done = self.services.run(f"signal {command}", *arguments)
        assert done.returncode == 0, done.stderr

    def _alter(self, statement: str) -> None:
        self.services.wait(partial(self.source.attempt, statement), statement)


_POISON = "apply.write.after"
_INSTANCE = "second"

KILLS = ("kill_capture", "kill_apply", "kill_kafka", "kill_source", "kill_target")
PAIRS = ("kill_capture_and_kafka", "kill_apply_and_target", "kill_capture_and_source")
CONNECTIONS = (
    *("cut_source", "cut_target", "stall_source", "stall_target"),
    *("lose_commit", "delay_commit", "slow_target"),
)
"""After these every process lives: their memory and files can be compared."""
OTHERS = (
    *(
        "freeze_capture",
        "freeze_apply",
        "scale_apply",
        "poison_apply",
        "rejoin_apply",
        "restart_source",
        "restart_target",
        "kill_loader",
    ),
    *("alter_tables", "reload_tables", "pause"),
)
REPLICAS = ("switch_source",)
"""What is done where the source is MySQL or MariaDB."""
DISKS = {"kafka": "fill_kafka", "target": "fill_target"}
CLUSTER = (
    *("kill_leader", "pause_broker", "isolate_broker", "kill_kafka", "kill_capture_and_kafka"),
    *("kill_capture", "kill_apply", "kill_apply_and_target"),
)
"""What is done to three brokers and their clients."""
EVERY = KILLS + PAIRS + CONNECTIONS + OTHERS
