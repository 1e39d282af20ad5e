"""Jobs sign in with their platform's token, at a real signer, for one key alone.

GitHub's token service is a small real server; the issuers' keys are those of `FakeIdP`.
"""

import getpass
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ca.messages import SignRequest
from tests.authority import subject_key
from tests.fakes import FakeIdP
from tests.github import GitHub
from tests.laptop import House, Laptop, open_house
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh

ISSUER = """
[[issuer]]
name = "{name}"
url = "{url}"

[[issuer.client]]
id = "{origin}"
flow = "ci"
binding = "audience"

[[issuer.client]]
id = "unbound"
flow = "ci"
binding = "none"
max_uses = 2
"""

RULES = """
[[rule]]
name = "releases"
issuer = "github"
match = { repository_id = "735212345", environment = "production" }
principals = ["release"]
validity = "10m"

[[rule]]
name = "pipelines"
issuer = "gitlab"
match = { project_id = "4711", ref_protected = "true" }
principals = ["release"]
validity = "10m"

[[rule]]
name = "pods"
issuer = "cluster"
match = { subject = "system:serviceaccount:ops:backup" }
principals = ["release"]
validity = "10m"

[roles]
admin = { issuer = "github", repository_id = "735212345" }
"""

GITHUB: dict[str, Any] = {
    "sub": "repo:example/shop:environment:production",
    "repository_id": "735212345",
    "environment": "production",
}
GITLAB: dict[str, Any] = {
    "sub": "project_path:example/shop:ref_type:branch:ref:main",
    "project_id": "4711",
    "ref_protected": "true",
}
POD: dict[str, Any] = {
    "sub": "system:serviceaccount:ops:backup",
    "kubernetes.io": {"namespace": "ops", "serviceaccount": {"name": "backup"}},
}


@pytest.fixture
def issuers() -> Iterator[dict[str, FakeIdP]]:
    with FakeIdP() as corp, FakeIdP() as github, FakeIdP() as gitlab, FakeIdP() as pods:
        yield {"corp": corp, "github": github, "gitlab": gitlab, "cluster": pods}


@pytest.fixture
def house(issuers, tmp_path: Path) -> Iterator[House]:
    clients = "".join(
        ISSUER.replace("{name}", name).replace("{url}", idp.url)
        for name, idp in issuers.items()
        if name != "corp"
    )
    corp = issuers["corp"].url
    with open_house(tmp_path / "ca", corp, clients=clients, rules=RULES) as house:
        yield house


@pytest.fixture
def github(issuers) -> Iterator[GitHub]:
    def sign(audience: str) -> str:
        token: str = issuers["github"].token(aud=audience, **GITHUB)
        return token

    with GitHub(sign) as github:
        yield github


@pytest.fixture
def runner_key(tmp_path: Path) -> Path:
    """Make the key that a runner keeps."""
    path = tmp_path / "runner"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "runner", "-f"]
    subprocess.run([*command, path], check=True)
    return path


def audience_of(job: Laptop, key: Path) -> str:
    """Ask `ca-login` for which audience a token must be for a key."""
    printed = job.run("--key", str(key), "--print-audience")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


def test_a_github_job_signs_in_without_a_question_and_reaches_the_host(
    house, github, tmp_path
):
    job = house.laptop(**github.environment)

    signed_in = job.run("--principal", "release")

    assert signed_in.returncode == 0, signed_in.stderr
    key_id = "github:repo:example/shop:environment:production"
    assert f"signed in as {key_id} for release until" in signed_in.stderr
    (tmp_path / "release").write_text("release\n")
    (tmp_path / "sshd").mkdir()
    trust = (
        f"TrustedUserCAKeys {house.folder}/keys/user_ca.pub",
        f"AuthorizedPrincipalsFile {tmp_path}/release",
    )
    with Sshd(tmp_path / "sshd", trust) as sshd:
        login = sshd.login(job.key, job.certificate, command="id -un")
        assert f"ID {key_id} (serial 1)" in sshd.said
    assert login.stdout.strip() == getpass.getuser()


def test_a_job_s_stolen_token_is_refused_for_another_key(house, github):
    signed_in = house.laptop(**github.environment).run()
    assert signed_in.returncode == 0, signed_in.stderr
    (token,) = github.made

    thief = house.signer.sign(SignRequest(public_key=subject_key(), id_token=token))

    assert thief.status == 401
    assert thief.json["code"] == "token_binding_wrong"
    assert "--print-audience" in thief.json["hint"]


def test_a_branch_s_job_gets_nothing(house, issuers, github):
    github.sign = lambda audience: issuers["github"].token(
        aud=audience, **GITHUB | {"environment": None}
    )

    refused = house.laptop(**github.environment).run()

    assert refused.returncode == 5


@pytest.mark.parametrize("platform", ["gitlab", "kubernetes"])
def test_a_token_from_before_the_job_is_bound_to_a_key_from_before(
    house, issuers, runner_key, tmp_path, platform
):
    audience = audience_of(house.laptop(), runner_key)
    assert audience.startswith(f"{house.url}#")
    if platform == "gitlab":
        token = issuers["gitlab"].token(aud=audience, **GITLAB)
        job = house.laptop(CI="true", CA_LOGIN_ID_TOKEN=token)
    else:
        file = tmp_path / "token"
        file.write_text(issuers["cluster"].token(aud=[audience], **POD))
        job = house.laptop(CA_LOGIN_TOKEN_FILE=str(file))

    without = job.run()
    signed_in = job.run("--key", str(runner_key))

    assert without.returncode == 4
    assert "token_binding_wrong" in without.stderr
    assert signed_in.returncode == 0, signed_in.stderr
    assert job.key.resolve() == runner_key


def test_a_token_of_one_issuer_is_none_of_another_s(house, issuers, runner_key):
    audience = audience_of(house.laptop(), runner_key)
    lies = GITHUB | {"iss": issuers["github"].issuer}
    issuers["gitlab"].rotate()
    token = issuers["gitlab"].token(aud=audience, **lies)
    job = house.laptop(CA_LOGIN_ID_TOKEN=token)

    refused = job.run("--key", str(runner_key))

    assert refused.returncode == 4
    assert "token_key_unknown" in refused.stderr


def test_an_unbound_token_buys_what_it_may_and_no_more(house, issuers):
    token = issuers["gitlab"].token(aud="unbound", **GITLAB)
    job = house.laptop(CI="true", CA_LOGIN_ID_TOKEN=token)

    said = [job.run() for _ in range(3)]

    assert [one.returncode for one in said] == [0, 0, 4]
    assert "token_spent" in said[2].stderr


def test_a_pod_s_token_for_the_api_server_is_refused(house, issuers, tmp_path):
    api = "https://kubernetes.default.svc.cluster.local"
    (tmp_path / "token").write_text(issuers["cluster"].token(aud=[api], **POD))
    job = house.laptop(CA_LOGIN_TOKEN_FILE=str(tmp_path / "token"))

    refused = job.run()

    assert refused.returncode == 4
    assert "token_audience_wrong" in refused.stderr
