"""The bundled toy models, which know only synthetic speech (`training/` made them), and real recordings to try the system.

`samples/SOURCES.md` says where each recording comes from, and its licence.
"""
