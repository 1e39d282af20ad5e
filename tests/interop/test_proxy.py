"""nginx before a signer, set up as `docs/operating.md` says."""

import json
import re
import shutil
import ssl
import subprocess
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPSConnection

import msgspec
import pytest

from tests.authority import (
    LOOPBACK,
    ROOT,
    Signer,
    children,
    make_ca,
    opened,
    request_of,
    rewrite,
    wait_until,
)
from tests.fakes import FakeIdP
from tests.raw_http import clients_of
from tests.sshd import free_port
from tests.tls import make_certificate

CLIENT = "127.0.0.2"
"""Another address of this machine than the proxy's."""


def documented(language):
    """Return the blocks in that language about a proxy."""
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text.split("\n## Behind a TLS proxy\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def signer(idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    (toml,) = documented("toml")
    (proxies,) = re.findall(r"trusted_proxies = .*", toml)
    rewrite(config_file, {"trusted_proxies = []": proxies})
    with Signer(config_file) as signer:
        yield signer


@contextmanager
def nginx(signer, folder, certificate):
    """Run nginx; yield its port."""
    (block,) = documented("nginx")
    port = free_port()
    for old, new in {
        "listen 443 ssl": f"listen {LOOPBACK}:{port} ssl",
        "127.0.0.1:8440": f"{LOOPBACK}:{signer.port}",
        "/etc/ssl/ca.example.com.pem": str(certificate),
        "/etc/ssl/ca.example.com.key": str(certificate),
    }.items():
        assert old in block
        block = block.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder}/pid;\nworker_processes 1;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{block}}}\n"
    )
    command = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert command is not None
    log = folder / "error.log"
    with subprocess.Popen([command, "-c", file, "-e", log]) as process:
        try:
            wait_until(lambda: (folder / "pid").is_file() and answers(port))
            yield port
        finally:
            process.terminate()


def answers(port):
    try:
        ssl.get_server_certificate((LOOPBACK, port))
    except OSError:
        return False
    return True


def certify(port, idp, certificate):
    """Ask for a certificate over a connection of its own; return its serial."""
    connection = HTTPSConnection(
        LOOPBACK,
        port,
        source_address=(CLIENT, 0),
        context=ssl.create_default_context(cafile=certificate),
    )
    with closing(connection):
        body = msgspec.json.encode(request_of(idp))
        json_type = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/user-certificates", body, json_type)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == HTTPStatus.OK, said
        return int(said["serial"])


def test_the_proxy_keeps_its_connection_and_says_whose_each_request_is(
    idp, signer, tmp_path
):
    certificate = make_certificate(tmp_path)
    (worker,) = children(signer.process_id)
    with nginx(signer, tmp_path, certificate) as port:
        serials = [certify(port, idp, certificate)]
        kept = clients_of(worker, signer)
        serials += [certify(port, idp, certificate) for _ in range(4)]

        assert len(kept) == 1
        assert clients_of(worker, signer) == kept
    with opened(signer.config_file) as authority:
        for serial in serials:
            entry = authority.store.entry_by_serial(serial)
            assert entry is not None
            assert json.loads(entry.record or b"")["address"] == CLIENT
