"""Which model an engine loads, where it comes from and what it runs on.

In: the engine settings. Out: a folder with weights, then an engine that is loaded and warmed up. Touches the model
cache and the model hub.
"""
