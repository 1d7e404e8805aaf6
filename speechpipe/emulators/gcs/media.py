"""Downloads: ranges, gzip, and an object's fields as headers."""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus

from speechpipe.emulators.gcs.answers import Answer, Refused
from speechpipe.emulators.gcs.formats import Request, byte_range, customer_key, unpack
from speechpipe.emulators.gcs.objects import Resource, Stored

_FIELDS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-component-count": "componentCount",
    "x-goog-generation": "generation",
    "x-goog-metageneration": "metageneration",
    "x-goog-storage-class": "storageClass",
    "x-goog-stored-content-length": "size",
}


def media(request: Request, stored: Stored) -> Answer:
    """An object's content, or a range of it.

    To a client that does not accept gzip, an object with `Content-Encoding: gzip` goes unpacked and whole
    (https://cloud.google.com/storage/docs/transcoding). Raises Refused.
    """
    content, headers, key = stored.content, _headers(stored.resource), customer_key(request.headers)
    if stored.resource.get("customerEncryption") != key.get("customerEncryption"):
        message = "The target object is encrypted by a customer-supplied encryption key."
        raise Refused(HTTPStatus.BAD_REQUEST, message, "resourceIsEncryptedWithCustomerEncryptionKey")
    if "response-content-disposition" in request.query:
        headers["content-disposition"] = request.query["response-content-disposition"]
    packed = stored.resource.get("contentEncoding") == "gzip"
    fixed = "no-transform" in stored.resource.get("cacheControl", "")
    if packed and not fixed and "gzip" not in (request.header("accept-encoding") or ""):
        del headers["content-encoding"]
        return Answer(HTTPStatus.OK, unpack(content), headers | {"warning": "214 UploadServer gunzipped"})
    wanted = byte_range(request.header("range"), len(content))
    if wanted is None:
        return Answer(HTTPStatus.OK, content, headers)
    if not wanted:
        size = {"content-range": f"bytes */{len(content)}"}
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        raise Refused(status, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable", size)
    headers["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(content)}"
    return Answer(HTTPStatus.PARTIAL_CONTENT, memoryview(content)[wanted.start : wanted.stop], headers)


def _headers(resource: Resource) -> dict[str, str]:
    headers = {header: str(resource[name]) for header, name in _FIELDS.items() if name in resource}
    headers |= {f"x-goog-meta-{key}": value for key, value in resource.get("metadata", {}).items()}
    hashes = {"crc32c": resource["crc32c"], "md5": resource.get("md5Hash")}
    headers["x-goog-hash"] = ",".join(f"{kind}={value}" for kind, value in hashes.items() if value)
    headers["x-goog-stored-content-encoding"] = resource.get("contentEncoding", "identity")
    headers["last-modified"] = format_datetime(datetime.fromisoformat(resource["updated"]), usegmt=True)
    return headers | {"etag": f'"{resource["etag"]}"', "accept-ranges": "bytes", "vary": "accept-encoding"}
