"""The two GPU services: speech to text, and speech emotion recognition. `python -m workers` starts one of them.

Depends on `speechpipe` and its extras `stt` or `ser`. The functions and the client never import from here.
"""

import os

# Must be set before numpy is imported. The matrices here are small (a row's log-mel), and OpenBLAS's threads spend more
# processor time waiting for each other than they save (log-mel: 2.1 core seconds per audio hour instead of 1.3).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
