"""The shape of the code stays within its limits (docs/architecture.md)."""

from __future__ import annotations

import pytest

from tests.house.counts import Counts, count, read
from tests.house.tick_path import ROOT

MODULES_MAX = 21  # of a folder: what a reader takes in at a glance
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


@pytest.fixture(scope="module")
def counts() -> Counts:
    """Those of this checkout."""
    return count(read(ROOT))


def test_no_folder_holds_more_modules_than_a_reader_takes_in(counts: Counts) -> None:
    assert max(counts.modules.values()) <= MODULES_MAX, counts.modules


def test_no_file_is_longer_than_its_limit(counts: Counts) -> None:
    assert max(counts.files_longest.values()) <= FILE_LINES_MAX, counts.files_longest


def test_no_function_is_longer_than_its_limit(counts: Counts) -> None:
    assert max(counts.functions_longest.values()) <= FUNCTION_LINES_MAX, counts.functions_longest


def test_no_modules_import_each_other(counts: Counts) -> None:
    assert counts.cycles == []
