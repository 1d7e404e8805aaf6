"""Responses, and Cloud Storage's errors: https://cloud.google.com/storage/docs/json_api/v1/status-codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

#: What `HTTPStatus` calls differently, or does not know.
_PHRASES = {HTTPStatus.PERMANENT_REDIRECT: "Resume Incomplete", 499: "Client Closed Request"}


@dataclass(frozen=True)
class Answer:
    """A response; `content-length` comes from the body, unless the headers have it."""

    status: int = HTTPStatus.OK
    body: bytes | memoryview = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def phrase(self) -> str:
        """The status in words."""
        return _PHRASES.get(self.status) or HTTPStatus(self.status).phrase


def json_answer(value: Any, status: int = HTTPStatus.OK, **headers: str) -> Answer:
    """A value as JSON."""
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json; charset=UTF-8", **headers})


class Refused(Exception):
    """A request that cannot be carried out. Its `answer` is what the client gets."""

    def __init__(self, status: int, message: str, reason: str = "invalid", headers: Mapping[str, str] = {}) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.headers = status, message, reason, headers

    @property
    def answer(self) -> Answer:
        """The error as JSON; one without content where HTTP wants none."""
        if self.status == HTTPStatus.NOT_MODIFIED:
            return Answer(self.status)
        one = {"message": self.message, "domain": "global", "reason": self.reason}
        return json_answer(
            {"error": {"code": int(self.status), "message": self.message, "errors": [one]}}, self.status, **self.headers
        )


def bad_request(message: str) -> Refused:
    """A request that makes no sense."""
    return Refused(HTTPStatus.BAD_REQUEST, message)


def no_bucket() -> Refused:
    """The request is for a bucket that does not exist."""
    return Refused(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.", "notFound")


def no_object(bucket: str, name: str) -> Refused:
    """The request is for an object, or a generation, that does not exist."""
    return Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}", "notFound")


def condition_not_met() -> Refused:
    """The object's generation or metageneration is not the one that the request expects."""
    message = "At least one of the pre-conditions you specified did not hold."
    return Refused(HTTPStatus.PRECONDITION_FAILED, message, "conditionNotMet")
