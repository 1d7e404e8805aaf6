"""What can go wrong, and who tries again. The type of the exception decides; nothing else does.

    SpeechpipeError
    ├── Unreadable          not our message            204 and an error log     nobody tries again
    ├── Rejected            the input can never work   204, partial = Failure   nobody tries again
    ├── Busy                no free slot, lease held   429                      Pub/Sub, with backoff
    ├── Untrusted           no caller of ours         401 or 403               Pub/Sub, then dead letter
    ├── NotFound            no such recording          (client and CLI)         the caller
    ├── NotFinal            not at its end yet         (client and CLI)         the caller, later
    ├── WaitTimeout         not finished in time       (client and CLI)         the caller
    ├── Held                over a cap, does not run   (client and CLI)         whoever may release it
    ├── SettingsMissing     a key is not set           the process stops        whoever set it up
    └── EngineUnavailable   no model, no library       the process stops        whoever set it up

    anything else           as it is, with traceback   500                      Pub/Sub, then dead letter

A malformed push message is acknowledged on purpose: a 400 would be redelivered for days
(https://cloud.google.com/pubsub/docs/push#receive_push).
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable codes of a `Failure`. New ones may be added, none is ever renamed."""

    UNSUPPORTED_FORMAT = "unsupported_format"  #: the container or codec is not on the list
    EMPTY_OBJECT = "empty_object"  #: zero bytes
    TOO_LARGE = "too_large"  #: more bytes than the configured cap
    TOO_LONG = "too_long"  #: more audio than the configured cap
    NO_AUDIO_STREAM = "no_audio_stream"  #: a readable file without sound, a video say
    DECODE_FAILED = "decode_failed"  #: damaged beyond use
    INVALID_OPTION = "invalid_option"  #: the object's custom metadata asks for something impossible
    OBJECT_GONE = "object_gone"  #: deleted or overwritten before it could be read
    MODEL_ERROR = "model_error"  #: the engine failed, again and again
    OUT_OF_MEMORY = "out_of_memory"  #: the engine had too little memory
    TIMEOUT = "timeout"  #: the deadline passed

    @property
    def is_input(self) -> bool:
        """Whether the uploaded object or its options are the cause, rather than something of ours."""
        return self not in (ErrorCode.MODEL_ERROR, ErrorCode.OUT_OF_MEMORY, ErrorCode.TIMEOUT)


class SpeechpipeError(Exception):
    """Base of everything that speechpipe raises on purpose."""


class Unreadable(SpeechpipeError):
    """The message is not one of ours, or names a recording that does not exist: log and acknowledge."""


class Rejected(SpeechpipeError):
    """The audio or its options can never work. `message` is for the user: no paths, no library text."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message


class Busy(SpeechpipeError):
    """No free slot here, or another attempt holds the lease: deliver again later."""


class Untrusted(SpeechpipeError):
    """The request holds no token of a caller that is let in: nothing of it is read. The reason never quotes it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status  #: HTTP's: 401 without a valid token, 403 with one of somebody else


class NotFound(SpeechpipeError):
    """There is no recording of that id or name."""


class NotFinal(SpeechpipeError):
    """What was asked for wants a recording that is at its end."""


class WaitTimeout(SpeechpipeError):
    """The recording had not reached an end when the caller's patience did."""


class Held(SpeechpipeError):
    """The recording is over a cap and does not run; the message says which, and how to release it."""


class EngineUnavailable(SpeechpipeError):
    """An engine cannot be loaded on this machine; the message says what to do."""


class SettingsMissing(SpeechpipeError):
    """One or more settings are missing or unusable; the message names all of them."""
