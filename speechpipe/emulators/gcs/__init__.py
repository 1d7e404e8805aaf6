"""Cloud Storage in memory, as far as its users' tools can tell: gcloud, rclone, curl, browsers, Google's libraries.

- `objects`: what an object is, and what a request may demand of it. `listing`: pages of objects.
- `store`: all buckets and objects. Knows no HTTP.
- `sessions`: uploads in several requests, resumable ones and those of the XML API in parts.
- `formats`: what a request's headers and bodies mean. `answers`: what a response is, and Cloud Storage's errors.
- `media`: downloads.
- `json_api`, `xml_api`: one function per method of the API.
- `server`: HTTP.

Sources: the reference of the JSON API (https://cloud.google.com/storage/docs/json_api) and of the XML API
(https://cloud.google.com/storage/docs/xml-api/overview). There are no permissions, no versions and no soft delete.
"""
