"""Why a PostgreSQL server did not let us in: what libpq knows and keeps to itself, as a code.

libpq gives no SQLSTATE for a refused login, only a text in the server's language: a wrong password looks like a server
that is down. So a login that failed is tried once more at libpq's own level, with error messages reduced to their code
(`PQsetErrorVerbosity`, `PQERRORS_SQLSTATE`; libpq documentation, "Control Functions"). TLS that fails has no code at
all: then the server's certificate is looked at as libpq would.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import socket
import ssl
import struct
import sys
from typing import Any, NamedTuple

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict

from runtime.clock import monotonic
from runtime.waiting import wait_for

_NO_LOGIN = "28P01"
TLS_REFUSED = "tls"
"""Not the server's: there is no encrypted connection as the configuration wants it."""

_SQLSTATE_ONLY = 3
_CODE = re.compile(r":\s+([0-9A-Z]{5})\s*$", re.MULTILINE)
_SSL_REQUEST = struct.pack(">ii", 8, 80_877_103)


class Refusal(NamedTuple):
    """Why a login was refused."""

    code: str
    """A SQLSTATE, or TLS_REFUSED."""
    reason: str | None = None
    """In words, where the code does not say it."""


def why_refused(conninfo: str, timeout_s: float = 10.0) -> Refusal | None:
    """Try to log in once more; return why that is refused. None: the server does not answer, or lets us in by now."""
    set_verbosity = _set_error_verbosity()
    if set_verbosity is not None:
        connection = pq.PGconn.connect_start(conninfo.encode())
        try:
            set_verbosity(connection.pgconn_ptr, _SQLSTATE_ONLY)  # type: ignore[attr-defined]
            _log_in(connection, monotonic() + timeout_s)
            if connection.status == pq.ConnStatus.OK:
                return None
            codes = _CODE.findall(connection.get_error_message())
            if codes:
                return Refusal(codes[-1])
            if connection.needs_password:
                return Refusal(_NO_LOGIN, "the server wants a password, and none is configured")
        finally:
            connection.finish()
    return _tls_refusal(conninfo_to_dict(conninfo), timeout_s)


def _log_in(connection: pq.abc.PGconn, deadline: float) -> None:
    status = pq.PollingStatus.WRITING
    while connection.status != pq.ConnStatus.BAD and status not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
        left_s = deadline - monotonic()
        if left_s <= 0:
            return
        is_reading = status == pq.PollingStatus.READING
        try:
            wait_for(connection.socket, left_s, reading=is_reading, writing=not is_reading)
            status = pq.PollingStatus(connection.connect_poll())
        except (OSError, ValueError, Error):
            # The socket is gone: libpq has closed it.
            return


def _set_error_verbosity() -> Any | None:
    """Return `PQsetErrorVerbosity` of the libpq that psycopg uses, which psycopg has no name for."""
    module = sys.modules[pq.PGconn.__module__].__file__ or ""
    library = ctypes.util.find_library("pq") if module.endswith(".py") else module
    try:
        # A symbol is looked up in the libraries that a library was linked with, too.
        function = ctypes.CDLL(library).PQsetErrorVerbosity
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    return function


def _tls_refusal(words: dict[str, Any], timeout_s: float) -> Refusal | None:
    mode, host = str(words.get("sslmode") or "prefer"), str(words.get("host") or "")
    if mode not in ("require", "verify-ca", "verify-full") or not host or host.startswith("/") or "," in host:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if mode == "require" else ssl.CERT_REQUIRED
    try:
        authorities = words.get("sslrootcert")
        if authorities in (None, "system"):
            context.load_default_certs()
        else:
            context.load_verify_locations(authorities)
        with socket.create_connection((host, int(words.get("port") or 5432)), timeout_s) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return Refusal(TLS_REFUSED, f"the server offers no TLS, and tls.mode is {mode}")
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return Refusal(TLS_REFUSED, f"the server's certificate is not accepted: {error.verify_message}")
    except ssl.SSLError as error:
        return Refusal(TLS_REFUSED, f"no TLS with the server: {error.reason or type(error).__name__}")
    except FileNotFoundError:
        return Refusal(TLS_REFUSED, f"tls.ca: there is no file {words.get('sslrootcert')}")
    except OSError:
        return None
