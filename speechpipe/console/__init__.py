"""The console: a small web application that shows recordings live, takes new ones and carries out what people decide.

    with Console(client) as console:
        print(console.url)

One watcher a process reads what changed from the Store port (`watcher`), keeps an index to list and search (`index`),
and tells every viewer over server-sent events (`hub`): viewers cost the database nothing. The page is one HTML file,
one style sheet and one module, served from here alone; everything from a recording goes into it as text.
"""

from speechpipe.console.server import Console

__all__ = ["Console"]
