"""What programs call: submit, wait, read, list and explain recordings, on a folder or in Google Cloud.

In: names, ids, files. Out: recordings and records. Touches a backend through its ports, and starts the embedded runner
when it submits to a folder.
"""

from speechpipe.client.client import Client, Submission

__all__ = ["Client", "Submission"]
