"""`python -m speechpipe.cli` runs the `speechpipe` command."""

from speechpipe.cli import main

main()
