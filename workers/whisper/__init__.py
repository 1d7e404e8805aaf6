"""Speech to text: Whisper on CTranslate2, in rows of speech.

In: chunks of speech and a recording's options. Out: an Analysis with a transcript. Needs faster-whisper and
CTranslate2; torch only where log-mel features are computed on a GPU.
"""
