"""The client's properties for the target's cluster, and how it logs in to Amazon MSK by IAM."""

from __future__ import annotations

from typing import Any

from schemas.endpoints.kafka import KafkaTarget
from schemas.errors import ErrorKind, TailraceError


def properties(target: KafkaTarget) -> dict[str, Any]:
    """Return what the clients are made with. Raises PREREQUISITE if a login needs a library that is not installed."""
    if target.authentication == "none":
        return dict(target.kafka)
    return {
        **target.kafka,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        # Asked for a token when the first connection is made, and again before one expires.
        "oauth_cb": lambda _: token(target),
    }


def token(target: KafkaTarget) -> tuple[str, float]:
    """Return a token for Amazon MSK, which is a signed request, and when it expires, in seconds since 1970."""
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        from botocore.credentials import CredentialProvider

        from apply import aws
    except ModuleNotFoundError as error:
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            f"authentication msk-iam needs a library that is not installed: {error.name}",
            remedy="pip install 'tailrace[kafka]'",
        ) from error

    class Provider(CredentialProvider):  # type: ignore[misc]
        """Hands over what the section says, or the standard chain finds."""

        def load(self) -> Any:
            return aws.credentials(target)

    made, expires_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(
        aws.region(target), Provider()
    )
    return made, expires_ms / 1000
