"""Stands in for Cloud Run's front end: every request to a function or a worker passes here.

Pushes (`push`), events (`deliver`) and the schedule (`cloud`) all call `Front.post`, so whatever Cloud Run does to a
request or an answer is done in one place.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from speechpipe.contract.resources import Service

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Front:
    """The way in to the services that listen on these ports of the loopback interface."""

    ports: Mapping[Service, int]

    def post(self, service: Service, headers: Mapping[str, str], body: bytes, seconds: float) -> int | None:
        """Post a request as the service's own caller. Returns the status, or None without an answer in `seconds`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[service], timeout=seconds)
        try:
            connection.request("POST", "/", body=body, headers=dict(headers))
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            log.warning("no answer from %s: %s", service.value, type(error).__name__, extra={"action": "redeliver"})
            return None
        finally:
            connection.close()
        if not 200 <= status < 300:
            log.warning("%s answered %d", service.value, status, extra={"action": "redeliver"})
        return status
