"""The network between servers of one machine: ports are reached through proxies, so that a node can be cut off."""

from __future__ import annotations

import psutil

from tests.kit.proxy import Proxy


class Network:
    """Proxies in front of ports; `close` in any case."""

    def __init__(self) -> None:
        self._fronts: dict[int, Proxy] = {}

    def reached_by(self, port: int) -> int:
        """Return the port by which others are to reach this one."""
        if port not in self._fronts:
            self._fronts[port] = Proxy("127.0.0.1", port)
        return self._fronts[port].port

    def isolate(self, pid: int) -> None:
        """Cut a process off: nobody reaches its ports, and it reaches none of the others', until `heal`."""

        def is_its_own(port: int) -> bool:
            return any(c.laddr.port == port for c in psutil.Process(pid).net_connections("tcp"))

        listens = {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        for port, proxy in self._fronts.items():
            proxy.bar((lambda _: True) if port in listens else is_its_own)

    def heal(self) -> None:
        """Let everybody reach everybody."""
        for proxy in self._fronts.values():
            proxy.bar(None)

    def close(self) -> None:
        """End the proxies."""
        for proxy in self._fronts.values():
            proxy.close()
