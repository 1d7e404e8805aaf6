"""The console: a small web application that shows recordings live, takes uploads, redrives, releases and erases.

    with Console(client) as console:
        print(console.url)

One watcher per process reads changes from the Store port (`watcher`), keeps an index for lists and searches (`index`)
and pushes the changes to every viewer as server-sent events (`hub`), so more viewers cause no more database reads. The
page is one HTML file, one style sheet and one JavaScript module, all served from here. It inserts everything that comes
from a recording as text, never as markup.
"""

from speechpipe.console.server import Console

__all__ = ["Console"]
