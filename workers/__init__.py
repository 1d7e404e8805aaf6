"""The two GPU services: speech to text and speech emotion. `python -m workers` starts one of them.

Depends on `speechpipe` and on its extras `stt` or `ser`; the functions and the client never import anything of it.
"""
