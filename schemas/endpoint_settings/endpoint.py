"""Opens a document of endpoint settings, in each form in which people have one.

That is the settings alone, with or without the name of their group; a whole endpoint, as `aws dms describe-endpoints`
prints it and `create-endpoint` takes it, alone or among others; or extra connection attributes. Names may have any
capitals: CloudFormation's are other ones than the API's, and extra connection attributes begin with small letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from schemas import json_text
from schemas.endpoint_settings import attributes
from schemas.hints import suggestion

ATTRIBUTES = "ExtraConnectionAttributes"


class Role(StrEnum):
    """What an endpoint is to a task."""

    SOURCE = "source"
    TARGET = "target"


class Statement(NamedTuple):
    """One setting that a document states."""

    name: str
    value: Any
    is_shared: bool = False
    """Whether it is one of the endpoint's own, which engines need not have."""
    behind: str = ""
    """The secret before it, of extra connection attributes: what looks like a name may be the rest of its value."""


class Opened(NamedTuple):
    """What a document holds."""

    engine: str | None
    """The engine as DMS calls it, where the document is a whole endpoint."""
    groups: list[tuple[str, Mapping[str, Any]]]
    """Groups of settings, by their names; the name is empty where the document is the settings alone."""
    others: list[Statement]
    """What else is stated."""


ENGINES = {
    "aurora": "mysql",
    "aurora-mysql": "mysql",
    "aurora-postgresql": "postgresql",
    "aurora-postgresql-serverless": "postgresql",
    "aurora-serverless": "mysql",
    "azuredb-mysql": "mysql",
    "azuredb-postgres": "postgresql",
    "docdb": "docdb",
    "documentdb": "docdb",
    "dynamodb": "dynamodb",
    "elasticsearch": "opensearch",
    "google-cloud-mysql": "mysql",
    "google-cloud-postgresql": "postgresql",
    "kafka": "kafka",
    "kinesis": "kinesis",
    "mariadb": "mysql",
    "mysql": "mysql",
    "neptune": "neptune",
    "opensearch": "opensearch",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "redshift": "redshift",
    "redshift-serverless": "redshift",
    "s3": "s3",
}
"""DMS's engines, and ours."""
_LISTS = ("Endpoints", "Endpoint")
_ABOUT = {
    name.lower(): name
    for name in (
        "EndpointArn",
        "EndpointIdentifier",
        "EndpointType",
        "EngineDisplayName",
        "EngineName",
        "ExternalId",
        "IsReadOnly",
        # It encrypts what AWS keeps of the endpoint.
        "KmsKeyId",
        "ReceiveTransferredFiles",
        "ResourceIdentifier",
        "Status",
        "Tags",
        "TransferFiles",
    )
}
"""What says which endpoint it is, and nothing of how it is used."""
_SHARED = {
    name.lower(): name
    for name in (
        "CertificateArn",
        "DatabaseName",
        "ExternalTableDefinition",
        "Password",
        "Port",
        "ServerName",
        "ServiceAccessRoleArn",
        "SslMode",
        "Username",
    )
}
"""Settings of endpoints of any engine."""


def opened(document: Any, role: Role) -> Opened:
    """Return what a document holds. Raises ValueError, without any value, for what is none."""
    document = _read(json_text.content_of(document))
    if isinstance(document, str):
        return Opened(None, [], _attributes(document))
    endpoint = _the_one(document, role)
    if not _is_whole(endpoint):
        name = next(iter(endpoint), "")
        is_group = len(endpoint) == 1 and _is_group(name, endpoint[name])
        return Opened(None, [(name, endpoint[name])] if is_group else [("", endpoint)], [])
    groups, others = [], []
    for name, value in endpoint.items():
        small = str(name).lower()
        if small in _SHARED:
            others.append(Statement(_SHARED[small], value, is_shared=True))
        elif small == ATTRIBUTES.lower():
            others += _attributes(value) if value else []
        elif small.endswith("settings") and isinstance(value, Mapping | None):
            groups += [(name, value)] if value else []
        elif small not in _ABOUT:
            known = (*_ABOUT.values(), *_SHARED.values(), ATTRIBUTES)
            raise ValueError(f"{name}: unknown part of an endpoint; {suggestion(str(name), known, 'leave it out')}")
    return Opened(_said(endpoint, "EngineName"), groups, others)


def engine_of(section: Mapping[str, Any], role: Role) -> Any:
    """Return the engine that a section says, itself or by the endpoint in it; PostgreSQL where nothing says one."""
    if "engine" in section or section.get("endpoint_settings") is None:
        return section.get("engine", "postgresql")
    try:
        return ENGINES.get(opened(section["endpoint_settings"], role).engine or "", "postgresql")
    except ValueError:
        return "postgresql"


def _read(document: Any) -> Any:
    if not isinstance(document, str):
        return document
    if attributes.is_like(document):
        return document
    try:
        return json_text.read(document)
    except ValueError as error:
        nor = "" if document.lstrip().startswith(("{", "[")) else ", nor NAME=VALUE;…"
        raise ValueError(f"{error}{nor}") from None


def _the_one(document: Any, role: Role) -> Mapping[str, Any]:
    """Return the endpoint of that role, out of the answer of the API that may have several."""
    for name in _LISTS:
        document = document[name] if isinstance(document, Mapping) and name in document else document
    if isinstance(document, list) and all(isinstance(one, Mapping) for one in document):
        fitting = [one for one in document if (_said(one, "EndpointType") or role) == role]
        if len(fitting) != 1:
            names = ", ".join(_said(one, "EndpointIdentifier") or "?" for one in fitting) or "none"
            raise ValueError(f"there must be one {role} endpoint in the document, and there are: {names}")
        document = fitting[0]
    if not isinstance(document, Mapping):
        raise ValueError(f"are settings by their names, not {type(document).__name__}")
    if (kind := _said(document, "EndpointType")) not in (None, role):
        raise ValueError(f"EndpointType: is {kind}, and this is a {role}")
    return document


def _said(endpoint: Mapping[str, Any], name: str) -> str | None:
    value = next((value for each, value in endpoint.items() if str(each).lower() == name.lower()), None)
    return value.lower() if isinstance(value, str) else None


def _is_whole(document: Mapping[str, Any]) -> bool:
    marks = ("EndpointType", "EngineName", "EndpointIdentifier", "EndpointArn", ATTRIBUTES, "SslMode")
    names = {str(name).lower() for name in document}
    groups = [name for name, value in document.items() if _is_group(name, value)]
    return any(mark.lower() in names for mark in marks) or (bool(groups) and len(document) > 1)


def _is_group(name: Any, value: Any) -> bool:
    return str(name).lower().endswith("settings") and isinstance(value, Mapping)


def _attributes(text: Any) -> list[Statement]:
    try:
        found = attributes.parse(str(text))
    except ValueError as error:
        raise ValueError(f"{ATTRIBUTES}: {error}") from None
    before = ["", *(name for name, _ in found)]
    secrets = [name if name.lower().endswith("password") else "" for name in before]
    return [Statement(name, value, behind=secret) for (name, value), secret in zip(found, secrets, strict=False)]
