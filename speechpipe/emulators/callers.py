"""The accounts that call the services of the local cloud, and their tokens as Cloud Run hands them on.

Cloud Run checks a caller's token, then replaces its signature (`backends.gcp.oidc`). Nobody here could check one, so
these tokens are made without. The services check the rest, and refuse a call without a token.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping

from speechpipe.backends.gcp.oidc import ISSUERS, SIGNATURE_REMOVED
from speechpipe.contract.resources import Service

TOKEN_SECONDS = 3600  #: how long a token of Google's is valid


def account(service: Service) -> str:
    """The one account that may call a service."""
    return f"{service.value.replace('_', '-')}-caller@speechpipe-local.iam.gserviceaccount.com"


def audience(service: Service) -> str:
    """The audience of its tokens."""
    return f"https://{service.value.replace('_', '-')}-local.a.run.app"


def variables(service: Service) -> dict[str, str]:
    """What Cloud Run and the deployment put into the service's environment, so that it checks its callers."""
    return {
        "K_SERVICE": service.value,
        "SPEECHPIPE_PUSH_CALLERS": account(service),
        "SPEECHPIPE_PUSH_AUDIENCE": audience(service),
    }


def forwarded_token(service: Service) -> str:
    """A token of the service's caller, valid from now on, as the service receives it."""
    now = int(time.time())
    claims = {
        "aud": audience(service),
        "azp": "100000000000000000000",
        "email": account(service),
        "email_verified": True,
        "exp": now + TOKEN_SECONDS,
        "iat": now,
        "iss": ISSUERS[1],
        "sub": "100000000000000000000",
    }
    header = {"alg": "RS256", "kid": "local", "typ": "JWT"}
    return ".".join([_encoded(header), _encoded(claims), SIGNATURE_REMOVED])


def _encoded(part: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
