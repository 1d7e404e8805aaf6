"""The pipeline on one machine, without a cloud: threads that watch a folder and run the verbs on it.

In: a folder and engines. Out: records in that folder. Touches the folder's state, and loads the models (`engines`, the
one place in this package that imports `workers`, apart from `doctor`).
"""
