"""The rules for Prometheus ask for metrics and labels that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from runtime import metrics
from tests.unit.architecture.test_packaging import commands
from tests.unit.architecture.tree import ROOT

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",)}
SAMPLES = {d.name + suffix: {*d.labels} for d in metrics.DESCRIBED for suffix in SUFFIXES[d.kind]}
OF_PROMETHEUS = {"instance", "job"}


def test_rules_ask_for_metrics_and_labels_that_there_are() -> None:
    assert len(RULES) > 5
    for rule in RULES:
        names = re.findall(r"\btailrace_\w+", rule["expr"])
        assert names
        assert set(names) <= SAMPLES.keys(), rule["alert"]
        known = set.union(*(SAMPLES[name] for name in names)) | OF_PROMETHEUS
        asked = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", rule["expr"])
        asked += re.findall(r"(\w+)=", "".join(re.findall(r"\{(.*?)\}", rule["expr"])))
        asked += re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        assert {label for list_ in asked for label in list_.split(", ")} <= known, rule["alert"]


def test_every_alert_says_which_replication_it_is_about() -> None:
    for rule in RULES:
        assert "tailrace_service_info" in rule["expr"], rule["alert"]
        assert "{{ $labels.replication }}" in rule["annotations"]["summary"], rule["alert"]


def test_rules_do_what_their_own_tests_say() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool here")
    command = [promtool, "test", "rules", "alerts.test.yaml"]
    done = subprocess.run(
        command, cwd=ROOT / "deploy/prometheus", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_say_what_is_wrong_and_what_to_do_by_commands_that_exist() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "action"}
        for named in re.findall(r"\btailrace ([a-z]+(?: list)?)", rule["annotations"]["action"]):
            assert named in commands(), rule["alert"]
