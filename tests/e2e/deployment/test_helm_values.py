"""values.yaml: what an operator may say, what becomes of it, and what is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.app import DIRECTORY_CONNECTIONS
from api.cli.serve import API_PROCESSES
from tests.e2e.deployment.charts import (
    CHART,
    ROLES,
    SCALED,
    Objects,
    by_name,
    environment_of,
    pods,
    rendered,
    run,
)
from tests.e2e.deployment.cluster import Cluster
from tests.e2e.running import ROOT

pytestmark = pytest.mark.timeout(600)
EVERY_ROLE = {*ROLES, "migrate"}
DIGEST = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
VALUES = """
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
serviceAccountName: gamify
podAnnotations: {note: "1000000"}
podLabels: {team: growth}
deploymentAnnotations: {reload: "true"}
extraEnv:
  - {name: SSL_CERT_FILE, value: /ca/ca.crt}
  - {name: HTTPS_PROXY, valueFrom: {secretKeyRef: {name: proxy, key: url}}}
extraVolumes: [{name: ca, configMap: {name: company-ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
nodeSelector: {disk: ssd}
tolerations: [{key: gone, operator: Exists, effect: NoExecute, tolerationSeconds: 2000000}]
affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: []}}
topologySpreadConstraints:
  - {maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}
ingress:
  enabled: true
  className: nginx
  annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 1m}
  hosts: [streaks.example.com, www.example.com]
  paths: [/api, /v1]
  tls: [{secretName: tls, hosts: [streaks.example.com]}]
"""


@pytest.fixture(scope="session")
def given(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The chart with everything said that may be said of all pods."""
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(VALUES)
    return rendered(helm, values=file)


def test_kubernetes_knows_what_is_said(given: Objects) -> None:
    for one in given.values():
        kubernetes_validate.validate(one, "1.33", strict=True)


def test_every_pod_has_the_volumes_the_environment_and_the_place_that_are_said(
    given: Objects,
) -> None:
    said = yaml.safe_load(VALUES)
    assert set(pods(given)) == EVERY_ROLE
    for role, pod in pods(given).items():
        (container,) = pod["containers"]
        assert container["image"] == f"unbroken@{DIGEST}", role
        assert container["env"][-2:] == said["extraEnv"]
        assert [one["mountPath"] for one in container["volumeMounts"]] == ["/tmp", "/ca"]  # noqa: S108
        assert pod["volumes"][1:] == said["extraVolumes"]
        assert pod["serviceAccountName"] == "gamify"
        assert pod["automountServiceAccountToken"] is False
        for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
            assert pod[name] == said[name], (role, name)


def test_pods_and_deployments_have_the_annotations_that_are_said(given: Objects) -> None:
    for (kind, _), one in given.items():
        if kind in ("Deployment", "Job"):
            metadata = one["spec"]["template"]["metadata"]
            assert metadata["annotations"]["note"] == "1000000"
            assert metadata["labels"]["team"] == "growth"
        if kind == "Deployment":
            assert one["metadata"]["annotations"] == {"reload": "true"}
            assert "team" not in one["spec"]["selector"]["matchLabels"]


def test_an_ingress_leads_to_the_api(given: Objects, helm: Path) -> None:
    ingress = given["Ingress", "prod-api"]
    (port,) = given["Service", "prod-api"]["spec"]["ports"]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == [
        "streaks.example.com",
        "www.example.com",
    ]
    for rule in ingress["spec"]["rules"]:
        paths = rule["http"]["paths"]
        assert [one["path"] for one in paths] == ["/api", "/v1"]
        assert {one["backend"]["service"]["name"] for one in paths} == {"prod-api"}
        assert {one["backend"]["service"]["port"]["name"] for one in paths} == {port["name"]}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ("Ingress", "prod-api") not in rendered(helm)


# -- numbers ---------------------------------------------------------------------------------------


def large(values: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Values in which every integer is as large as the schema allows, up to three million."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        rule = schema.get("properties", {}).get(name, {})
        if isinstance(value, dict):
            found[name] = large(value, rule)
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = min(3_000_000, rule.get("maximum", 3_000_000))
    return found


def test_a_million_in_a_file_of_values_stays_a_number(helm: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    said = large(values, schema)
    said["postgres"] = {"maxConnections": 0}
    said["settings"] = {
        "UNBROKEN_INTAKE_ENTRIES_MAX": 20_000_000,
        "UNBROKEN_WAIT_SECONDS": 2.5,
        "UNBROKEN_DASHBOARD": False,
        "UNBROKEN_WEBHOOK_PORTS": "80",
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(said))
    done = run(helm, "existingSecret=keys", *SCALED, values=file)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\de\+\d", done.stdout)
    objects = by_name(done.stdout)
    assert len(re.findall(r"\b3000000\b", done.stdout)) > 20
    for one in objects.values():
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, "1.33", strict=True)
    env = environment_of(pods(objects)["drain"])
    assert {name: env[name]["value"] for name in said["settings"]} == {
        "UNBROKEN_INTAKE_ENTRIES_MAX": "20000000",
        "UNBROKEN_WAIT_SECONDS": "2.5",
        "UNBROKEN_DASHBOARD": "false",
        "UNBROKEN_WEBHOOK_PORTS": "80",
    }


# -- a Secret that changes -------------------------------------------------------------------------


def test_a_changed_secret_restarts_every_pod_at_the_next_upgrade(helm: Path) -> None:
    with Cluster() as cluster:
        first = by_name(cluster.render(helm, secret_version="41"))
        again = by_name(cluster.render(helm, secret_version="41"))
        changed = by_name(cluster.render(helm, secret_version="42"))
    assert pods(first) and first == again
    for key, one in changed.items():
        if key[0] == "Deployment":
            assert one["spec"]["template"] != first[key]["spec"]["template"], key
            one["spec"]["template"]["metadata"].pop("annotations")
            first[key]["spec"]["template"]["metadata"].pop("annotations")
            assert one == first[key]


def test_where_no_cluster_is_asked_a_revision_restarts_every_pod(helm: Path) -> None:
    before, after = rendered(helm), rendered(helm, "secretRevision=2026-07")
    for key, one in before.items():
        if key[0] == "Deployment":
            assert one["spec"]["template"] != after[key]["spec"]["template"], key


# -- connections to Postgres -----------------------------------------------------------------------


def processes(objects: Objects) -> int:
    """How many processes an API pod has."""
    command = pods(objects)["api"]["containers"][0]["command"]
    assert "--processes" not in command
    return API_PROCESSES


def most(objects: Objects) -> int:
    """Connections during a rollout, counted from what is rendered and from our code."""
    env = environment_of(pods(objects)["api"])
    api = int(env["UNBROKEN_API_CONNECTIONS"]["value"]) + DIRECTORY_CONNECTIONS
    each = {"api": processes(objects) * api, "drain": 2, "webhooks": 2, "upkeep": 2, "metrics": 1}
    pool = re.search(
        r"timeout_ms=int\(STATEMENT_SECONDS.*?pool=(\d)", _text("workers/app.py"), re.S
    )
    assert pool and int(pool[1]) == each["drain"]
    assert "pool=1)" in _text("api/cli/commands/metrics.py")
    total = 2  # the migration, and one more: KEDA or a command
    for role, connections in each.items():
        spec = objects["Deployment", f"prod-{role}"]["spec"]
        scaled = objects.get(("ScaledObject", f"prod-{role}"))
        replicas = scaled["spec"]["maxReplicaCount"] if scaled else spec["replicas"]
        assert spec["strategy"]["rollingUpdate"]["maxSurge"] == 1
        total += (replicas + 1) * connections
    return total


def _text(path: str) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize("settings", [(), SCALED])
def test_a_rollout_of_the_defaults_fits_a_default_postgres(
    helm: Path, settings: tuple[str, ...]
) -> None:
    assert most(rendered(helm, *settings)) <= 100 - 3  # three are kept for superusers


@pytest.mark.parametrize("settings", [(), SCALED])
def test_the_chart_counts_connections_as_we_do(helm: Path, settings: tuple[str, ...]) -> None:
    needed = most(rendered(helm, *settings))
    rendered(helm, *settings, f"postgres.maxConnections={needed + 3}")
    done = run(helm, "existingSecret=keys", *settings, f"postgres.maxConnections={needed + 2}")
    assert f"takes up to {needed} connections" in done.stderr


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("existingSecret=", "existingSecret is missing"),
        ("autoscaling.enabled=true", "autoscaling.redis.address is missing"),
        ("autoscaling.redis.address=redis://h:1", "does not match pattern"),
        ("drain.replicas=3", "replicas"),
        ("drain.minReplicas=0", "minReplicas"),
        ("settings.UNBROKEN_SECRET_KEYS=x", "UNBROKEN_SECRET_KEYS"),
        ("settings.UNBROKEN_FAILPOINTS=x", "UNBROKEN_FAILPOINTS"),
        ("settings.PATH=x", "PATH"),
        ("settings.UNBROKEN_API_CONNECTIONS=3", "UNBROKEN_API_CONNECTIONS"),
        ("api.replicas=9", "postgres.maxConnections"),
        ("image.digest=latest", "digest"),
        ("extraEnv[0].name=REDIS_URL", "extraEnv"),
        ("extraVolumes[0].name=tmp", "extraVolumes"),
        ("ingress.enabled=true", "ingress.hosts is missing"),
        ("podAnnotations.count=1", "podAnnotations"),
    ],
)
def test_what_cannot_be_is_refused_and_named(helm: Path, setting: str, word: str) -> None:
    done = run(helm, "existingSecret=keys", setting)
    assert done.returncode != 0
    assert word in done.stderr


def test_a_setting_reaches_every_process(helm: Path) -> None:
    for pod in pods(rendered(helm, "settings.UNBROKEN_PROXIES=1")).values():
        assert environment_of(pod)["UNBROKEN_PROXIES"]["value"] == "1"


def test_what_the_page_says_to_set_may_be_set(helm: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    install, *upgrades = re.findall(r"^helm (?:install|upgrade) .*", page, re.MULTILINE)
    said = re.findall(r"--set (\S+)", install)
    assert len(upgrades) == 3
    for command in [install, *upgrades]:
        assert run(helm, *said, *re.findall(r"--set (\S+)", command)).returncode == 0


def test_the_migration_can_be_rendered_alone_and_is_the_only_hook(helm: Path) -> None:
    command = "helm template unbroken ops/helm/unbroken --values values.yaml --show-only "
    assert f"{command}templates/migrate.yaml |" in (ROOT / "docs" / "operations.md").read_text()
    hooks = [
        key
        for key, one in rendered(helm, *SCALED).items()
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    ]
    assert hooks == [("Job", "prod-migrate")]  # --no-hooks leaves out nothing else


def test_the_schema_of_values_covers_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) == {*values, "global"}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            assert set(schema["properties"][name]["properties"]) == set(value), name
