"""The ID token of the platform that a job runs on, so that nobody has to sign in.

Where it comes from, in this order:

    CA_LOGIN_ID_TOKEN                       the token itself: GitLab's `id_tokens`
    CA_LOGIN_TOKEN_FILE                     its file: a Kubernetes projected volume
    ACTIONS_ID_TOKEN_REQUEST_URL, …_TOKEN   where GitHub Actions makes one

Only the last can be asked for a token that is bound to a new key, since only it is
asked when the key is already there. The others were made before the job began: bound to
a key that was there too (`--key`), or to none.
"""

import os
from collections.abc import Mapping
from urllib.parse import quote

from client import token
from client.failure import Misuse, SignInFailed
from client.https import Site
from client.messages import text

TOKEN = "CA_LOGIN_ID_TOKEN"  # noqa: S105 the name of a variable
FILE = "CA_LOGIN_TOKEN_FILE"
GITHUB_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
GITHUB_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 the name of a variable


def is_there() -> bool:
    """Say whether some platform has a token for us."""
    return is_made() or _is_github()


def is_made() -> bool:
    """Say whether the token was made before we came, and for whom is settled."""
    return bool(os.environ.get(TOKEN) or os.environ.get(FILE))


def is_unattended() -> bool:
    """Say whether nobody is there who could sign in; `CI` is what all platforms set."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


def read() -> str:
    """Return the token that was made before we came; raise `Misuse`."""
    given = os.environ.get(TOKEN, "").strip()
    if not given:
        return token.read(os.environ[FILE])
    if not token.is_token(given.encode(errors="replace")):
        raise Misuse(f"{TOKEN} holds no ID token")
    return given


def request(audience: str) -> str:
    """Have GitHub make a token for `audience`; raise `SignInFailed`."""
    url = os.environ[GITHUB_URL]
    separator = "&" if "?" in url else "?"
    site = Site(f"{url}{separator}audience={quote(audience, safe='')}")
    try:
        answer = site.get(
            headers={"Authorization": f"Bearer {os.environ[GITHUB_TOKEN]}"}
        )
    finally:
        site.close()
    document = answer.document()
    if answer.status != 200:  # noqa: PLR2004 OK
        raise SignInFailed(f"{answer.site} refused: {_reason(document)}", hint=_HINT)
    made = text(document, "value")
    if not token.is_token(made.encode(errors="replace")):
        raise SignInFailed(f"{answer.site} answered with something that is no ID token")
    return made


def missing() -> SignInFailed:
    """Return what to say where a token is wanted and no platform has one."""
    if os.environ.get("GITHUB_ACTIONS"):
        return SignInFailed(
            "this job of GitHub Actions may ask for no token", hint=_HINT
        )
    return SignInFailed(
        "no platform has an ID token for this job",
        hint=f"set {TOKEN} or {FILE}, or give --token-file FILE",
    )


_HINT = "in the workflow: permissions: { id-token: write }"


def _is_github() -> bool:
    return bool(os.environ.get(GITHUB_URL) and os.environ.get(GITHUB_TOKEN))


def _reason(document: Mapping[str, object]) -> str:
    reason = document.get("message")
    return reason if isinstance(reason, str) else "it does not say why"
