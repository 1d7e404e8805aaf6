"""The bundled demo models, which know only synthetic speech, and sample recordings; both are made by `training/`."""
