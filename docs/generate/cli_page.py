"""The command-line reference, docs/cli.md: `python -m docs.generate.cli_page`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from api.cli.main import main

COLUMNS = 100
HEAD = """\
# The command line

Generated from `--help` by `make cli`; a test compares. Start with `unbroken --help`.

- **Connection.** Commands that use the API take `--url` (`UNBROKEN_URL`) and `--key`
  (`UNBROKEN_KEY`; `ps` does not show the environment). Without them they find an `unbroken up` on
  this machine. Commands for operators read the data folder of `unbroken up`, or `DATABASE_URL` and
  `REDIS_URL`.
- **Output.** `--json` prints JSON on stdout; messages for people go to stderr. Colours and spinners
  appear only on a terminal.
- **Exit codes.** 0: done. 1: refused, not found, or only partly done. 2: wrong usage.
- **Completion.** `unbroken completion bash >> ~/.bashrc`, or `zsh`, `fish`.
"""


def text() -> str:
    """The whole document."""
    return "\n".join([HEAD, *_of(main, "unbroken", None)]).rstrip() + "\n"


def _of(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, info_name=path if parent is None else command.name, parent=parent,
        terminal_width=COLUMNS, max_content_width=COLUMNS, help_option_names=["-h", "--help"],
    )  # fmt: skip
    yield f"## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found and not found.hidden:
                yield from _of(found, f"{path} {name}", context)


if __name__ == "__main__":
    click.echo(text(), nl=False)
