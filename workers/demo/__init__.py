"""The bundled toy models, made by `training/`, which know only synthetic speech; and real recordings to try the system.

`samples/SOURCES.md` says where each recording comes from, and its licence.
"""
