"""Temporary credentials of a database user, which Redshift gives to whom IAM allows it."""

from __future__ import annotations

from typing import Any

from apply import aws
from schemas.endpoints.redshift import RedshiftTarget

LIFETIME_S = 900
"""Of a password, the shortest that can be had: it is used once, when a connection is made.
Redshift API reference, `GetClusterCredentials`: 900 to 3600 seconds."""


def login(target: RedshiftTarget) -> dict[str, str]:
    """Return user and password for a new connection as libpq's keywords; empty where the target's own are used."""
    if not target.iam_auth_enabled:
        return {}
    service = "redshift-serverless" if target.workgroup_name else "redshift"
    client = aws.client(service, of_redshift(target))
    try:
        if target.workgroup_name:
            # The user follows from who asks.
            request: dict[str, Any] = {"workgroupName": target.workgroup_name, "dbName": target.database}
            found = client.get_credentials(**request, durationSeconds=LIFETIME_S)
            return {"user": found["dbUser"], "password": found["dbPassword"]}
        request = {"ClusterIdentifier": target.cluster_identifier, "DbName": target.database, "DbUser": target.user}
        found = client.get_cluster_credentials(**request, DurationSeconds=LIFETIME_S, AutoCreate=False)
        return {"user": found["DbUser"], "password": found["DbPassword"]}
    except aws.AwsError as error:
        raise aws.classify(error, "asking for temporary credentials") from error
    finally:
        client.close()


def of_redshift(target: RedshiftTarget) -> RedshiftTarget:
    """Return the target with the endpoint of Redshift's own services: the other one is the bucket's."""
    return target.model_copy(update={"endpoint_url": target.redshift_endpoint_url})
