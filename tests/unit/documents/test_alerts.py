"""Alerts, dashboard and Prometheus' configuration: they are well formed, and name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.prometheus import family, of_postgres, of_redis
from tests.promtool import promtool
from workers.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[3]
OPS = ROOT / "ops"
RULES = yaml.safe_load((OPS / "prometheus" / "alerts.rules.yml").read_text())
DASHBOARD = json.loads((OPS / "grafana" / "dashboards" / "unbroken.json").read_text())
NAME = re.compile(r"\bunbroken_[a-z0-9_]+")
OF_THE_COLLECTOR = {"unbroken_server_up", "unbroken_build_info"}  # test_metrics.py scrapes them


def exported() -> set[str]:
    """Every name that a scrape may hold."""
    families = [*of_redis(None), *of_postgres(None, 0), *(family(metric, {}) for metric in METRICS)]
    names = set(OF_THE_COLLECTOR)
    for one in families:
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {one.name + end for end in ends.get(one.type, ("",))}
    return names


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_every_alert_names_only_what_is_exported() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(rules) >= 12
    for rule in rules:
        unknown = set(NAME.findall(rule["expr"])) - exported()
        assert not unknown, rule["alert"]
        assert {"summary", "action"} <= rule["annotations"].keys(), rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_the_dashboard_names_only_what_is_exported_and_all_that_is_counted() -> None:
    used = {name for text in expressions(DASHBOARD["panels"]) for name in NAME.findall(text)}
    assert not used - exported()
    for metric in METRICS:
        assert any(name.startswith(metric.name) for name in used), f"{metric.name} is on no panel"


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_page_for_operators_explains_every_alert() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in page


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.rules.yml"),
        ("test", "rules", "tests/alerts.yml"),
    ],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [promtool(), *arguments],
        cwd=OPS / "prometheus",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_disagree(tmp_path: Path) -> None:
    shutil.copytree(OPS / "prometheus", tmp_path / "p")
    rules = tmp_path / "p" / "alerts.rules.yml"
    rules.write_text(rules.read_text().replace("seconds > 300", "seconds > 3000"))
    done = subprocess.run(
        [promtool(), "test", "rules", "tests/alerts.yml"],
        cwd=tmp_path / "p",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0 and "UnbrokenOutboxOld" in done.stdout + done.stderr
