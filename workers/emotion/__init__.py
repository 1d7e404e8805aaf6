"""Speech emotion recognition: a transformers audio classifier over windows of speech.

In: chunks of speech and a recording's options. Out: an Analysis with the scores of each window. Needs torch and
transformers.
"""
