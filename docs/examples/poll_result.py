"""Poll a recording's document in Firestore until nothing more happens, then print what was said and how.

python poll_result.py rec_abc...
"""

import sys
import time

from google.cloud import firestore

GOING_ON = {"queued", "processing"}


def main(recording_id: str) -> None:
    document = firestore.Client().document(f"recordings/{recording_id}")
    while (recording := document.get().to_dict()) is None or recording["status"] in GOING_ON:
        time.sleep(0.5)

    if recording["status"] == "held":
        sys.exit("held: " + recording["hold"]["message"])
    print("status:", recording["status"])
    if recording["error"]:
        print("error:", recording["error"]["code"], "-", recording["error"]["message"])
    if recording["result"]:
        print("text:", recording["result"]["text"])
        print("emotion:", recording["summary"]["dominant_emotion"])
    else:  # over 256 KiB: the whole record lies in the results bucket
        print("record:", recording["artifacts"] and recording["artifacts"]["record"])


if __name__ == "__main__":
    main(*sys.argv[1:])
