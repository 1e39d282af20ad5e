"""An OpenID provider for the demo, NOT FOR PRODUCTION: it has no passwords.

    with ToyProvider() as provider:
        provider.issuer             # what `ca-admin init --issuer` takes
        provider.issued["ada"]      # her newest ID token, as a thief would have it

Whoever opens its sign-in page, a red banner over two buttons, is Ada or Grace, as
they like. Everything else is as it should be (code, PKCE with S256, nonce, RS256), so
`ca-login` meets nothing here that it would not meet at a real one.

    python -m tests.toy_provider ada URL

is a browser without a person: it opens the page and presses the button.
"""

import html
import json
import re
import sys
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus

from tests.fakes import CLIENT, Answer, FakeIdP

_LOOPBACK_CALLBACK = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/callback", re.ASCII)
"""Any port, as RFC 8252 section 7.3 wants it for programs on a laptop."""

_SECONDS = 20
"""How long the browser without a person waits for a page."""

_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}: NOT FOR PRODUCTION</title>
<style>
  body {{ margin: 0; font: 1.1rem/1.5 system-ui, sans-serif; text-align: center }}
  header {{ background: #b00020; color: #fff; padding: 1rem }}
  button {{ font: inherit; margin: .5rem; padding: .6rem 1.2rem }}
</style>
<header><strong>NOT FOR PRODUCTION</strong><br>
A toy: anybody may be anybody here.</header>
<main><h1>{title}</h1>
{body}</main>
</html>
"""


class ToyProvider(FakeIdP):
    """The tests' provider with a page for people, and less patience."""

    def __init__(self) -> None:
        super().__init__()
        self.issued: dict[str, str] = {}
        """The newest ID token of each person."""
        self._server.routes["GET /"] = self.welcome

    def welcome(self, _: dict[str, str]) -> Answer:
        """Answer `/`, which is nobody's way in."""
        return _page("A toy identity provider", "<p>To sign in, type: ca-login</p>")

    def authorize(self, asked: dict[str, str]) -> Answer:
        """Show the two buttons; once one was pressed, send that person back."""
        wrong = next((why for why, holds in _WRONG.items() if holds(asked)), None)
        if wrong is not None:
            return _page("That is no sign-in", f"<p>{wrong}.</p>", status=400)
        person = asked.get("login_hint")
        if person not in self.people:
            return _page("Who are you?", _buttons(asked, self.people))
        return super().authorize(asked)

    def exchange(self, asked: dict[str, str]) -> Answer:
        """Give tokens for a code, and keep a copy of the ID token for the thief."""
        begun = self._codes.get(asked.get("code", ""), {})
        answer = super().exchange(asked)
        if answer.status == HTTPStatus.OK:
            self.issued[begun["user"]] = json.loads(answer.body)["id_token"]
        return answer


_WRONG: Mapping[str, Callable[[Mapping[str, str]], bool]] = {
    "The client is unknown": lambda asked: asked.get("client_id") != CLIENT,
    "The redirect is not to this machine": lambda asked: (
        _LOOPBACK_CALLBACK.fullmatch(asked.get("redirect_uri", "")) is None
    ),
    "Only an authorization code is to be had": lambda asked: (
        asked.get("response_type") != "code"
    ),
    "The scope lacks openid": lambda asked: (
        "openid" not in asked.get("scope", "").split()
    ),
    "PKCE with S256 is needed": lambda asked: (
        asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge")
    ),
    "A state and a nonce are needed": lambda asked: (
        not asked.get("state") or not asked.get("nonce")
    ),
}
"""What is wrong with a request that is sent nowhere, in the order of the checks."""


def _buttons(asked: Mapping[str, str], people: Mapping[str, object]) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in asked.items()
        if name != "login_hint"
    )
    buttons = "\n".join(
        f'<button name="login_hint" value="{name}">Sign in as {name.title()}</button>'
        for name in people
    )
    return f'<form action="/authorize">{hidden}\n{buttons}\n</form>'


def _page(title: str, body: str, *, status: int = 200) -> Answer:
    page = _PAGE.format(title=title, body=body)
    return Answer(status, page.encode(), _HEADERS)


def press(person: str, url: str) -> None:
    """Open the sign-in page, press the button of `person`, and see it through."""
    # No proxy of the environment is asked for what is on this machine.
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with browser.open(url, timeout=_SECONDS) as page:
        shown = page.read().decode()
    if f"Sign in as {person.title()}" not in shown:
        raise LookupError(f"the page has no button for {person}")
    with browser.open(f"{url}&login_hint={person}", timeout=_SECONDS) as page:
        page.read()


if __name__ == "__main__":
    press(*sys.argv[1:])
