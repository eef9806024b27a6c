"""A schema registry over HTTP, by Confluent's interface (Confluent's documentation, "Schema Registry API Reference").

What is registered has an id for ever, so ids and texts are kept once they are known. Straight-line code that raises: an
outage is TRANSPORT, which the services wait out.
"""

from __future__ import annotations

import json
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from schemas.errors import ErrorKind, TailraceError
from schemas.registry import subject_of
from schemas.topic_settings import RegistrySettings

if TYPE_CHECKING:
    import httpx

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

KNOWN_MAX = 100_000
"""Schemas that are remembered. A replication has two for each version of each table."""

DETAILS_MAX = 600
"""Characters of a registry's own explanation that are repeated: it may quote whole schemas."""


class Registry:
    """A client of one registry. `close` it; any method raises TRANSPORT while the registry does not answer."""

    def __init__(self, settings: RegistrySettings) -> None:
        # Only where there is a registry: all services import this module.
        import httpx

        self._settings = settings
        self._ids: dict[tuple[str, str], int] = {}
        self._texts: dict[int, str] = {}
        self._levelled: set[str] = set()
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        auth = None
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        elif settings.user is not None and settings.password is not None:
            auth = httpx.BasicAuth(settings.user, settings.password.get_secret_value())
        self._client = httpx.Client(
            base_url=settings.url,
            headers=headers,
            auth=auth,
            timeout=settings.timeout_s,
            verify=_tls(settings),
            trust_env=False,
        )

    def identify(self, topic: str, part: str, text: str) -> int:
        """Return the id of an Avro schema of a topic's keys or values (`part`), registering it if that is allowed.

        Raises SOURCE_SCHEMA when the registry refuses it as incompatible, PREREQUISITE when it must be there and is
        not, CONFIGURATION when the registry does not let us in.
        """
        subject = subject_of(self._settings.subjects, topic, part, text)
        found = self._ids.get((subject, text))
        if found is None:
            found = self._register(subject, text) if self._settings.auto_register else self._find(subject, text)
            if len(self._ids) >= KNOWN_MAX:
                self._ids.clear()
            self._ids[subject, text] = found
        return found

    def text(self, schema_id: int) -> str:
        """Return the schema with an id. Raises DECODE for an id that the registry does not have."""
        found = self._texts.get(schema_id)
        if found is None:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}")
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise TailraceError(
                    ErrorKind.DECODE,
                    f"the registry {self._settings.url} has no schema with the id {schema_id}",
                    remedy="see that `registry.url` is the one that the topic was written with",
                )
            found = str(self._document(answer)["schema"])
            if len(self._texts) >= KNOWN_MAX:
                self._texts.clear()
            self._texts[schema_id] = found
        return found

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._client.close()

    def _register(self, subject: str, text: str) -> int:
        self._set_level(subject)
        answer = self._ask("POST", f"/subjects/{_quoted(subject)}/versions", {"schema": text})
        if answer.status_code == HTTPStatus.CONFLICT:
            raise self._incompatible(subject, text, _said(answer))
        return int(self._document(answer)["id"])

    def _find(self, subject: str, text: str) -> int:
        answer = self._ask("POST", f"/subjects/{_quoted(subject)}", {"schema": text})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"the registry has no such schema under the subject {subject}, and `registry.auto_register` is off",
                remedy=f"register it, then start again; nothing is lost. The schema: {text}",
            )
        return int(self._document(answer)["id"])

    def _set_level(self, subject: str) -> None:
        level = self._settings.compatibility
        if level is None or subject in self._levelled:
            return
        path = f"/config/{_quoted(subject)}"
        self._document(self._ask("PUT", path, {"compatibility": str(level)}))
        self._levelled.add(subject)

    def _incompatible(self, subject: str, text: str, said: str) -> TailraceError:
        level = self._level(subject)
        changed = _changed_fields(self._latest(subject), text)
        what = f"; what changed: {', '.join(changed)}" if changed else ""
        return TailraceError(
            ErrorKind.SOURCE_SCHEMA,
            f"the registry refuses the new schema of {subject}: it is not {level or 'compatible'} with those before"
            f"{what}. It says: {said}",
            remedy="change the table back, or allow it: `registry.compatibility: NONE`, or for this subject alone "
            f"`curl -X PUT {self._settings.url}/config/{_quoted(subject)} -H 'Content-Type: {MEDIA_TYPE}' "
            '-d \'{"compatibility": "NONE"}\'`; then start again: nothing is lost',
        )

    def _level(self, subject: str) -> str | None:
        answer = self._ask("GET", f"/config/{_quoted(subject)}?defaultToGlobal=true")
        return str(answer.json().get("compatibilityLevel")) if answer.is_success else None

    def _latest(self, subject: str) -> str | None:
        answer = self._ask("GET", f"/subjects/{_quoted(subject)}/versions/latest")
        return str(answer.json().get("schema")) if answer.is_success else None

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        """Return what a successful answer holds."""
        try:
            if answer.is_success:
                document = answer.json()
                if isinstance(document, dict):
                    return document
        except ValueError:
            pass
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the registry {self._settings.url} answers {answer.request.url.path} by {answer.status_code}: "
            f"{_said(answer)}",
            remedy="see that `registry.url` is the base of a Confluent-compatible interface, its path included",
        )

    def _ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> httpx.Response:
        import httpx

        content = None if document is None else json.dumps(document).encode()
        try:
            answer = self._client.request(method, path, content=content)
        except httpx.TransportError as error:
            if _is_untrusted(error):
                raise TailraceError(
                    ErrorKind.CONFIGURATION,
                    f"the certificate of the schema registry {self._settings.url} is not to be trusted",
                    remedy="see `registry.tls.ca`, and that the URL has the name that the certificate is for",
                ) from None
            raise TailraceError(
                ErrorKind.TRANSPORT,
                f"the schema registry {self._settings.url} does not answer ({type(error).__name__})",
                remedy="see that it runs, and that `registry.url` and `registry.tls` are right",
            ) from None
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"the schema registry {self._settings.url} refuses {method} {path} ({answer.status_code})",
                remedy="see `registry.user` and `registry.password`, or `registry.token`, and what they may do",
            )
        if answer.is_server_error or answer.status_code in {
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        }:
            raise TailraceError(
                ErrorKind.TRANSPORT,
                f"the schema registry {self._settings.url} fails at {method} {path} ({answer.status_code}): "
                f"{_said(answer)}",
            )
        return answer


def open_registry(settings: RegistrySettings | None) -> Registry | None:
    """Return a client, None where no registry is configured. Touches no network."""
    return None if settings is None else Registry(settings)


def _tls(settings: RegistrySettings) -> ssl.SSLContext:
    tls = settings.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            password = tls.key_password.get_secret_value() if tls.key_password else None
            context.load_cert_chain(tls.cert, tls.key, password)
    except (OSError, ssl.SSLError) as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"a file of `registry.tls` cannot be used ({type(error).__name__})",
            remedy="`ca`, `cert` and `key` are paths of PEM files",
        ) from None
    return context


def _is_untrusted(error: BaseException | None) -> bool:
    """Tell whether the server's certificate was refused: an error that stands behind the client's own."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _said(answer: httpx.Response) -> str:
    try:
        document = answer.json()
        text = str(document["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    text = " ".join(text.split())
    return text if len(text) <= DETAILS_MAX else f"{text[:DETAILS_MAX]}…"


def _changed_fields(before: str | None, after: str) -> list[str]:
    """Return the fields of the rows that are not what they were, in words."""
    try:
        old, new = (_fields(json.loads(text or "null")) for text in (before, after))
    except (ValueError, KeyError, TypeError):
        return []
    words = [f"{name} is gone" for name in old if name not in new]
    words += [f"{name} is new" for name in new if name not in old]
    words += [
        f"{name} was {_type(old[name])} and is {_type(new[name])}"
        for name in new
        if old.get(name, new[name]) != new[name]
    ]
    return words[:20]


def _fields(schema: Any) -> dict[str, Any]:
    """Return the fields of a key, of a row, or of the rows in an envelope."""
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    for name in ("before", "after"):
        for member in fields.get(name, ()) if isinstance(fields.get(name), list) else ():
            if isinstance(member, dict) and "fields" in member:
                return {field["name"]: field["type"] for field in member["fields"]}
    return fields


def _type(type_: Any) -> str:
    if isinstance(type_, list):
        return " or ".join(_type(member) for member in type_)
    if isinstance(type_, dict):
        return str(type_.get("connect.name") or type_.get("logicalType") or type_.get("name") or type_["type"])
    return str(type_)
