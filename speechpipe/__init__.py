"""speechpipe: drop a recording into a bucket; get one record of what was said and how it was said."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechpipe.client import Client, Submission

try:
    __version__ = version("speechpipe")
except PackageNotFoundError:  # the source tree is not installed, as in an image
    __version__ = "0+unknown"

__all__ = ["Client", "Submission", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the client on first use, because the functions import this package and do not need the client."""
    if name in ("Client", "Submission"):
        from speechpipe import client

        return getattr(client, name)
    raise AttributeError(name)
