"""Drop a recording: any Cloud Storage client will do.

    python drop_file.py call.wav language=en ref=ticket-17

Prints the recording's id, which follows from what the upload returned. On the emulators, export what `speechpipe up`
prints; on Google Cloud, SPEECHPIPE_UPLOADS_BUCKET and the usual credentials.
"""

import base64
import hashlib
import os
import sys
from pathlib import Path

from google.cloud import storage


def main(path: str, *options: str) -> None:
    bucket = storage.Client().bucket(os.environ["SPEECHPIPE_UPLOADS_BUCKET"])
    blob = bucket.blob(os.environ.get("SPEECHPIPE_UPLOADS_PREFIX", "") + Path(path).name)
    blob.metadata = dict(option.split("=", 1) for option in options)
    blob.upload_from_filename(path)

    identity = f"{bucket.name}/{blob.name}#{blob.generation}"
    digest = base64.b32encode(hashlib.sha256(identity.encode()).digest())
    print("rec_" + digest.decode().lower()[:26])


if __name__ == "__main__":
    main(*sys.argv[1:])
