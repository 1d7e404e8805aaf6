"""Entry points on functions-framework, CPU only: decode, call one verb, let errors speak.

    functions-framework --source functions/ingest.py --target ingest

One image serves all of them. The framework loads a file under its bare name, so everything shared is imported
absolutely. No torch, no numpy, no workers; a test holds that.
"""
