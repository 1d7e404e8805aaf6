"""From a stranger's file to chunks of speech.

In: the path of an upload. Out: int16 blocks at 16 kHz, then speech in chunks, and facts about the file. Decodes in a
process of its own under limits (`decoder_process`); the rest is numpy and one small ONNX model. Knows no engine.
"""
