"""The two GPU services: speech to text and speech emotion. `python -m workers` starts one of them.

Depends on `speechpipe` and on its extras `stt` or `ser`; the functions and the client never import anything of it.
"""

import os

# Before numpy is imported: its matrices here are small (a row's log-mel), and OpenBLAS's threads burn more processor
# time waiting for each other than they save (log-mel: 2.1 core seconds an audio hour instead of 1.3).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
