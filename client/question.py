"""One login that is asked about, and whether ssh offered the certificate for it."""

import time
from pathlib import Path

from ca import wire
from ca.values import dataclass
from client import agent, inspection, ssh_config
from client.cause import Cause
from client.failure import NO_CERTIFICATE
from client.keys import Held, KeyFiles
from client.openssh import CommandLine
from client.profile import Profile
from client.trial import Offer, Trial


@dataclass(frozen=True, slots=True)
class Question:
    """One login that is asked about."""

    chosen: Profile
    keys: KeyFiles
    held: Held | None
    line: CommandLine
    settings: dict[str, str]
    """What `ssh -G` makes of it."""

    @property
    def host(self) -> str:
        """The host as it was typed."""
        return self.line.words[0]

    @property
    def user(self) -> str:
        """The account that it is about."""
        return self.settings.get("user", "")

    def is_ours(self, offer: Offer) -> bool:
        """Say whether that is the certificate of the day."""
        if self.held is None or not offer.is_certificate:
            return False
        return offer.fingerprint == wire.fingerprint(self.held.certificate.subject_key)


def offering(question: Question, tried: Trial) -> Cause | None:
    """Look whether the certificate was offered, in time, and could be used."""
    ours = [one for one in tried.offers if question.is_ours(one)]
    if ours and tried.accepted in ours:
        return inspection.key_mode(question.keys) or _unusable(question)
    if ours:
        return None
    if tried.find(r"Too many authentication failures"):
        return _too_many(question, tried)
    return _not_offered(question)


def _unusable(question: Question) -> Cause:
    return Cause(
        "key_unusable",
        "the host takes the certificate, and ssh cannot sign with the key beside it"
        + (" in the agent" if question.keys.in_agent else ""),
        f"ca-login{question.chosen.words}",
        NO_CERTIFICATE,
    )


def _too_many(question: Question, tried: Trial) -> Cause:
    """Say what was offered before ours, so that the host had enough."""
    found = agent.find()
    stale = inspection.stale_in_agent(found, now=time.time()) if found else ()
    if stale:
        return Cause(
            "stale_in_agent",
            f"the agent holds {len(stale)} certificates of ours that have ended, and"
            " the host had enough of them before it saw the good one",
            f"ca-login{question.chosen.words}, which removes them",
        )
    return Cause(
        "too_many_keys",
        f"ssh showed {len(tried.offers)} other keys first, and the host had enough of"
        " them before it saw the certificate (IdentitiesOnly is not set)",
        _install(question),
    )


def _not_offered(question: Question) -> Cause:
    """Say why ssh, which ran, did not offer a certificate that is good."""
    if question.settings.get("pubkeyauthentication") in {"no", "false"}:
        return Cause(
            "public_key_off",
            "ssh is told not to log in by key at all (PubkeyAuthentication no)",
            f"ssh -o PubkeyAuthentication=yes {question.host}",
        )
    if missing := inspection.include(question.chosen, _config_of(question.line)):
        return missing
    return Cause(
        "host_not_ours",
        f"ssh offers the certificate to {', '.join(question.chosen.host_patterns)},"
        f" and {question.settings.get('host', question.host)} is none of these",
        f"ca-login ssh{question.chosen.words} {question.host}",
    )


def _config_of(line: CommandLine) -> Path:
    """Return the person's configuration, or the one that `-F` names."""
    named = [value for letter, value in line.options if letter == "F" and value]
    return Path(named[-1]) if named else ssh_config.own_config()


def _install(question: Question) -> str:
    return f"ca-login ssh-config install{question.chosen.words}"
