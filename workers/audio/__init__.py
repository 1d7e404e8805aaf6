"""From an uploaded file that nobody vouches for to chunks of speech.

In: the path of an upload. Out: int16 blocks at 16 kHz, then chunks of speech, and facts about the file. Decoding runs
in a separate process under limits (`decoder_process`); the rest is numpy and one small ONNX model. Knows no engine.
"""
