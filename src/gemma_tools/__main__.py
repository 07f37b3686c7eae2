"""`python -m gemma_tools` is the `gemma-tools` command."""

from gemma_tools.cli import main

main()
