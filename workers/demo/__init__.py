"""The bundled demo models: two small real models trained on synthetic speech, their training, and sample recordings."""
