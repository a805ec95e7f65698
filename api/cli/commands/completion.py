"""`unbroken completion`: the shell script that completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from api.cli import output
from api.cli.options import json_option

_CLASSES: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@click.command()
@click.argument("shell", type=click.Choice(list(_CLASSES)))
@json_option
@click.pass_context
def completion(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      unbroken completion bash >> ~/.bashrc
      unbroken completion zsh >> ~/.zshrc
      unbroken completion fish > ~/.config/fish/completions/unbroken.fish
    """
    source = _CLASSES[shell](
        context.find_root().command, {}, "unbroken", "_UNBROKEN_COMPLETE"
    ).source()
    output.show({"shell": shell, "source": source}, source.rstrip(), as_json=as_json)
