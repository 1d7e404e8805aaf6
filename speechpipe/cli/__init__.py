"""The `speechpipe` command.

In: arguments and environment variables. Out: text on the terminal and an exit status. May call every room above; no
room calls it. `app` has the everyday commands; the other commands have a module each or share one per group.
"""

from speechpipe.cli.app import main

__all__ = ["main"]
