"""TLS and SASL to Kafka by configuration, and what an operator is told when either is wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.java import find_java
from deploy.local.kafka import KafkaServer
from deploy.local.process import free_port
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import read_all
from runtime.kafka.producer import TransactionalProducer
from schemas.errors import ErrorKind, TailraceError

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PASSWORD = "open-sesame"


class SecureKafka(KafkaServer):
    """A broker with a second listener: TLS, and a login by user and password."""

    secure_port: int

    def _write_properties(self) -> Path:
        self.secure_port = free_port()
        path = super()._write_properties()
        extra = {"listeners": f"SECURE://127.0.0.1:{self.secure_port}"}
        extra["advertised.listeners"] = extra["listeners"]
        extra["listener.security.protocol.map"] = "SECURE:SASL_SSL"
        lines = []
        for line in path.read_text().splitlines():
            name = line.partition("=")[0].strip()
            lines.append(f"{line},{extra[name]}" if name in extra else line)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        lines += [
            f"ssl.keystore.location={self.directory / 'broker.p12'}",
            f"ssl.keystore.password={PASSWORD}",
            "ssl.keystore.type=PKCS12",
            "listener.name.secure.sasl.enabled.mechanisms=PLAIN",
            f'listener.name.secure.plain.sasl.jaas.config={login} user_capture="{PASSWORD}";',
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture(scope="module")
def secure(servers_directory: Path) -> Iterator[SecureKafka]:
    keytool = shutil.which("keytool") or str(Path(find_java()).with_name("keytool"))
    if not Path(keytool).exists():
        pytest.skip("this Java has no keytool to make a certificate with")
    directory = servers_directory / "kafka-secure"
    directory.mkdir(parents=True)
    store = [
        "-keystore",
        str(directory / "broker.p12"),
        "-storetype",
        "PKCS12",
        "-storepass",
        PASSWORD,
        "-alias",
        "broker",
    ]
    name = ["-dname", "CN=localhost", "-ext", "SAN=IP:127.0.0.1,DNS:localhost", "-ext", "bc:c"]
    subprocess.run([keytool, "-genkeypair", "-keyalg", "RSA", "-validity", "30", *store, *name], check=True)
    export = [keytool, "-exportcert", "-rfc", "-file", str(directory / "ca.pem"), *store]
    subprocess.run(export, check=True)
    with SecureKafka(directory) as server:
        yield server


def properties(secure: SecureKafka, **changes: str) -> dict[str, str]:
    return {
        "bootstrap.servers": f"127.0.0.1:{secure.secure_port}",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "capture",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(secure.directory / "ca.pem"),
    } | {name.replace("_", "."): value for name, value in changes.items()}


def test_every_client_works_over_tls_with_a_login(secure: SecureKafka) -> None:
    kafka = properties(secure)
    Topics(kafka).ensure([TopicSpec("secure", cleanup="compact")])
    producer = TransactionalProducer(kafka, "secure")
    producer.init()
    producer.begin()
    producer.produce("secure", b"k", b"v")
    producer.commit()
    producer.close()
    assert read_all(kafka, "secure") == {b"k": b"v"}


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_refused_login_or_certificate_is_a_prerequisite_that_says_so(secure: SecureKafka, wrong: str) -> None:
    kafka = properties(secure, sasl_password="wrong-password")
    if wrong == "authority":
        kafka = properties(secure)
        del kafka["ssl.ca.location"]
    producer = TransactionalProducer(kafka, "secure")
    with pytest.raises(TailraceError) as caught:
        producer.init(timeout_s=240)
    producer.close()
    assert caught.value.kind is ErrorKind.PREREQUISITE
    assert "sasl.*" in (caught.value.remedy or "")
    assert "wrong-password" not in str(caught.value)
    with pytest.raises(TailraceError) as caught:
        Topics(kafka).exists("secure")
    assert caught.value.kind is ErrorKind.PREREQUISITE
