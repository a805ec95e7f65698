"""The benchmark: every figure in one run, beside what it is compared with.

`python -m tests.bench [--only NAME …] [--quick]` prints a table and writes build/bench.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.db import reading
from tests.bench import results
from tests.bench.measures import (
    measure_accept,
    measure_apply,
    measure_award,
    measure_costs,
    measure_deliver,
    measure_fairness,
    measure_forgiveness,
    measure_hot,
    measure_latency,
    measure_leaderboards,
    measure_points,
    measure_read,
    measure_saturation,
    measure_tenants,
)
from tests.bench.results import Row
from tests.bench.stack import Stack, running

PROJECT_ROOT = Path(__file__).parents[2]
MEASUREMENTS: dict[str, Callable[[Stack], list[Row]]] = {
    "throughput": measure_apply.throughput,
    "drain": measure_apply.drain,
    "forgiving": measure_forgiveness.forgiving,
    "outage": measure_forgiveness.outage,
    "beside": measure_forgiveness.beside,
    "restore": measure_forgiveness.restore,
    "award": measure_award.award,
    "points": measure_points.points,
    "boards": measure_leaderboards.boards,
    "accept": measure_accept.accept,
    "wait": measure_accept.wait,
    "read": measure_read.read,
    "deliver": measure_deliver.deliver,
    "costs": measure_costs.costs,
    "latency": measure_latency.latency,
    "fairness": measure_fairness.fairness,
    "saturation": measure_saturation.saturation,
    "hot": measure_hot.hot,
    "tenants": measure_tenants.tenants,
    "size": measure_apply.size,
    "memory": measure_apply.memory,
}


def main() -> int:
    """Measure, print, write; 1 when a figure falls short."""
    options = _options()
    rows: list[Row] = []
    with running(PROJECT_ROOT / "build" / "bench", is_quick=options.quick) as stack:
        facts = results.machine(_servers(stack))
        for name in options.only or MEASUREMENTS:
            started = time.monotonic()
            rows += MEASUREMENTS[name](stack)
            sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
    results.show(rows, facts)
    results.write(rows, facts, PROJECT_ROOT / "build" / "bench.json")
    return 0 if options.quick or all(row.is_met for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, metavar="NAME")
    parser.add_argument(
        "--quick", action="store_true", help="small numbers: shows that it runs, not how fast"
    )
    return parser.parse_args()


def _servers(stack: Stack) -> dict[str, str]:
    with reading(stack.engine) as session:
        postgres = str(session.exec_driver_sql("SHOW server_version").scalar_one())
    redis: Any = stack.intake.client.info("server")
    return {"postgres": postgres, "redis": redis["redis_version"]}


if __name__ == "__main__":
    sys.exit(main())
