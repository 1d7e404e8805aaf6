"""Silero's voice activity model (v6, 16 kHz), rewritten to run faster on a CPU.

`rewrite` generates `vad.onnx` from the file that faster-whisper ships; weights, inputs and outputs are the same.
The model is by Silero Team, MIT licence (LICENSE): https://github.com/snakers4/silero-vad
"""
