"""A browser for the tests, named by `BROWSER`: signs in at once, or misbehaves.

    python a_browser.py REPORT MODE URL

Writes to REPORT, a JSON list, what each request was answered with.
"""

import contextlib
import http.client
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit


class Browser:
    """Goes where it is told and notes what it was shown."""

    def __init__(self, url: str) -> None:
        self.url = url
        query = parse_qs(urlsplit(url).query)
        self.callback = query["redirect_uri"][0]
        self.state = query["state"][0]
        self.issuer = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self.seen: list[dict[str, object]] = []

    def get(self, url: str, **headers: str) -> None:
        """Follow redirects from a URL, as browsers do."""
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 loopback
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                    self._note(answer)
            except urllib.error.HTTPError as error:
                with error:
                    self._note(error)

    def send(self, method: str, target: str) -> None:
        """Send any method for any target to the callback's address."""
        connection = http.client.HTTPConnection(urlsplit(self.callback).netloc)
        connection.request(method, target)
        self._note(connection.getresponse())
        connection.close()

    def answer(self, **fields: str) -> None:
        """Come back with these fields, and the right state and issuer besides."""
        right = {"state": self.state, "iss": self.issuer}
        given = {name: value for name, value in (right | fields).items() if value}
        self.get(f"{self.callback}?{urlencode(given)}")

    def _note(self, answer: http.client.HTTPResponse | urllib.error.HTTPError) -> None:
        self.seen.append(
            {
                "status": answer.status,
                "page": answer.read().decode(),
                "headers": dict(answer.headers),
            }
        )


ANSWERS = {
    "refused": {
        "error": "access_denied",
        "error_description": "<script>alert(1)</script>\x1b[31mno",
    },
    "refused-plainly": {"error": "access_denied"},
    "other-issuer": {"code": "c", "iss": "https://evil.example.com"},
    "no-issuer": {"code": "c", "iss": ""},
    "no-code": {},
}
"""Answers with the right state that are wrong otherwise."""


def send_wrong_states(browser: Browser) -> None:
    """Come back as a page would that knows the address and not the state."""
    for state in ("A" * 43, "", "\N{SNOWMAN}"):
        browser.answer(code="evil", state=state)
    browser.get(f"{browser.callback}?state={browser.state}&state=x&code=evil")
    browser.get(f"{browser.callback}?{'a=1&' * 50}state={browser.state}")


def send_other_requests(browser: Browser) -> None:
    """Come back with the right state, to the wrong place or in the wrong way."""
    path = f"{urlsplit(browser.callback).path}?state={browser.state}&code=evil"
    for method in ("POST", "HEAD", "PUT", "OPTIONS"):
        browser.send(method, path)
    for target in ("/", f"/x{path}", path.replace("?", "/?"), "//[", "*"):
        browser.send("GET", target)
    callback = f"{browser.callback}?state={browser.state}&code=evil"
    browser.get(callback, Host="evil.example.com")


def main(report: str, mode: str, url: str) -> None:
    """Misbehave as told, then sign in as people do."""
    browser = Browser(url)
    if mode in ANSWERS:
        browser.answer(**ANSWERS[mode])
    elif mode == "wrong-state":
        send_wrong_states(browser)
    elif mode == "other-requests":
        send_other_requests(browser)
    browser.get(url)
    if mode == "twice":
        browser.get(url)
    Path(report).write_text(json.dumps(browser.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
