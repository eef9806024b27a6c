"""Structured logs: an event in lower case and fields; JSON for machines, colours for a terminal.

Everything goes to standard error, also what libraries log. Fields whose names look like secrets are blanked: the last
line of defence, not the first.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

# structlog imports rich wherever it is installed, for a look of tracebacks that nobody here asks for: a tenth of what a
# service does before it runs. Commands that draw with rich import it themselves.
_HIDES_RICH = "rich" not in sys.modules
if _HIDES_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]  # what makes an import fail
try:
    import structlog
finally:
    if _HIDES_RICH:
        del sys.modules["rich"]

_SECRET_WORDS = ("password", "secret", "token", "credential")
_BLANK = "***"

# Not context variables: the appliers' writer and the Kafka client's callbacks have threads of their own.
_BOUND: dict[str, Any] = {}

# Without local variables: they are rows and secrets.
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(*, json: bool | None = None, level: str = "info") -> None:
    """Set up logging for this process. `json` left out: JSON unless standard error is a terminal.

    May be repeated, and forgets what was bound; loader processes call it anew.
    """
    _BOUND.clear()
    as_json = not sys.stderr.isatty() if json is None else json
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        _add_bound,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _blank_secrets,
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(_TRACEBACKS), structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Tests reconfigure; and a logger is fetched once per module, never on the data path.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    # It tells of each request, which is not worth more than what others tell at their lowest level.
    logging.getLogger("httpx").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a module's logger, made once per module: `log.info("slot created", slot=…)`."""
    return structlog.stdlib.get_logger(name)


def bind(**fields: Any) -> None:
    """Add fields to every later line of this process, whatever thread writes it, as the replication's name."""
    _BOUND.update(fields)


def _add_bound(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**_BOUND, **fields}


def _blank_secrets(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name in fields:
        if any(word in name.lower() for word in _SECRET_WORDS):
            fields[name] = _BLANK
    return fields
