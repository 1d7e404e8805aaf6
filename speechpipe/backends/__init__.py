"""The ports and their implementations: a folder with SQLite (`local/`), or Google Cloud and its emulators (`gcp/`).

In: contract types, from the verbs. Out: the same types, read back. Touches the disk or Google's services; decides
nothing. `ports` states what every method guarantees, and one test suite (`tests/backends/`) checks both backends.
"""
