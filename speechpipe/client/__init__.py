"""The Python API: submit, wait for, read, list and explain recordings, on a folder or in Google Cloud.

In: names, ids, files. Out: recordings and records. Uses a backend through its ports, and starts the embedded runner
when it waits for a recording of a folder.
"""

from speechpipe.client.client import Client, Submission

__all__ = ["Client", "Submission"]
