"""The manifests of Kubernetes agree with the code, the container file and each other: no cluster has run them."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from control.cli import app
from runtime import configuration, metrics, stop_guard
from runtime.kafka import outage
from schemas.settings import Settings
from tests.unit.architecture.tree import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
MANIFESTS: list[dict[str, Any]] = [
    document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
CONFIGURATION = "/etc/tailrace"
SECRETS = "/run/secrets/tailrace"


def _of_kind(kind: str) -> list[dict[str, Any]]:
    found = [manifest for manifest in MANIFESTS if manifest["kind"] == kind]
    assert found
    return found


WORKLOADS = _of_kind("Deployment") + _of_kind("Job")
every_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=[w["metadata"]["name"] for w in WORKLOADS])
every_deployment = pytest.mark.parametrize(
    "workload", _of_kind("Deployment"), ids=[w["metadata"]["name"] for w in _of_kind("Deployment")]
)


def _pod(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    assert len(pod["containers"]) == 1
    return pod


def _mounted(pod: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the volume that stands at a path."""
    (name,) = (mount["name"] for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == path)
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == name)
    return dict(volume)


def _arguments(workload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the command that a container runs, and its arguments as our own command line reads them."""
    container = _pod(workload)["containers"][0]
    assert "command" not in container
    assert 'ENTRYPOINT ["tailrace"]' in DOCKERFILE
    command: Any = typer.main.get_command(app)
    words = list(container["args"])
    names = []
    while hasattr(command, "commands"):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    with command.make_context(names[-1], words) as context:
        return " ".join(names), dict(context.params)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The configuration as the pods read it, with the secret's files beside it."""
    (secret,) = _of_kind("Secret")
    (config_map,) = _of_kind("ConfigMap")
    for name, value in secret["stringData"].items():
        (tmp_path / name).write_text(value)
    ((name, text),) = config_map["data"].items()
    assert set(re.findall(r"\$\{(.*?)\}", text)) == {f"file:{SECRETS}/{key}" for key in secret["stringData"]}
    file = tmp_path / name
    file.write_text(text.replace(SECRETS, str(tmp_path)))
    return configuration.load(file, {})


@every_workload
def test_pods_run_commands_that_exist_with_the_configuration_that_is_mounted(
    workload: dict[str, Any], settings: Settings
) -> None:
    command, arguments = _arguments(workload)
    (config_map,) = _of_kind("ConfigMap")
    assert arguments["config"] in [Path(CONFIGURATION, name) for name in config_map["data"]]
    pod = _pod(workload)
    assert _mounted(pod, CONFIGURATION)["configMap"]["name"] == config_map["metadata"]["name"]
    assert _mounted(pod, SECRETS)["secret"]["secretName"] == _of_kind("Secret")[0]["metadata"]["name"]
    component = workload["metadata"]["labels"]["app.kubernetes.io/component"]
    if command == "apply run":
        assert arguments["target"] in settings.targets
        assert component == f"apply-{arguments['target']}"
        assert workload["spec"]["replicas"] <= settings.topics.partitions
    else:
        assert component == command.removesuffix(" run")


def test_every_target_has_its_appliers_and_one_capture_is_there(settings: Settings) -> None:
    runs = [_arguments(workload) for workload in _of_kind("Deployment")]
    assert sorted(arguments["target"] for command, arguments in runs if command == "apply run") == [*settings.targets]
    assert [command for command, _ in runs if command != "apply run"] == ["capture run"]


@every_workload
def test_what_is_large_goes_to_a_volume_on_disk(workload: dict[str, Any], settings: Settings) -> None:
    pod = _pod(workload)
    container = pod["containers"][0]
    directory = settings.capture.state_directory
    assert directory is not None
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {"TMPDIR": directory}
    volume = _mounted(pod, directory)["emptyDir"]
    assert "medium" not in volume
    assert volume["sizeLimit"]


@every_workload
def test_pods_run_as_the_image_s_user_with_nothing_to_write_but_the_volume(workload: dict[str, Any]) -> None:
    pod = _pod(workload)
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"] is True
    # Else the files of the secret are not to be read, and the volume not to be written.
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert _mounted(pod, SECRETS)["secret"]["defaultMode"] == 0o440
    container = pod["containers"][0]["securityContext"]
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}


@every_deployment
def test_probes_and_prometheus_find_what_the_services_serve(workload: dict[str, Any]) -> None:
    _, arguments = _arguments(workload)
    container = _pod(workload)["containers"][0]
    (port,) = container["ports"]
    assert arguments["metrics_port"] == port["containerPort"]
    assert arguments["metrics_address"] != "127.0.0.1"
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} == {port["name"]}
    (policy,) = _of_kind("NetworkPolicy")
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    with metrics.serve("127.0.0.1", 0, metrics.Liveness()) as server:
        for path in {annotations["prometheus.io/path"], *(probe["path"] for probe in probes)}:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
                assert answer.status == 200


@every_deployment
def test_a_service_has_time_to_end_before_it_is_killed(workload: dict[str, Any]) -> None:
    grace_s = _pod(workload)["terminationGracePeriodSeconds"]
    assert grace_s > 2 * (stop_guard.PATIENCE_S + stop_guard.PROBES * outage.PROBE_TIMEOUT_S)
    assert f"terminationGracePeriodSeconds: {grace_s}" in DOCKERFILE


@every_deployment
def test_selectors_find_the_pods_and_drains_of_nodes_go_on(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels == workload["metadata"]["labels"]
    (spread,) = _pod(workload)["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    (budget,) = (b["spec"] for b in _of_kind("PodDisruptionBudget") if b["spec"]["selector"]["matchLabels"] == labels)
    assert budget["maxUnavailable"] >= 1
    (policy,) = _of_kind("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_page_names_every_file_and_what_it_names_is_there() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    named = set(re.findall(r"deploy/kubernetes/([\w-]+\.yaml)", page))
    assert named == {path.name for path in FOLDER.glob("*.yaml")}
    names = {f"{manifest['kind'].lower()}/{manifest['metadata']['name']}" for manifest in WORKLOADS}
    commands = set(re.findall(r"\b((?:deployment|job)/[\w-]+)", page))
    assert commands
    assert commands <= names
