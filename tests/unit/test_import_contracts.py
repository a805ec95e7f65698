"""Every import contract of pyproject.toml turns red for an import that it forbids."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.application import use_cases
from importlinter.domain.contract import ContractCheck, registry

ROOT = Path(__file__).parents[2]
CONFIGURATION = read_configuration(str(ROOT / "pyproject.toml"))
CONTRACTS: dict[str, dict[str, Any]] = {
    one["name"]: one for one in CONFIGURATION["contracts_options"]
}
# By contract: imports of which each alone breaks it.
BREAKS: dict[str, list[tuple[str, str | None]]] = {
    "One arrow: api -> workers -> webhooks -> models": [
        ("models.clock", "webhooks.facts"),
        ("webhooks.facts", "workers.tasks"),
        ("workers.tasks", "api.app"),
    ],
    "No import cycles, between modules or between folders": [
        ("api.http.problems", "api.http.request_context"),
        ("workers.telemetry.metrics_store", "workers.intake.redis_keys"),
        ("webhooks.errors", "webhooks.egress"),
        ("models.ids", "models.db.schema"),
    ],
    "The layers of api": [
        ("api.http.auth", "api.input.validation"),
        ("api.resources.activity.ticks", "api.openapi.document"),
        ("api.newcomer", None),
    ],
    "Resources do not import each other": [
        ("api.resources.participants.scrip", "api.resources.definitions.programs"),
        ("api.resources.shared.audit", "api.resources.operator.audit_log"),
    ],
    "The layers of the command line": [
        ("api.cli.local.up", "api.cli.connect.service"),
        ("api.cli.commands.keys", "api.cli.doctor.checks"),
    ],
    "The layers of workers": [
        ("workers.apply.drain", "workers.maintenance.sweep"),
        ("workers.telemetry.metrics", "workers.intake.messages"),
        ("workers.newcomer", None),
    ],
    "The layers of webhooks": [
        ("webhooks.http_client", "webhooks.attempt"),
        ("webhooks.newcomer", None),
    ],
    "The layers of models": [
        ("models.ledgers.ticks", "models.people.profile"),
        ("models.newcomer", None),
    ],
    "The API reaches the workers through their intake, previews and telemetry only": [
        ("api.writes.submit", "workers.apply.drain"),
        ("api.app", "workers.runtime.context"),
        ("api.app", "workers.newcomer"),
    ],
    "Settings are read at composition roots only": [
        ("api.http.request_context", "settings"),
        ("workers.intake.client", "settings"),
    ],
    "The rules are pure": [
        ("models.rules.streaks", "models.clock"),
        ("models.rules.streaks", "random"),
    ],
    "The client needs requests alone": [
        ("unbroken_client.client", "pydantic"),
        ("unbroken_client.client", "models.clock"),
    ],
    "The client serves the command line": [("api.writes.submit", "unbroken_client.client")],
    "Each library has its home": [
        ("api.app", "redis"),
        ("models.clock", "flask"),
        ("api.app", "newcomer"),
    ],
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the product, those for types included."""
    options = CONFIGURATION["session_options"]
    use_cases._register_contract_types(use_cases.read_user_options(str(ROOT / "pyproject.toml")))
    return grimp.build_graph(
        *options["root_packages"],
        include_external_packages=True,
        exclude_type_checking_imports=False,
        cache_dir=None,
    )


def checked(name: str, graph: grimp.ImportGraph) -> ContractCheck:
    """What a contract says of a graph, which it may change."""
    options = CONTRACTS[name]
    contract = registry.get_contract_class(options["type"])(
        name, CONFIGURATION["session_options"], options
    )
    return contract.check(copy.deepcopy(graph), verbose=False)


def test_type_checking_imports_count() -> None:
    assert CONFIGURATION["session_options"]["exclude_type_checking_imports"] == "False"


def test_every_contract_is_broken_here_once() -> None:
    assert BREAKS.keys() == CONTRACTS.keys()


@pytest.mark.parametrize("name", BREAKS)
def test_a_contract_turns_red_for_each_import_that_it_forbids(
    name: str, graph: grimp.ImportGraph
) -> None:
    assert checked(name, graph).kept
    for importer, imported in BREAKS[name]:
        broken = copy.deepcopy(graph)
        for module in {importer, imported or importer} - graph.modules:
            broken.add_module(module, is_squashed="." not in module)
        if imported is not None:
            broken.add_import(
                importer=importer, imported=imported, line_number=1, line_contents="import"
            )
        assert not checked(name, broken).kept, (importer, imported)


def test_a_library_without_an_import_has_no_home(graph: grimp.ImportGraph) -> None:
    less = copy.deepcopy(graph)
    less.remove_module("prometheus_client")
    assert checked("Each library has its home", less).metadata["faults"] == [
        "prometheus_client has a home and is not imported"
    ]
