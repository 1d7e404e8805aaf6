"""Benchmarks, against a peer where there is one; the results are in `results/`."""

import workers  # noqa: F401  before numpy: it sets numpy's number of threads
