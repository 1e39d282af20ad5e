"""`make demo`: two people sign in and log in, and four attempts are refused.

    a certificate authority      ca-admin init, ca-signer serve
    two hosts that trust it      ca-deploy render, and the system's sshd
    two people                   ca-login, and the system's ssh
    four refusals                in the words of the sshd or the signer that refused

All of it is real but for the identity provider, which is a toy. It lives in one
temporary folder and on loopback, under whatever account runs it, and nothing of it is
left at the end. With KEEP=1 in the environment it stays until Enter or Ctrl-C.
"""

import os
import re
import secrets
import signal
import sys
import textwrap
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ca import wire
from ca.binding import SALT_BYTES, encode_base64url
from ca.certificate import Certificate, parse_certificate, parse_line
from ca.messages import SignRequest
from tests.demo_house import (
    ACCOUNT,
    House,
    found_ca,
    meet_ca,
    open_hosts,
    write_ssh_config,
)
from tests.demo_stage import Person, Stage, Surprise, found

CERTIFICATE = Path(".ssh/daypass/default-cert.pub")
"""In whose home it is, everybody's."""


def main() -> int:
    """Play the demo; return the exit code."""
    if os.environ.get("DAYPASS_CONFIG"):
        complain("DAYPASS_CONFIG is set: a demo does not run beside a real CA")
        complain("hint: env -u DAYPASS_CONFIG make demo")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with Stage() as stage:
            ada = play(stage)
            if os.environ.get("KEEP"):
                keep(stage, ada)
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 whatever it is, the demo has failed
        complain_of(error)
        return 1
    print("\ndemo: ok")
    return 0


def play(stage: Stage) -> Person:
    """Tell the whole story; return somebody to go on with."""
    tell = stage.narrator
    tell.write(f"All of this happens on loopback, and in\n{stage.folder}")
    tell.chapter("A certificate authority, and a toy identity provider")
    operator = stage.person("operator")
    signer, pin = found_ca(stage, operator)

    tell.chapter("Two hosts that trust it")
    house = open_hosts(stage, operator, signer, pin)

    tell.chapter("Two people who are let in")
    ada, grace = stage.person("ada"), stage.person("grace")
    tell.say("Ada is in dev. She pins the CA, signs in with her browser, logs in.")
    meet_ca(ada, house, pin)
    sign_in(ada, "deploy")
    show_certificate(ada)
    log_in(ada, house, "bastion")
    tell.say("Grace is in dev and oncall, and does the same.")
    meet_ca(grace, house, pin)
    sign_in(grace, "deploy, dba")
    log_in(grace, house, "database")

    tell.chapter("Four attempts that are refused")
    refuse_ungranted_principal(ada, house)
    refuse_expired(ada, house)
    mallory = stage.person("mallory")
    refuse_other_ca(mallory, house)
    refuse_stolen_token(mallory, house, stage.provider.issued["ada"])
    return ada


def sign_in(person: Person, principals: str, wishes: str = "") -> None:
    """Have somebody sign in with their browser, for just these principals."""
    said = person.types(f"ca-login{wishes}")
    person.narrator.answered(said.last_word)
    who = rf"signed in as corp:{person.name}@example\.com"
    found(rf"{who} for {principals} until \S", said.last_word)


def show_certificate(person: Person) -> None:
    """Show what OpenSSH itself reads in the certificate."""
    said = person.types(f"ssh-keygen -L -f {CERTIFICATE}")
    excerpt = found(r"^ *Key ID: [^\0]*(?=\n *Critical Options)", said.output)[0]
    person.narrator.answered(textwrap.dedent(excerpt))


def log_in(person: Person, house: House, host: str) -> None:
    """Log in, and find in the host's own log who that was."""
    sshd = house.hosts[host]
    with sshd.listening():
        said = person.types(f"ssh -F ssh_config {host} whoami")
    person.narrator.answered(said.output)
    found(rf"\A{re.escape(ACCOUNT)}\n\Z", said.output)
    serial = certificate_of(person).serial
    line = found(r"Accepted publickey for .*", sshd.said)[0]
    person.narrator.answered(f"{host}'s log: {line}")
    found(
        rf" ID corp:{person.name}@example\.com \(serial {serial}\)"
        rf" CA ED25519 {re.escape(house.ca_fingerprint)}",
        line,
    )


def refuse_ungranted_principal(ada: Person, house: House) -> None:
    """Refuse Ada where her principals do not count."""
    ada.narrator.say("1. A principal not granted: Ada at the database.")
    be_refused(ada, house, "database", "Certificate does not contain an authorized")


def refuse_expired(ada: Person, house: House) -> None:
    """Refuse Ada, who was let in a moment ago, once her certificate has ended."""
    ada.narrator.say("2. An expired certificate: Ada gets four seconds, and waits.")
    sign_in(ada, "deploy", " --validity 4s")
    time.sleep(max(0, certificate_of(ada).valid_before - time.time()))
    be_refused(ada, house, "bastion", "Certificate invalid: expired")


def refuse_other_ca(mallory: Person, house: House) -> None:
    """Refuse a certificate that says all the right things, by another CA."""
    tell = mallory.narrator
    tell.say("3. Another CA: Mallory's own certifies Mallory's key as Ada's.")
    for key in ("ca", "key"):
        mallory.types(f"ssh-keygen -q -t ed25519 -N '' -C '' -f {key}")
    mallory.types("ssh-keygen -q -s ca -I corp:ada@example.com -n deploy -V +1h key")
    write_ssh_config(mallory, house, mallory.home / "key")
    other = wire.fingerprint(parse_line((mallory.home / "ca.pub").read_text()))
    be_refused(mallory, house, "bastion", f"Failed publickey for .*{re.escape(other)}")


def refuse_stolen_token(mallory: Person, house: House, id_token: str) -> None:
    """Refuse Ada's ID token in the hands of somebody with another key."""
    tell = mallory.narrator
    tell.say("4. A stolen token: Mallory has Ada's newest, and a key of his own.")
    tell.typed("mallory", "POST /v1/user-certificates (Ada's token, Mallory's key)")
    answer = house.signer.sign(
        SignRequest(
            public_key=(mallory.home / "key.pub").read_text().strip(),
            id_token=id_token,
            salt=encode_base64url(secrets.token_bytes(SALT_BYTES)),
        )
    )
    said = f"{answer.status} {answer.json.get('code')}: {answer.json.get('detail')}"
    tell.answered(f"the signer: {said}", good=False)
    if not said.startswith("401 token_binding_wrong"):
        raise Surprise("a stolen token is not refused as it should be", said=said)


def be_refused(person: Person, house: House, host: str, why: str) -> None:
    """Try to log in, and find in the host's own log why that failed."""
    sshd = house.hosts[host]
    with sshd.listening():
        said = person.types(f"ssh -F ssh_config {host} whoami", status=255)
    person.narrator.answered(said.last_word, good=False)
    found(r"Permission denied \(publickey\)", said.last_word)
    line = found(rf"^.*{why}.*", sshd.said)[0]
    person.narrator.answered(f"{host}'s log: {line}", good=False)


def certificate_of(person: Person) -> Certificate:
    """Return what the certificate that somebody holds says."""
    return parse_certificate(parse_line((person.home / CERTIFICATE).read_text()))[0]


def keep(stage: Stage, ada: Person) -> None:
    """Leave everything running until somebody has seen enough."""
    tell = stage.narrator
    tell.chapter("Still running")
    tell.say("To sign in with a browser of your own, type in another terminal:")
    tell.write(f"\n{ada.shell_line}")
    tell.write("ca-login                        # or open the URL that it says")
    tell.write("ssh -F ssh_config bastion")
    tell.say(f"The toy identity provider is {stage.provider.issuer}/ in a browser.")
    tell.say("Enter or Ctrl-C here ends it all, and removes the folder.")
    try:
        if not sys.stdin.readline():
            signal.pause()  # nobody is there to press Enter
    except KeyboardInterrupt:
        return


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the demo as Ctrl-C does; from then on nothing keeps it from tidying up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def complain_of(error: Exception) -> None:
    """Say what went wrong, in one line at the end."""
    if isinstance(error, Surprise) and error.said:
        print(f"\nWhat was said instead:\n{error.said}", file=sys.stderr)
    what = next(iter(str(error).splitlines()), "")
    complain(f"failed: {what or type(error).__name__}")


def complain(text: str) -> None:
    """Say something for people, after all that was told so far."""
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
