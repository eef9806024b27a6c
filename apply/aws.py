"""Clients of AWS: credentials by the standard chain or an assumed role, and what its errors mean.

Retries of the library are few: whoever waits longer is the service, which tells that it does.
"""

from __future__ import annotations

import json
import logging
import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.credentials
import botocore.session
import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    InvalidConfigError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from schemas.endpoints.files import AwsTarget, Encryption
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, blocks

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
ATTEMPTS_MAX = 4
"""Of one request, by the library itself, with its back-off and jitter."""

_ENCRYPTIONS = {"sse-s3": "AES256", "sse-kms": "aws:kms"}

THROTTLES = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "BandwidthLimitExceeded",
        "LimitExceededException",
    }
)
"""Error codes that ask for patience: botocore's `retries/standard.py` lists the same."""

REFUSALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "ExpiredToken",
        "ExpiredTokenException",
        "MissingAuthenticationTokenException",
        "NoSuchBucket",
        "AllAccessDisabled",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "ResourceNotFoundException",
        "KMS.DisabledException",
        "KMS.NotFoundException",
        "NotImplemented",
    }
)
"""Error codes that an operator must see to."""

_UNSIGNED = tuple(
    (re.compile(words, re.IGNORECASE), reason, remedy)
    for words, reason, remedy in (
        (
            "signature expired|signature not yet current|RequestTimeTooSkewed",
            "this machine's clock is wrong",
            "set it, by NTP",
        ),
        (
            "token.* (is|has) expired|ExpiredToken",
            "the credentials' session has expired",
            "renew them and start again; those of `service_access_role_arn` are renewed by themselves",
        ),
        (
            "scoped to",
            "it was signed for another region or service",
            "see `region` of the target, and `service` if it has one",
        ),
        (
            "signature.* does not match|SignatureDoesNotMatch",
            "the signature is wrong",
            "see `secret_access_key` of the target, or whence its credentials come",
        ),
        (
            "token.* is invalid|UnrecognizedClient|InvalidClientTokenId|InvalidAccessKeyId",
            "the access key is not known",
            "see `access_key_id` of the target, or whence its credentials come",
        ),
    )
)
"""What services say of requests that they do not take for anybody's: AWS user guide, "Troubleshoot Signature Version 4
signed requests for AWS APIs", and codes of each."""


def _without_trace(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


# That a role's credentials were not renewed is worth a warning; the service's answer may quote a session's token.
logging.getLogger("botocore.credentials").addFilter(_without_trace)

CONNECTIONS_MAX = 10
"""Kept by one client; botocore's default."""

_WHOLE = "tailrace_request"


@dataclass(frozen=True, slots=True)
class Stand:
    """What a large request is for the library: one with a small member in the place of its large one."""

    member: str
    small: Callable[[Any], Any]
    """From the member to what the library takes for one of that kind."""


def client(
    service: str, target: AwsTarget, *, connections: int = CONNECTIONS_MAX, bulk: Mapping[str, Stand] | None = None
) -> Any:
    """Return a boto3 client for so many requests at a time. Connects when it is first used.

    `bulk`: operations whose requests are large, and are written as they are given (see `_write_quickly`).
    """
    session = _session(target)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        user_agent_extra="tailrace",
        max_pool_connections=max(connections, CONNECTIONS_MAX),
        # A bucket's name in the host would have to be resolved: other services than AWS seldom do.
        s3={"addressing_style": "path"} if target.endpoint_url else None,
    )
    try:
        made = session.client(service, endpoint_url=target.endpoint_url, config=config)
    except NoRegionError as error:
        raise _no_region() from error
    if bulk:
        _write_quickly(made, bulk)
    return made


def _write_quickly(made: Any, bulk: Mapping[str, Stand]) -> None:
    """Let requests of some operations have bodies that are made of their parameters at once.

    The library checks and writes each member of each item by its model of the service, which costs many times what
    orjson takes for the whole. So it is given a small request in the place of the large one, and the body is exchanged
    before it is signed. All else stays the library's: endpoints, signatures, retries, answers.
    """

    def take_out(params: dict[str, Any], context: dict[str, Any], model: Any, **_: Any) -> None:
        if (stand := bulk.get(model.name)) is not None:
            context[_WHOLE] = dict(params)
            params[stand.member] = stand.small(params[stand.member])

    def put_in(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if (whole := context.pop(_WHOLE, None)) is not None:
            params["body"] = json_body(whole)

    events = made.meta.events
    # Last: others add what the request has besides, as the token by which a repetition shows.
    events.register_last("before-parameter-build", take_out)
    events.register_first("before-call", put_in)


def json_body(document: dict[str, Any]) -> bytes:
    """Return a request of AWS's JSON protocols; bytes in it are in base64."""
    try:
        return orjson.dumps(document, default=_base64)
    except TypeError:
        # Halves of surrogate pairs, which a document in JSON may have been written with.
        return json.dumps(document, default=_base64, ensure_ascii=True).encode()


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise TypeError


def credentials(target: AwsTarget) -> Any:
    """Return what signs requests; renewed by itself where it is a role's. Raises CONFIGURATION."""
    return _found(_session(target))


def region(target: AwsTarget) -> str:
    """Return the region that requests are signed for. Raises CONFIGURATION."""
    found = _session(target).region_name
    if found is None:
        raise _no_region()
    return str(found)


class Signer:
    """Signs requests for one service (SigV4), with credentials that are found once, and renewed."""

    def __init__(self, target: AwsTarget, service: str) -> None:
        """Raises CONFIGURATION."""
        self._credentials = credentials(target)
        self._region = region(target)
        self._service = service

    def headers(self, method: str, url: str, body: bytes) -> dict[str, str]:
        """Return the headers by which the service takes a request for the target's. Raises what keeps a role away."""
        request = AWSRequest(method=method, url=url, data=body)
        try:
            # All three of one moment: they may be renewed in between.
            frozen = self._credentials.get_frozen_credentials()
        except AwsError as error:
            raise classify(error, "signing") from error
        SigV4Auth(frozen, self._service, self._region).add_auth(request)
        return dict(request.headers.items())


def _no_region() -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION, "no AWS region is configured", remedy="set `region` of the target, or AWS_REGION"
    )


def _found(session: boto3.Session) -> Any:
    try:
        found = session.get_credentials()
    except BotoCoreError as error:
        raise classify(error, "signing") from error
    if found is None:
        raise classify(NoCredentialsError(), "signing")
    return found


def _session(target: AwsTarget) -> boto3.Session:
    secret = target.secret_access_key
    try:
        session = boto3.Session(
            aws_access_key_id=target.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=target.region,
        )
    except BotoCoreError as error:
        raise classify(error, "signing") from error
    if target.service_access_role_arn is None:
        return session
    role: dict[str, Any] = {"RoleSessionName": "tailrace"}
    if target.external_id is not None:
        role["ExternalId"] = target.external_id
    # boto3 has no public way to a role whose credentials are renewed.
    base = botocore.session.get_session()
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        session._session.create_client,
        _found(session),
        target.service_access_role_arn,
        extra_args=role,
    )
    base._credentials = botocore.credentials.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return boto3.Session(botocore_session=base, region_name=target.region)


def encryption(target: Encryption) -> dict[str, str]:
    """Return what a request that makes an object of S3 says of its encryption."""
    if target.encryption_mode == "bucket":
        return {}
    headers = {"ServerSideEncryption": _ENCRYPTIONS[target.encryption_mode]}
    if target.server_side_encryption_kms_key_id and target.encryption_mode == "sse-kms":
        headers["SSEKMSKeyId"] = target.server_side_encryption_kms_key_id
    return headers


def bucket_findings(store: Any, bucket: str, **owner: str) -> list[Finding]:
    """Return that a bucket cannot be seen by a client of S3, if so. Never writes."""
    try:
        store.head_bucket(Bucket=bucket, **owner)
    except ClientError as error:
        # A HEAD has no body: the status is all that the service says.
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        message = f"the bucket {bucket} cannot be seen (status {status})"
        remedy = "create it, and give the role the policy that `tailrace plan` shows"
        return [blocks("bucket-missing", message, remedy)]
    except BotoCoreError as error:
        raise classify(error, f"looking for the bucket {bucket}") from error
    return []


def code_of(error: Exception) -> str:
    """Return the service's error code; empty if no service has answered."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def classify(error: Exception, doing: str) -> TailraceError:
    """Return what an error of the library means. Its text is left out: it may quote what was sent."""
    if isinstance(error, ClientError):
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in THROTTLES or status == 429:
            return TailraceError(ErrorKind.TARGET_THROTTLED, f"{doing}: the service is throttling ({code})")
        if code in REFUSALS or status in (401, 403):
            said = f"{code} {error.response.get('Error', {}).get('Message', '')}"
            policy = "`tailrace plan` shows the policy that the role needs"
            return refusal(f"{doing}: the service refuses ({code})", said, policy)
        if 400 <= status < 500 and status not in (408, 409, 412):
            return TailraceError(ErrorKind.INVARIANT, f"{doing}: the service does not understand ({code})")
        return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: the service failed ({code or status})")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return TailraceError(
            ErrorKind.CONFIGURATION, "no AWS credentials are found", remedy="see `access_key_id` of the target"
        )
    if isinstance(error, ProfileNotFound | ConfigParseError | InvalidConfigError):
        message = f"the AWS libraries' configuration is not valid ({type(error).__name__})"
        return TailraceError(ErrorKind.CONFIGURATION, message, remedy="see AWS_PROFILE and AWS_CONFIG_FILE")
    if isinstance(error, ParamValidationError):
        return TailraceError(ErrorKind.INVARIANT, f"{doing}: the request is not valid ({type(error).__name__})")
    return TailraceError(
        ErrorKind.TARGET_CONNECTION, f"{doing}: the service cannot be reached ({type(error).__name__})"
    )


def refusal(message: str, said: str, remedy: str) -> TailraceError:
    """Return that a service has refused a request: with the reason and its remedy, if what was `said` tells whose
    request it took it for, else with `remedy`. What was said is left out: it may quote what was sent.
    """
    for words, reason, help_ in _UNSIGNED:
        if words.search(said):
            return TailraceError(ErrorKind.PREREQUISITE, f"{message}: {reason}", remedy=help_)
    return TailraceError(ErrorKind.PREREQUISITE, message, remedy=remedy)


AwsError = (ClientError, BotoCoreError)
"""What the library raises."""
