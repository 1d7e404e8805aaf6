"""What can go wrong, and who retries. Only the type of the exception decides.

    SpeechpipeError
    ├── Unreadable          not a message for us       204 and an error log     nobody retries
    ├── Rejected            the input can never work   204, partial = Failure   nobody retries
    ├── Busy                lease held, engine full    429                      Pub/Sub, with backoff
    ├── Untrusted           not an allowed caller      401 or 403               Pub/Sub, then dead letter
    ├── NotFound            no such recording          (client and CLI)         the caller
    ├── NotFinal            not in a final state       (client and CLI)         the caller, later
    ├── WaitTimeout         not finished in time       (client and CLI)         the caller
    ├── Held                over a cap, does not run   (client and CLI)         an operator, by release
    ├── FolderUnusable      full or read-only disk     the process stops        whoever set it up
    ├── SettingsMissing     missing or bad setting     the process stops        whoever set it up
    └── EngineUnavailable   no model, no library       the process stops        whoever set it up

    anything else           as is, with traceback      500                      Pub/Sub, then dead letter

A malformed push message is acknowledged on purpose: Pub/Sub would redeliver a message answered with 400 for days
(https://cloud.google.com/pubsub/docs/push#receive_push).
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable codes of a `Failure`. Codes may be added but are never renamed."""

    UNSUPPORTED_FORMAT = "unsupported_format"  #: the container or codec is not on the list
    EMPTY_OBJECT = "empty_object"  #: zero bytes
    TOO_LARGE = "too_large"  #: more bytes than the configured cap
    TOO_LONG = "too_long"  #: more audio than the configured cap
    NO_AUDIO_STREAM = "no_audio_stream"  #: a readable file without sound, such as a silent video
    DECODE_FAILED = "decode_failed"  #: damaged beyond use
    INVALID_OPTION = "invalid_option"  #: the object's custom metadata holds a misspelt option or an impossible value
    CUSTOMER_KEY = "customer_key"  #: encrypted under a key of the uploader's own, which nobody here has
    OBJECT_GONE = "object_gone"  #: deleted or overwritten before it could be read
    MODEL_ERROR = "model_error"  #: the engine failed on every attempt
    OUT_OF_MEMORY = "out_of_memory"  #: the engine ran out of memory
    TIMEOUT = "timeout"  #: the deadline passed

    @property
    def is_input(self) -> bool:
        """Whether the uploaded object or its options are the cause, and not the system."""
        return self not in (ErrorCode.MODEL_ERROR, ErrorCode.OUT_OF_MEMORY, ErrorCode.TIMEOUT)


class SpeechpipeError(Exception):
    """Base of everything that speechpipe raises on purpose."""


class Unreadable(SpeechpipeError):
    """The message is not for us, or names a recording that does not exist: log and acknowledge it."""


class Rejected(SpeechpipeError):
    """The audio or its options can never work. `message` is for the user: no paths, no library text."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message


def under_customer_key() -> Rejected:
    """What is said of an object that only its uploader can read."""
    message = (
        "the file is encrypted under its uploader's own key (CSEK), which Cloud Storage does not keep, so nobody here"
        " can read it; upload it without that key, or with a key in Cloud KMS"
    )
    return Rejected(ErrorCode.CUSTOMER_KEY, message)


class Busy(SpeechpipeError):
    """Another attempt holds the lease, or the engine has no room in time: redeliver later. It is no attempt."""


class Untrusted(SpeechpipeError):
    """The request has no token of an allowed caller, so its body is not read. The reason never quotes the token."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status  #: HTTP status: 401 without a valid token, 403 with somebody else's


class NotFound(SpeechpipeError):
    """There is no recording, or file, with that id, name or URI."""


class NotFinal(SpeechpipeError):
    """The operation needs a recording in a final state."""


class WaitTimeout(SpeechpipeError):
    """The recording did not reach a final state within the caller's timeout."""


class Held(SpeechpipeError):
    """The recording is over a cap and does not run; the message says which, and how to release it."""


class EngineUnavailable(SpeechpipeError):
    """An engine cannot be loaded on this machine; the message says what to do."""


class FolderUnusable(SpeechpipeError):
    """A folder of recordings cannot be written, because its disk is full or read-only; the message says what to do."""


class SettingsMissing(SpeechpipeError):
    """One or more settings are missing or invalid; the message names them all."""
