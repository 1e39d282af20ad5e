"""A person with Chromium, at the provider of `tests.real_provider`; named by `BROWSER`.

    python tests/chromium.py REPORT MODE URL

Opens the URL, does what the mode says with mouse and keyboard, as a person would, and
writes to REPORT, a JSON list, every page of ours that was shown: its title and text,
and what went wrong on it by Chromium's own account.
"""

import json
import shutil
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Page, sync_playwright

_MILLISECONDS = 30_000


class Person:
    """Somebody who looks at one page after the other."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        query = parse_qs(urlsplit(url).query)
        self.callback, self.state = query["redirect_uri"][0], query["state"][0]
        self.issuer = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self.seen: list[dict[str, object]] = []
        self._complaints: list[str] = []
        self._asked: list[str] = []
        page.on("console", lambda said: self._complaints.append(said.text))
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("request", lambda request: self._asked.append(request.url))
        page.on("framenavigated", lambda _: self._arrive())

    def _arrive(self) -> None:
        """Forget what other pages asked for, and what was wrong with them."""
        self._asked.clear()
        self._complaints.clear()

    def open(self) -> None:
        """Open what `ca-login` wants opened."""
        self.page.goto(self.url)

    def sign_in(self) -> None:
        """Fill in the provider's form, and consent."""
        self.page.fill("input[name=login]", "ada")
        self.page.fill("input[name=password]", "any")
        self.page.click("button[type=submit]")
        self.page.click("button[type=submit]")
        self.look()

    def cancel(self) -> None:
        """Think better of it."""
        self.page.click("text=Cancel")
        self.look()

    def come_back(self, **fields: str) -> None:
        """Be led to our page by somebody else."""
        self.page.goto(f"{self.callback}?{urlencode(fields)}")
        self.look()

    def look(self) -> None:
        """Note what is shown once we are back on our own page."""
        self.page.wait_for_url(f"{self.callback}*")
        self.seen.append(
            {
                "title": self.page.title(),
                "text": self.page.inner_text("body"),
                "heading": self.page.inner_text("h1"),
                "complaints": list(self._complaints),
                "asked_for": list(self._asked),
            }
        )
        self._complaints.clear()


def act(person: Person, mode: str) -> None:
    """Do what a mode says."""
    if mode == "wrong-state":
        person.come_back(code="evil", state="A" * 43)
    if mode == "script":
        text = "<script>document.title='mine'</script><h1>mine</h1>"
        right = {"state": person.state, "iss": person.issuer}
        person.come_back(error="x", error_description=text, **right)
        return
    person.open()
    if mode == "cancel":
        person.cancel()
    else:
        person.sign_in()


def main(report: str, mode: str, url: str) -> None:
    """Do it in a browser of its own, with no history and no profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        page = browser.new_page()
        page.set_default_timeout(_MILLISECONDS)
        person = Person(page, url)
        act(person, mode)
        browser.close()
    Path(report).write_text(json.dumps(person.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
