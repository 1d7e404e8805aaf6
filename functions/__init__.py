"""The functions: entry points on functions-framework, CPU only.

    functions-framework --source functions/ingest.py --target ingest

In: an event or an HTTP request. Out: one verb's effect, and the status that decides the retry. Each decodes, calls one
verb and returns; exceptions propagate. Never torch, numpy or workers (a test holds that). One image serves them all.
The framework loads a file under its bare name, so everything shared is imported absolutely.
"""
