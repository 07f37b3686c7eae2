"""The `gemma-tools` command (extra `cli`). One module per command; `app` connects them and turns errors into one line."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from gemma_tools.errors import MissingDependency


def main() -> None:
    """Run the command line and exit with its status."""
    for package in ("typer", "rich"):
        if find_spec(package) is None:
            sys.exit(str(MissingDependency(package, "cli", "the gemma-tools command")))
    from gemma_tools.cli.app import run

    sys.exit(run(sys.argv[1:]))
