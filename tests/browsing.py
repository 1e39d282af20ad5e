"""A person with a browser, at the provider of `tests.real_provider`.

    python tests/browsing.py ada URL

opens the URL, fills in the pages that come, and goes where it is sent at last. Standard
library only, so that it can be what `BROWSER` names. `enter_code` is the same person at
another device, with a code to type in.
"""

import re
import sys
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPHandler, OpenerDirector, urlopen

_SECONDS = 20
_FORM = re.compile(
    r'<form [^>]*action="(?P<action>[^"]+)".*?name="prompt" value="(?P<prompt>\w+)"',
    re.DOTALL,
)


_DEVICE_FORM = re.compile(
    r'<form [^>]*action="(?P<action>[^"]+)"[^>]*>(?P<inputs>.*?)</form>', re.DOTALL
)
_OVER = ("was interrupted", "is incorrect", "There was an error")
"""What the page says above a form that is only there to begin again."""

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class NoWayOn(Exception):
    """The provider shows a page without a form on it; says which."""


def _browser() -> OpenerDirector:
    # Nothing that follows redirects, or makes errors of answers: the way is ours.
    browser = OpenerDirector()
    browser.add_handler(HTTPHandler())
    browser.add_handler(HTTPCookieProcessor())
    return browser


def enter_code(person: str, url: str, code: str = "", *, abort: bool = False) -> str:
    """Enter a code where the URL has none, sign in and consent; return the last page.

    With `abort`, say instead that it is somebody else's.
    """
    browser = _browser()
    form: bytes | None = None
    while True:
        with browser.open(url, form, _SECONDS) as answer:
            page: str = answer.read().decode()
            sent_to = answer.headers["Location"]
        found = _DEVICE_FORM.search(page)
        if sent_to is not None or _FORM.search(page):
            url, form = _next(person, url, page, sent_to)
        elif found and not any(words in page for words in _OVER):
            url, form = (
                urljoin(url, found["action"]),
                _entered(found, code, abort=abort),
            )
        else:
            return page


def _entered(form: re.Match[str], code: str, *, abort: bool) -> bytes:
    """Fill in the form for a code, or the one that asks whether it is ours."""
    fields = {"user_code": code} | dict(_HIDDEN.findall(form["inputs"]))
    if abort and "confirm" in fields:
        fields["abort"] = "yes"
    return urlencode(fields).encode()


def sign_in(person: str, url: str) -> str:
    """Sign in at a provider and consent; return where it sends the browser at last."""
    browser = _browser()
    site = urlsplit(url).netloc
    form: bytes | None = None
    while urlsplit(url).netloc == site:
        with browser.open(url, form, _SECONDS) as answer:
            page = answer.read().decode()
            sent_to = answer.headers["Location"]
        url, form = _next(person, url, page, sent_to)
    return url


def _next(
    person: str, url: str, page: str, sent_to: str | None
) -> tuple[str, bytes | None]:
    if sent_to is not None:
        return urljoin(url, sent_to), None
    found = _FORM.search(page)
    if found is None:
        raise NoWayOn(page)
    # The provider asks for a name, and believes any password; then for consent.
    fields = {"prompt": found["prompt"], "login": person, "password": person}
    return urljoin(url, found["action"]), urlencode(fields).encode()


if __name__ == "__main__":
    with urlopen(sign_in(*sys.argv[1:]), timeout=_SECONDS) as callback:  # noqa: S310
        callback.read()
