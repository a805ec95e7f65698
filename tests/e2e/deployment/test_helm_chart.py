"""ops/helm/unbroken: rendered by Helm, checked against the schemas of Kubernetes and against us."""

from __future__ import annotations

import subprocess
from dataclasses import fields
from pathlib import Path

import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml
from flask.testing import FlaskClient

from models.db import Engine, transaction
from settings import Settings, variable
from tests.calls import make_streak, post_tick
from tests.conftest import BASE, Account
from tests.e2e.deployment.charts import (
    CHART,
    ROLES,
    SCALED,
    Objects,
    environment_of,
    pods,
    rendered,
)
from tests.e2e.running import ROOT
from tests.pipeline import Pipeline, forget_deliveries
from workers.intake.stream import STREAMS
from workers.maintenance.sweep import ENTRIES_PER_DRAIN

VERSIONS = ("1.29", "1.33", "1.37")  # the oldest that Chart.yaml admits, one between, the newest
WATCHED = ("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prom")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def objects(helm: Path) -> Objects:
    """Everything, scaled."""
    return rendered(helm, *SCALED)


def test_helm_finds_nothing_wrong(helm: Path) -> None:
    command = [str(helm), "lint", "--strict", str(CHART), "--set", "existingSecret=keys"]
    done = subprocess.run(
        [*command, "--kube-version", "1.33"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("settings", [(), SCALED, WATCHED, ("networkPolicy.enabled=false",)])
def test_kubernetes_knows_every_field(helm: Path, version: str, settings: tuple[str, ...]) -> None:
    checked = 0
    for one in rendered(helm, *settings, version=version).values():
        if one["apiVersion"].startswith(("keda.sh/", "monitoring.coreos.com/")):
            continue  # not of Kubernetes: looked at below
        kubernetes_validate.validate(one, version, strict=True)
        checked += 1
    assert checked >= 12


def test_every_role_runs_the_command_of_compose(objects: Objects) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    found = pods(objects)
    assert set(found) == {*ROLES, "migrate"}
    for role, pod in found.items():
        assert pod["containers"][0]["command"] == services[role]["command"], role


def test_no_pod_is_root_or_writes_beside_tmp_or_knows_the_cluster(objects: Objects) -> None:
    for role, pod in pods(objects).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, role
        assert pod["securityContext"]["runAsUser"] == 10001, role
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108
        assert pod["volumes"][0]["emptyDir"]["sizeLimit"]
        assert container["resources"]["limits"]["memory"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


def test_each_role_is_given_the_secrets_that_it_needs(objects: Objects) -> None:
    known = {variable(field.name) for field in fields(Settings)}
    database, redis = {"DATABASE_URL", "DATABASE_PASSWORD"}, {"REDIS_URL", "REDIS_PASSWORD"}
    wanted = dict.fromkeys(ROLES, database | redis) | {"beat": redis, "migrate": database}
    for role in ("api", "webhooks"):
        wanted[role] = wanted[role] | {"UNBROKEN_SECRET_KEYS"}
    for role, pod in pods(objects).items():
        env = environment_of(pod)
        assert set(env) <= known
        secrets = {name: one["valueFrom"] for name, one in env.items() if "valueFrom" in one}
        assert set(secrets) == wanted[role], role
        for name, source in secrets.items():
            may_be_missing = {"optional": True} if name.endswith("_PASSWORD") else {}
            assert source == {"secretKeyRef": {"name": "keys", "key": name} | may_be_missing}
    assert not any(kind == "Secret" for kind, _ in objects)


def test_a_pod_waits_for_the_schema_and_then_no_server_takes_it_out_of_the_service(
    objects: Objects,
) -> None:
    container = pods(objects)["api"]["containers"][0]
    probes = {name: container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/readyz/postgres",
        "liveness": "/livez",
        "readiness": "/livez",
    }
    assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 600
    # What is under way at SIGTERM has 12 s (--workers-kill-timeout), after 5 s out of the Service.
    assert pods(objects)["api"]["terminationGracePeriodSeconds"] > 12 + 5
    service = objects["Service", "prod-api"]["spec"]
    labels = objects["Deployment", "prod-api"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_prometheus_finds_the_metrics_and_nobody_outside_the_cluster_does(helm: Path) -> None:
    found = rendered(helm, *WATCHED)
    labels = found["Deployment", "prod-metrics"]["spec"]["template"]["metadata"]["labels"]
    service = found["Service", "prod-metrics"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    (port,) = pods(found)["metrics"]["containers"][0]["ports"]
    (offered,) = service["spec"]["ports"]
    assert offered["targetPort"] == port["name"]
    monitor = found["ServiceMonitor", "prod-metrics"]
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (offered["name"], "/metrics")
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    scraped = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())
    assert job == scraped["scrape_configs"][0]["job_name"]
    (rule,) = found["NetworkPolicy", "prod-metrics"]["spec"]["ingress"]
    assert rule["ports"] == [{"port": port["containerPort"], "protocol": "TCP"}]
    assert rule["from"] == [{"namespaceSelector": {}}]
    assert ("ServiceMonitor", "prod-metrics") not in rendered(helm)


def test_workers_have_the_time_to_stop_that_compose_gives_them(objects: Objects) -> None:
    ours = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-ours"]
    for role in ("drain", "webhooks", "upkeep", "beat"):
        seconds = pods(objects)[role]["terminationGracePeriodSeconds"]
        assert f"{seconds}s" == ours["stop_grace_period"]


def test_the_schema_is_migrated_before_anything_new_starts(objects: Objects) -> None:
    job = objects["Job", "prod-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    # Helm waits for five minutes unless it is told otherwise (--timeout).
    assert 0 < job["spec"]["activeDeadlineSeconds"] < 300


def test_every_role_is_disrupted_one_at_a_time_and_spread(objects: Objects) -> None:
    for role in ROLES:
        budget = objects["PodDisruptionBudget", f"prod-{role}"]["spec"]
        template = objects["Deployment", f"prod-{role}"]["spec"]["template"]
        labels = template["metadata"]["labels"].items()
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= labels
        spread = template["spec"]["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        assert all(one["labelSelector"]["matchLabels"].items() <= labels for one in spread)


def test_nobody_reaches_a_worker_and_only_senders_reach_the_world(objects: Objects) -> None:
    everyone = objects["NetworkPolicy", "prod"]["spec"]
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everyone
    assert {port["port"] for rule in everyone["egress"] for port in rule["ports"]} == {
        53,
        5432,
        6379,
    }
    for pod in ROLES:
        labels = objects["Deployment", f"prod-{pod}"]["spec"]["template"]["metadata"]["labels"]
        assert everyone["podSelector"]["matchLabels"].items() <= labels.items()
    send = objects["NetworkPolicy", "prod-send"]["spec"]
    assert send["podSelector"]["matchExpressions"][0]["values"] == ["api", "webhooks"]
    blocks = [one["ipBlock"] for one in send["egress"][0]["to"]]
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "::/0"}
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7"} <= {
        cidr for block in blocks for cidr in block["except"]
    }


# -- scaling -------------------------------------------------------------------------------------


def test_drains_are_scaled_on_what_waits_in_all_streams(objects: Objects) -> None:
    spec = objects["ScaledObject", "prod-drain"]["spec"]
    assert {one["metadata"]["stream"] for one in spec["triggers"]} == set(STREAMS)
    assert {one["type"] for one in spec["triggers"]} == {"redis-streams"}
    modifiers = spec["advanced"]["scalingModifiers"]
    assert modifiers["formula"].split(" + ") == [one["name"] for one in spec["triggers"]]
    assert modifiers["target"] == str(ENTRIES_PER_DRAIN)
    assert spec["minReplicaCount"] >= 1
    authentication = objects["TriggerAuthentication", "prod-redis"]["spec"]["secretTargetRef"]
    assert authentication == [{"parameter": "password", "name": "keys", "key": "REDIS_PASSWORD"}]
    assert {one["authenticationRef"]["name"] for one in spec["triggers"]} == {"prod-redis"}


def test_the_sweep_asks_for_as_many_workers_as_there_may_be(helm: Path, objects: Objects) -> None:
    for found, drains in ((objects, "4"), (rendered(helm, "drain.fixed=3"), "3")):
        for pod in pods(found).values():
            assert environment_of(pod)["UNBROKEN_DRAIN_PROCESSES"]["value"] == drains
    assert objects["ScaledObject", "prod-drain"]["spec"]["maxReplicaCount"] == 4
    assert "replicas" not in objects["Deployment", "prod-drain"]["spec"]
    assert rendered(helm, "drain.fixed=3")["Deployment", "prod-drain"]["spec"]["replicas"] == 3


def test_deliverers_are_scaled_on_deliveries_that_are_due(
    objects: Objects, client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    (trigger,) = objects["ScaledObject", "prod-webhooks"]["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert trigger["metadata"]["connectionFromEnv"] == "DATABASE_URL"
    query = sa.text(trigger["metadata"]["query"])

    def due() -> int:
        with transaction(engine) as session:
            return int(session.execute(query).scalar_one())

    forget_deliveries(engine)
    make_streak(client)
    hook = {"url": "http://127.0.0.1:9/", "event_types": ["*"]}
    assert client.post(f"{BASE}/admin/webhooks", json=hook).status_code == 201
    for nth in range(3):
        post_tick(client, f"due_{nth}")
    pipeline.drain()
    assert due() == 3
    with transaction(engine) as session:
        session.execute(_PARK, {"tenant_id": account.live.id})
    assert due() == 0


_PARK = sa.text("""
INSERT INTO webhook_health (tenant_id, webhook_id, parked_until)
SELECT DISTINCT tenant_id, webhook_id, now() + interval '1 hour' FROM deliveries_pending
WHERE tenant_id = :tenant_id
ON CONFLICT (tenant_id, webhook_id) DO UPDATE SET parked_until = excluded.parked_until
""")
