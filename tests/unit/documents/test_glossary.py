"""docs/glossary.md holds the words; the names of the code are held against it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("api", "workers", "webhooks", "models")
# Names that a user, an operator or a library's interface has: they stay, with the reason.
ALLOWED = {
    "api/cli/commands/person.py": "the command `unbroken export person`",
    "person": "the command `unbroken export person`",
    "claim_reward": "an operationId of the API",
    "get_claim": "an operationId of the API",
    "import_claims": "an operationId of the API",
    "claimed_us": "named as the column claimed_at and the field of the API",
    "RowsMoved": "Postgres moves the row: its ctid is another one",
    "settle": "an endpoint that pages name",
    "follow": "the option `--follow` of commands, and the name of the trace they follow",
}
# The package of profiles, searches and exports has the name that house rules gave it.
ALLOWED_FOLDERS = {"models/people"}


def test_no_public_name_of_the_code_has_a_word_that_the_glossary_rules_out() -> None:
    banned = banned_words()
    assert {"tell", "place", "standing", "people"} <= banned
    wrong = {
        f"{where}: {name}"
        for where, name in names()
        if banned & set(words(name)) and name not in ALLOWED and "dead_letter" not in name.lower()
    }
    assert wrong == set()


def test_no_two_classes_of_the_four_folders_share_a_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_every_home_that_the_glossary_names_exists() -> None:
    for row in rows():
        for module in re.findall(r"`((?:api|workers|webhooks|models)[.\w]*)`", row[2]):
            path = ROOT / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), module


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def banned_words() -> set[str]:
    listed = {word.strip(" `") for row in rows() for word in row[3].split(",")}
    return {word for word in listed if " " not in word}  # of several words: for prose alone


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def names() -> Iterator[tuple[str, str]]:
    """The public names: of modules, classes and functions."""
    for path in sources():
        where = str(path.relative_to(ROOT))
        if where not in ALLOWED and str(path.parent.relative_to(ROOT)) not in ALLOWED_FOLDERS:
            yield where, path.stem
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) if name[0] != "_":
                    yield where, name


def words(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def test_loop_variables_and_parameters_of_lambdas_are_nouns() -> None:
    assert [where for where in bound_names() if where.rpartition(" ")[2] in NOT_NOUNS] == []


NOT_NOUNS = {"one", "each", "found", "mine"}


def bound_names() -> Iterator[str]:
    """The names that loops, comprehensions and lambdas bind."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.For(target=target) | ast.comprehension(target=target):
                    bound = [name.id for name in ast.walk(target) if isinstance(name, ast.Name)]
                case ast.Lambda(args=ast.arguments(args=parameters)):
                    bound = [parameter.arg for parameter in parameters]
                case _:
                    continue
            yield from (f"{path.relative_to(ROOT)}:{node_line(node)} {name}" for name in bound)


def node_line(node: ast.AST) -> int:
    return node.target.lineno if isinstance(node, ast.comprehension) else node.lineno  # type: ignore[attr-defined]


def test_loop_variables_of_templates_are_nouns() -> None:
    templates = sorted((ROOT / "api").rglob("templates/**/*.html"))
    assert templates
    loops = [
        (path.name, loop)
        for path in templates
        for loop in re.findall(r"{%-?\s*for ([\w, ]+) in", path.read_text())
    ]
    assert [loop for loop in loops if NOT_NOUNS & set(re.findall(r"\w+", loop[1]))] == []
