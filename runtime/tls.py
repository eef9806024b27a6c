"""TLS to databases whose protocol is spoken in Python: one way at sources and targets."""

from __future__ import annotations

import ssl
from pathlib import Path

from schemas.endpoints.section import Tls, TlsMode
from schemas.errors import ErrorKind, TailraceError


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for a mode that encrypts. Raises CONFIGURATION where a file of the section cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode is TlsMode.VERIFY_FULL
    try:
        if tls.mode not in (TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL):
            context.verify_mode = ssl.CERT_NONE
        elif tls.ca and tls.ca != "system":
            context.load_verify_locations(tls.ca)
        else:
            context.load_default_certs()
        if tls.cert:
            # Never None: a locked key would have somebody asked at the terminal.
            context.load_cert_chain(tls.cert, tls.key, tls.key_password.get_secret_value() if tls.key_password else "")
    except OSError as error:
        missing = [
            path for path in (tls.ca, tls.cert, tls.key) if path and path != "system" and not Path(path).is_file()
        ]
        said = f"there is no file {missing[0]}" if missing else f"a file cannot be used ({type(error).__name__})"
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"tls: {said}",
            remedy="`ca`, `cert` and `key` are paths of PEM files, and `key_password` is the password of the key",
        ) from error
    return context
