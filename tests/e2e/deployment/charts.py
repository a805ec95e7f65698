"""The Helm chart, rendered by a Helm that is built once from the Go module proxy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.running import ROOT
from tests.toolchains import GO

CHART = ROOT / "ops" / "helm" / "unbroken"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
FOLDER = ROOT / "build" / "helm-v3.22.0"
BUILD_SECONDS_MAX = 540  # two minutes on two cores that others use too
ROLES = ("api", "drain", "webhooks", "upkeep", "beat", "metrics")
SCALED = (
    "autoscaling.enabled=true",
    "autoscaling.redis.address=redis:6379",
    "autoscaling.redis.passwordKey=REDIS_PASSWORD",
)

Objects = dict[tuple[str, str], dict[str, Any]]


def build() -> Path:
    """Helm, built where it is not there yet."""
    program = FOLDER / "helm"
    if program.exists():
        return program
    env = os.environ | {"GOBIN": str(FOLDER), "GOFLAGS": "", "CGO_ENABLED": "0"}
    command = [GO, "install", "-ldflags=-s -w", HELM]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return program


def run(
    helm: Path, *settings: str, version: str = "1.33", values: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart with some settings, and a file of values."""
    sets = [part for setting in settings for part in ("--set", setting)]
    files = ["--values", str(values)] if values else []
    command = [str(helm), "template", "prod", str(CHART), "--namespace", "gamify"]
    return subprocess.run(
        [*command, "--kube-version", version, *files, *sets],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def rendered(
    helm: Path, *settings: str, version: str = "1.33", values: Path | None = None
) -> Objects:
    """What it renders, by kind and name."""
    done = run(helm, "existingSecret=keys", *settings, version=version, values=values)
    assert done.returncode == 0, done.stderr
    return by_name(done.stdout)


def by_name(text: str) -> Objects:
    """Some rendered objects by kind and name."""
    found = [one for one in yaml.safe_load_all(text) if one]
    objects = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(objects) == len(found)
    return objects


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pod of each role, the job's included."""
    kinds = ("Deployment", "Job")
    return {
        name.removeprefix("prod-"): one["spec"]["template"]["spec"]
        for (kind, name), one in objects.items()
        if kind in kinds
    }


def environment_of(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A pod's variables by name."""
    return {one["name"]: one for one in pod["containers"][0]["env"]}
