"""Which model an engine loads, where its files come from, and what it runs on.

In: the engine settings. Out: a folder with weights, then a loaded and warmed-up engine. Touches the model caches,
the model hub and, through pip, the package index.
"""
