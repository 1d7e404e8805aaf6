"""`python -m speechpipe.cli`: the command `speechpipe`."""

from speechpipe.cli import main

main()
