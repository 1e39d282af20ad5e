"""The sign-in in a real browser: Chromium, a real provider, our page at the end."""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.laptop import Laptop, open_house
from tests.real_provider import OIDCProvider

pytestmark = pytest.mark.openssh

SCRIPT = Path(__file__).parent.parent / "chromium.py"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with (
        OIDCProvider() as provider,
        open_house(tmp_path_factory.mktemp("ca") / "ca", provider.issuer) as house,
    ):
        yield house


@pytest.fixture
def sign_in(house, tmp_path):
    """Sign in with somebody in front of Chromium; return what both came to."""

    def sign_in(mode):
        report = tmp_path / "seen.json"
        browser = f"{sys.executable} {SCRIPT} {report} {mode} %s"
        laptop: Laptop = house.laptop(BROWSER=browser)
        done = laptop.run()
        return laptop, done, seen_in(report)

    return sign_in


def seen_in(report):
    for _ in range(1500):
        if report.exists() and (text := report.read_text()):
            return json.loads(text)
        time.sleep(0.02)
    raise AssertionError("the browser reported nothing")


def test_somebody_signs_in_and_is_told_to_go_back_to_the_terminal(sign_in):
    laptop, done, (page,) = sign_in("sign-in")

    assert done.returncode == 0, done.stderr
    assert "signed in as corp:ada@example.com" in done.stderr
    assert page["heading"] == "You have signed in"
    assert "Go back to your terminal" in page["text"]
    assert laptop.certificate.exists()
    # An icon is what a browser asks for by itself; our page asks for nothing.
    assert [url for url in page["asked_for"] if "favicon" not in url] == []
    assert [said for said in page["complaints"] if "404" not in said] == []


def test_who_cancels_is_told_so_in_both_places(sign_in):
    laptop, done, (page,) = sign_in("cancel")

    assert done.returncode == 4
    assert page["heading"] == "The sign-in failed"
    assert "aborted" in page["text"]
    assert "aborted" in done.stderr
    assert not laptop.certificate.exists()


def test_an_answer_with_another_state_changes_nothing(sign_in):
    _, done, (wrong, right) = sign_in("wrong-state")

    assert wrong["heading"] == "Not your sign-in"
    assert "Nothing was changed" in wrong["text"]
    assert right["heading"] == "You have signed in"
    assert done.returncode == 0, done.stderr


def test_what_an_answer_says_is_shown_and_never_run(sign_in):
    _, done, (page,) = sign_in("script")

    assert done.returncode == 4
    assert page["title"] == "ca-login"
    assert page["heading"] == "The sign-in failed"
    assert "<script>document.title='mine'</script>" in page["text"]
