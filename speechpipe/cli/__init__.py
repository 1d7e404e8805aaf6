"""What people type: the `speechpipe` command.

In: arguments and environment variables. Out: text on the terminal and an exit status. May call every room above; no
room calls it. `app` holds the everyday commands, the other modules one group each.
"""

from speechpipe.cli.app import main

__all__ = ["main"]
