"""Upload a recording to the bucket and print its recording id.

    python drop_file.py call.wav language=en ref=ticket-17

Any Cloud Storage client will do; the id follows from what the upload returned. On the emulators, export what
`speechpipe up` prints. On Google Cloud, set SPEECHPIPE_UPLOADS_BUCKET and use your usual credentials.
"""

import argparse
import base64
import hashlib
import os
import sys
from pathlib import Path

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage


def upload(path: Path, bucket_name: str, options: dict[str, str]) -> str:
    bucket = storage.Client().bucket(bucket_name)
    blob = bucket.blob(os.environ.get("SPEECHPIPE_UPLOADS_PREFIX", "") + path.name)
    blob.metadata = options
    blob.upload_from_filename(path)

    identity = f"{bucket.name}/{blob.name}#{blob.generation}"
    digest = base64.b32encode(hashlib.sha256(identity.encode()).digest())
    return "rec_" + digest.decode().lower()[:26]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", type=Path, help="the recording")
    parser.add_argument("options", metavar="NAME=VALUE", nargs="*", help="options of the recording")
    arguments = parser.parse_args()
    if bad := [option for option in arguments.options if "=" not in option]:
        parser.error(f"{bad[0]!r} is not NAME=VALUE")
    if not arguments.file.is_file():
        sys.exit(f"there is no file {arguments.file}")
    bucket = os.environ.get("SPEECHPIPE_UPLOADS_BUCKET")
    if not bucket:
        sys.exit("SPEECHPIPE_UPLOADS_BUCKET is not set; export what `speechpipe up` or `make exports` prints")
    try:
        print(upload(arguments.file, bucket, dict(option.split("=", 1) for option in arguments.options)))
    except NotFound:
        sys.exit(f"there is no bucket {bucket}")
    except (GoogleAPIError, GoogleAuthError) as error:
        sys.exit(f"Cloud Storage did not take the file: {error}")


if __name__ == "__main__":
    main()
