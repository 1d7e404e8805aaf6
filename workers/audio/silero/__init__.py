"""Silero's voice activity model (v6, 16 kHz), in the form that a CPU computes fastest.

`vad.onnx` is what `rewrite` makes of the file that faster-whisper brings: the same weights, inputs and outputs.
The model is Silero Team's, MIT licence (LICENSE): https://github.com/snakers4/silero-vad
"""
