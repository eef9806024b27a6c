"""The control index: documents that several appliers share, each written only as it was read, and claims made of them.

OpenSearch has no locks, and its rollover names no index that it is for: of two appliers that ask for one at the same
moment both get it. So whoever has one made holds a claim, which is a document that one of them can make.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from apply.sinks.opensearch.client import Client
from runtime import clock
from schemas.errors import ErrorKind, TailraceError

PAUSE_S = 0.1
"""How often a claim that another applier has is looked at."""
HOLDERS_MAX = 100
"""So many others are waited for."""

Condition = Mapping[str, str]
"""What writes a document only if nobody else has since it was read."""
NEW: Condition = {"op_type": "create"}


class ControlIndex:
    """Documents by their ids. Makes the index when it is first used."""

    def __init__(self, client: Client, index: str) -> None:
        self._client = client
        self.name = index
        self._made = False

    def read(self, document: str) -> tuple[dict[str, Any] | None, Condition]:
        """Return a document, None if there is none, and what writes it as it was read."""
        self._make()
        found = self._client.request("GET", self._path(document), absent=404)
        return (found["_source"], _as_it_is(found)) if found else (None, NEW)

    def write(self, document: str, content: dict[str, Any], condition: Condition) -> Condition | None:
        """Write a document; return what writes it again, None if somebody else was first."""
        answer = self._client.request("PUT", self._path(document), content, absent=409, **condition)
        return _as_it_is(answer) if answer else None

    def remove(self, document: str, condition: Condition) -> None:
        """Remove a document, unless somebody else has written it since."""
        self._client.request("DELETE", self._path(document), absent=409, **condition)

    @contextlib.contextmanager
    def claim(self, what: str, patience_s: float) -> Iterator[None]:
        """Be the only one who does something. Who has been at it for `patience_s` is taken for dead.

        Raises TARGET_THROTTLED where very many are before us.
        """
        document = f"claim/{what}"
        condition = self._claimed(document, patience_s)
        try:
            yield
        finally:
            # What cannot be removed now is taken over by the next one.
            with contextlib.suppress(TailraceError):
                self.remove(document, condition)

    def _claimed(self, document: str, patience_s: float) -> Condition:
        holder, since = NEW, clock.monotonic()
        begun = since
        while clock.monotonic() - begun <= HOLDERS_MAX * patience_s:
            _, found = self.read(document)
            if found != holder:
                holder, since = found, clock.monotonic()
            if found == NEW or clock.monotonic() - since >= patience_s:
                mine = self.write(document, {"claim": document}, found)
                if mine is not None:
                    return mine
            else:
                clock.sleep(PAUSE_S)
        raise TailraceError(ErrorKind.TARGET_THROTTLED, "many appliers change a data stream at once")

    def _path(self, document: str) -> str:
        return f"/{self.name}/_doc/{quote(document, safe='')}"

    def _make(self) -> None:
        if self._made:
            return
        fields = {name: {"type": "keyword"} for name in ("owner", "barrier", "arrived")}
        mappings = {"dynamic": False, "properties": {**fields, "passed": {"type": "boolean"}}}
        self._client.request("PUT", f"/{self.name}", {"mappings": mappings}, absent=400)
        self._made = True


def _as_it_is(answer: Mapping[str, Any]) -> Condition:
    return {"if_seq_no": str(answer["_seq_no"]), "if_primary_term": str(answer["_primary_term"])}
