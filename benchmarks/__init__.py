"""Measurements, each against a peer where there is one; what they found is in `results/`."""

import workers  # noqa: F401  before numpy: it says how many threads that has
