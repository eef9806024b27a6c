"""Which way leads to Redshift."""

from __future__ import annotations

from apply.sinks.redshift.data_api import DataApiLink
from apply.sinks.redshift.driver import DriverLink
from apply.sinks.redshift.link import Link
from schemas.endpoints.redshift import RedshiftTarget


def open_link(target: RedshiftTarget, application: str, *, as_text: bool = False) -> Link:
    """Return a connection that is made when it is first used. `as_text`: `rows` returns each value as its text."""
    kind = DataApiLink if target.connect_by == "data-api" else DriverLink
    return kind(target, application, as_text=as_text)
