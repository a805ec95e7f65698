"""The words that readers meet: pages, help texts, labels and the reference use the field's."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.dashboard.definition_types import KINDS
from api.dashboard.layout import NAVIGATION

ROOT = Path(__file__).resolve().parents[3]
BANNED = {  # what to write instead
    "whoever|whom": "the caller, the participant, the admin",
    "somebody|someone|nobody|everybody|anybody": "a participant, no participant, all callers",
    "so many": "a number, at most N",
    "is told|are told|was told|be told": "is notified, is answered, receives a fact",
    "stands? for|stood|stands": "means, is",
    "put away|give up|gives up|given up": "discard, exhausted",
    "kick|kicks|kicked|nudge|nudges": "wake, signal",
    "poison|buried": "dead letter",
    "mend|mended|mends": "fix, correct, repair",
    "for ever": "kept, without a limit",
    "hear of|heard": "receive",
    "news": "fact",
    "people|person|persons": "participants, users, admins",
}
_WORDS = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
_ALLOWED = re.compile(  # messages for people, and a command's name
    r"(for|what) people|people, monitoring|unbroken export person|\bexport person\b|^  person  ",
    re.IGNORECASE | re.MULTILINE,
)
# Its terms are those of the code that it describes, file by file.
NOT_HELD = {"docs/architecture.md"}


def pages() -> Iterator[Path]:
    """Every page in Markdown that a reader opens."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))
    yield ROOT / "CHANGELOG.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted((ROOT / "clients").glob("*/README.md"))


PAGES = [page for page in pages() if str(page.relative_to(ROOT)) not in NOT_HELD]
TEMPLATES = sorted((ROOT / "api/dashboard/templates").rglob("*.html"))


def found_in(text: str) -> list[str]:
    """The banned words of a text, each with what is around it."""
    text = _ALLOWED.sub("", text)
    return [text[max(0, one.start() - 40) : one.end() + 20] for one in _WORDS.finditer(text)]


def prose(text: str) -> str:
    """A page without its code, whose names are those of tests, settings and commands."""
    text = re.sub(r"^```(?!text).*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def visible(template: str) -> str:
    """The words of a template that a browser shows."""
    template = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", " ", template, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", template)


def test_a_banned_word_is_found() -> None:
    assert found_in("A letter that nobody reads is put away.") != []
    assert found_in("Run `unbroken export person user_42`, and read what people say.") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_field(page: Path) -> None:
    assert found_in(prose(page.read_text())) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_page_of_the_dashboard_uses_the_words_of_the_field(template: Path) -> None:
    assert found_in(visible(template.read_text())) == []


def test_the_labels_and_hints_of_forms_use_the_words_of_the_field() -> None:
    for kind in KINDS.values():
        texts = [kind.noun, kind.title, kind.about, *(heading for _, heading in kind.columns)]
        texts += [text for one in kind.inputs for text in (one.label, one.help)]
        assert [word for text in texts for word in found_in(text)] == []
        assert all(one.help == "" or one.help.endswith((".", ".'", "}")) for one in kind.inputs)


def test_the_dashboard_calls_a_destination_so() -> None:
    names = [name for entries in NAVIGATION.values() for _, name, _ in entries]
    assert "Destinations" in names
    assert "Webhooks" not in names
    assert (KINDS["webhooks"].noun, KINDS["webhooks"].title) == ("destination", "Destinations")


def described(value: Any) -> Iterator[str]:
    """Every summary and description of a part of the OpenAPI document."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("summary", "description") and isinstance(one, str):
                yield one
            elif name not in ("example", "examples"):
                yield from described(one)
    elif isinstance(value, list):
        for one in value:
            yield from described(one)


def test_the_reference_uses_the_words_of_the_field() -> None:
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    texts = set(described(document))
    assert len(texts) > 300
    assert {text: found for text in texts if (found := found_in(prose(text)))} == {}


DECISIONS = sorted((ROOT / "docs/decisions").glob("0*.md"))
FORM = ["Context", "Decision", "Consequences", "Alternatives"]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.stem)
def test_a_decision_has_the_one_form(decision: Path) -> None:
    text = decision.read_text()
    number = int(decision.stem[:4])
    assert re.match(rf"# {number}\. \S", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == FORM


FOLDERS = ("api", "workers", "webhooks", "models", "docs/generate")


def messages(path: Path) -> Iterator[str]:
    """The texts of a module, without its docstrings."""
    tree = ast.parse(path.read_text())
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings and " " in text:
                yield text


def test_no_message_of_the_code_has_a_banned_word() -> None:
    modules = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    wrong = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in modules
        if "migrations" not in path.parts
        for text in messages(path)
        for word in found_in(prose(text))
    }
    assert wrong == set()
