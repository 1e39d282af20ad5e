"""The documents say what is so: every name, command and number in them is checked.

Prose cannot be checked; what it names can. Each test collects what the documents name
and holds it against the code, in both directions where both make sense.
"""

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest

from ca import config, errors
from ca.admin.__main__ import COMMANDS as ADMIN
from ca.admin.__main__ import parse as parse_admin
from ca.admin.command import HelpAsked
from ca.admin.command import Misuse as AdminMisuse
from ca.config import ConfigFile
from ca.errors import CAError
from ca.messages import Problem
from client import (
    check,
    connect,
    doctor,
    ensure,
    export,
    login,
    logout,
    setup,
    ssh_config,
    status,
    why,
)
from client.arguments import HelpAsked as HelpAskedOfLogin
from client.arguments import Parser
from client.failure import Misuse, exit_code
from client.keys import KeyFiles
from client.terminal import Terminal
from deploy import texts
from deploy.desired import GroupTable, HostTable, UserTable
from deploy.host_files import Pull, render_configuration
from deploy.options import HelpAsked as DeployHelpAsked
from deploy.options import parse as parse_deploy
from signer.__main__ import _parser as signer_parser
from signer.problems import http_code, status_of
from tests.sshd import Sshd

ROOT = Path(__file__).parent.parent
DOCS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
README, OPERATING, ERRORS = (
    DOCS[name] for name in ("README.md", "docs/operating.md", "docs/errors.md")
)
ADRS = sorted((ROOT / "docs/adr").glob("*.md"))

MODULES = {
    "ca-login": "client",
    "ca-admin": "ca.admin",
    "ca-signer": "signer",
    "ca-deploy": "deploy",
}
"""The commands, each with the module that is it."""

_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def blocks(text: str, language: str | None = None) -> list[str]:
    """Return the fenced code blocks, or only those in one language."""
    found = _FENCED.findall(text)
    return [code for name, code in found if language in {None, name}]


def spans(text: str) -> set[str]:
    """Return what stands in backticks within a line of prose."""
    prose = _FENCED.sub("", text)
    return {" ".join(span.split()) for span in _SPAN.findall(prose)}


def all_spans() -> list[str]:
    return sorted(set().union(*map(spans, DOCS.values())))


# --- Links and files --------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return what `#…` may say about a document, by the rule of the common forges."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", DOCS)
def test_every_link_leads_to_a_file_and_a_heading(name):
    here = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", DOCS[name])

    dead = []
    for link in (link for link in links if not link.startswith("https://")):
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text())
        ):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("name", DOCS)
def test_every_file_that_is_named_exists(name):
    ours = re.compile(r"(?:\.ci|ca|client|deploy|docs|signer|tests)/[\w./-]*")

    named = [span for span in spans(DOCS[name]) if ours.fullmatch(span)]

    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCS)
def test_every_test_that_is_named_exists(name):
    named = [span.partition("::") for span in spans(DOCS[name]) if "::" in span]
    tests = [(path, test) for path, _, test in named if path.startswith("tests/")]

    assert [
        f"{path}::{test}"
        for path, test in tests
        if f"def {test}(" not in (ROOT / path).read_text()
    ] == []


def test_every_document_is_reached_from_the_readme():
    linked = {
        (ROOT / name).parent.joinpath(link.partition("#")[0]).resolve()
        for name, text in DOCS.items()
        for link in re.findall(r"\]\(([^)\s#]+)", text)
    }

    pages = {ROOT / name for name in DOCS} - {ROOT / "README.md", *ADRS}
    assert pages <= linked
    assert ROOT / "docs/adr" in linked


# --- Commands ---------------------------------------------------------------------


@pytest.mark.parametrize("command", MODULES)
def test_the_readme_quotes_each_help_text_exactly(command):
    said = subprocess.run(
        [sys.executable, "-m", MODULES[command], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    _, _, section = README.partition(f"### `{command}`\n")

    assert blocks(section)[0] == said


def test_each_command_of_ca_admin_is_quoted_exactly():
    page = DOCS["docs/ca-admin.md"]

    assert blocks(page) == [ADMIN[name].HELP for name in ADMIN]
    assert re.findall(r"^## `(.*)`$", page, re.MULTILINE) == list(ADMIN)


def test_each_command_of_ca_login_is_quoted_exactly():
    page = DOCS["docs/ca-login.md"]

    quoted = re.findall(
        r"^## `([^`]*)`\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )

    assert [name for name, _ in quoted] == [name for name in LOGIN if name]
    for name, text in quoted:
        with pytest.raises(HelpAskedOfLogin) as asked:
            LOGIN[name](["--help"])
        assert text == str(asked.value)


def test_the_exit_codes_of_ca_login_are_those_that_there_are():
    described = re.findall(r"^\| (\d+) \|", DOCS["docs/ca-login.md"], re.MULTILINE)

    shown_in_help = re.findall(
        r"(\d+) [A-Za-z]", login.HELP.partition("exit codes:")[2]
    )
    assert described == [code for code in shown_in_help if code != "9"]


def test_each_command_of_ca_deploy_is_quoted_exactly():
    page = DOCS["docs/ca-deploy.md"]

    quoted = [block for block in blocks(page) if block.startswith("usage: ")]
    assert quoted == list(texts.OF_COMMAND.values())


def _read(name: str, help_text: str) -> Callable[[list[str]], object]:
    return lambda words: Parser(name, help_text).read(words, Terminal())


def _read_front(tool: str) -> Callable[[list[str]], object]:
    return lambda words: connect.parser(tool).read(words, Terminal())


LOGIN: Mapping[str, Callable[[list[str]], object]] = {
    "": lambda words: login._parse(words, Terminal()),  # noqa: SLF001 parses only
    "setup": lambda words: setup._parse(words, Terminal()),  # noqa: SLF001
    "check": _read("ca-login check", check.HELP),
    "ensure": _read("ca-login ensure", ensure.HELP),
    "ssh-config": lambda words: ssh_config.parser().read(words, Terminal()),
    **{name: _read_front(name) for name in connect.COMMANDS},
    "doctor": _read("ca-login doctor", doctor.HELP),
    "why": lambda words: why.parser().read(words, Terminal()),
    "export": lambda words: export.parser().read(words, Terminal()),
    "status": _read("ca-login status", status.HELP),
    "logout": _read("ca-login logout", logout.HELP),
}


def parse(words: list[str]) -> None:
    """Parse a command line as its command would, and do nothing.

    Raises one of the two `Misuse`s, or `SystemExit` as argparse does.
    """
    program, *arguments = words
    if arguments == ["--help"]:
        return
    if program == "ca-login":
        named = arguments and not arguments[0].startswith("-")
        command = arguments.pop(0) if named else ""
        if command not in LOGIN:
            raise Misuse(f"no command {command}")
        LOGIN[command](arguments)
        return
    if program == "ca-admin":
        with contextlib.suppress(HelpAsked):
            parse_admin(arguments)
        return
    if program == "ca-deploy":
        with contextlib.suppress(DeployHelpAsked):
            parse_deploy(arguments)
        return
    with contextlib.redirect_stderr(io.StringIO()):
        signer_parser().parse_args(arguments)


_COMMAND = re.compile(r"(?:ExecStart=|\$ |sudo )?(?:\S*/)?(ca-[a-z]+)(?![\w:-])(.*)")
_REST = re.compile(r"\s{2,}.*| [#>|;] .*")
"""What may follow a command on its line: a remark, or the shell's business."""


def command_lines(code: str) -> Iterator[str]:
    """Find the lines of a code block that begin with a command of ours."""
    for line in re.sub(r"\\\n\s*", "", code).splitlines():
        found = _COMMAND.fullmatch(line.strip())
        titles = found and re.match(r" [a-z-]+: ", found[2])
        if found and found[1] in MODULES and not titles:
            yield (found[1] + _REST.sub("", found[2])).strip()


def shown() -> list[str]:
    """Return the command lines in all code blocks."""
    codes = [
        code
        for text in DOCS.values()
        for code in [*blocks(text), *_INDENTED.findall(_FENCED.sub("", text))]
    ]
    return sorted({line for code in codes for line in command_lines(code)})


def split(line: str) -> list[str]:
    return shlex.split(re.sub(r"SHA256:(…|\.\.\.)", "SHA256:" + "A" * 43, line))


@pytest.mark.parametrize("line", shown())
def test_every_command_line_in_a_code_block_can_be_typed(line):
    parse(split(line))


@pytest.mark.parametrize(
    "line", [span for span in all_spans() if span.split()[0] in MODULES]
)
def test_every_command_in_the_prose_is_there(line):
    names = {"init", "db upgrade", "check-config", "serve", "render", "setup"}
    names |= {"--token-file", "policy", "certificates", "hosts", "revoke", "block"}
    names |= {"keys", "ledger"}
    if " ".join(line.split()[1:]) in names | {""}:
        return  # It is only called by its name.

    parse(split(line))


def test_every_command_of_ours_is_shown():
    known = {
        *(f"ca-login {name}".strip() for name in LOGIN),
        *(f"ca-admin {name}" for name in ADMIN),
        *("ca-signer serve", *(f"ca-deploy {name}" for name in texts.OF_COMMAND)),
    }

    lines = [*shown(), *all_spans()]
    assert {k for k in known if not any(line.startswith(k) for line in lines)} == set()


@pytest.mark.parametrize(
    "line",
    ["ca-login setpu", "ca-admin db downgrade", "ca-login --for 1h", "ca-deploy aply"],
)
def test_a_command_line_that_is_wrong_would_be_noticed(line):
    with pytest.raises((Misuse, AdminMisuse, SystemExit)):
        parse(split(line))


# --- Settings ---------------------------------------------------------------------


def settings_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        name = prefix + field.encode_name
        tables = re.findall(r"ca\.config\.(\w+Table)", str(field.type))
        if not tables:
            yield name
        for table in tables:
            yield from settings_of(getattr(config, table), f"{name}.")


SETTINGS = set(settings_of(ConfigFile))


def flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        inner = value if isinstance(value, list) else [value]
        tables = [one for one in inner if isinstance(one, dict)]
        for one in tables:
            yield from flatten(one, f"{prefix}{key}.")
        if not tables:
            yield prefix + key


def test_each_setting_is_described_and_no_other():
    described = re.findall(r"\*\*`([\w.]+)`\*\*", OPERATING)

    assert sorted(described) == sorted(SETTINGS)


def test_no_setting_is_named_that_there_is_not():
    tables = {name.partition(".")[0] for name in SETTINGS if "." in name}
    like_one = re.compile(rf"(?:{'|'.join(tables)})(?:\.[a-z_]+)+")

    assert {span for span in all_spans() if like_one.fullmatch(span)} <= SETTINGS


@pytest.mark.parametrize("block", blocks(OPERATING, "toml"))
def test_each_piece_of_configuration_has_only_known_settings(block):
    assert set(flatten(tomllib.loads(block))) <= SETTINGS


@pytest.mark.parametrize("table", [HostTable, UserTable, GroupTable])
def test_each_key_of_deploy_toml_is_described(table):
    page = DOCS["docs/ca-deploy.md"]

    named = set(re.findall(r"\w+", " ".join([*spans(page), *blocks(page)])))
    assert {field.encode_name for field in msgspec.structs.fields(table)} <= named


def test_each_setting_of_pull_conf_is_described_and_no_other():
    written = render_configuration(
        Pull("https://ca.example.com", f"SHA256:{'A' * 43}", "web1")
    )

    _, _, table = OPERATING.partition("| in `pull.conf` | meaning |\n")
    cells = re.findall(r"^\| ([^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)
    described = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(described) == sorted(re.findall(r"^(\w+)=", written, re.MULTILINE))


# --- HTTP -------------------------------------------------------------------------


def kinds_of(kind: type[CAError]) -> Iterator[type[CAError]]:
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from kinds_of(below)


def test_each_error_code_is_described_with_its_status_and_exit_code():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| .* \| (\d+) \|$", ERRORS, re.MULTILINE)

    assert sorted(rows) == sorted(
        (kind.code, str(int(status_of(kind("")))), str(exit_code(kind(""))))
        for kind in kinds_of(CAError)
    )


def test_the_codes_of_the_http_layer_are_named_as_it_names_them():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|[^|]*\|[^|]*\|$", ERRORS, re.MULTILINE)
    last, *others = sorted(rows, key=lambda row: row[0] != "internal_error")

    assert last == ("internal_error", "500")
    assert '"internal_error"' in (ROOT / "signer/problems.py").read_text()
    assert set(others) == {
        (http_code(HTTPStatus(status)), str(status))
        for status in (405, 408, 411, 413, 414, 417, 431, 501)
    }


def test_the_problem_document_shown_is_one():
    (shown_problem,) = blocks(ERRORS, "json")

    problem = msgspec.json.decode(shown_problem, type=Problem)

    (kind,) = (kind for kind in kinds_of(CAError) if kind.code == problem.code)
    assert problem.status == status_of(kind(""))
    assert problem.title == HTTPStatus(problem.status).phrase
    assert set(json.loads(shown_problem)) == set(Problem.__struct_fields__)


def test_each_route_that_is_named_is_served_and_each_served_is_named():
    served = {
        re.sub(r"<\w+:", "<", f"{method.upper()} {path}")
        for file in (ROOT / "signer").glob("*.py")
        for method, path in re.findall(r'routes\.(\w+)\("([^"]+)"\)', file.read_text())
    }

    named = {span for span in all_spans() if re.match(r"(GET|POST|DELETE) /", span)}
    # That one has a listener of its own.
    assert named == served | {"GET /metrics"}


# --- What is typed elsewhere ------------------------------------------------------


@pytest.mark.openssh
@pytest.mark.parametrize(
    "block", [b for t in DOCS.values() for b in blocks(t, "sshd_config")]
)
def test_sshd_takes_what_we_say_to_put_into_its_configuration(block, tmp_path):
    with Sshd(tmp_path, block.splitlines()):
        pass


@pytest.mark.openssh
def test_ssh_finds_the_key_where_our_ssh_config_says(tmp_path):
    (block,) = blocks(README, "ssh_config")
    file = tmp_path / "config"
    file.write_text(block)

    said = subprocess.run(
        ["ssh", "-G", "-F", file, "web1.example.com"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    (key,) = (line.split()[1] for line in said if line.startswith("identityfile "))
    assert Path(key).expanduser() == KeyFiles("default").private
    assert "identitiesonly yes" in said


# --- Decisions --------------------------------------------------------------------


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(path.name[:4]) for path in ADRS]

    assert numbers == list(range(1, len(ADRS) + 1))


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_each_decision_has_its_headings_with_something_below(path):
    text = path.read_text()
    title, *sections = re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]

    slug = re.sub(r"[^a-z0-9]+", "-", title.splitlines()[0].lower()).strip("-")
    assert slug == path.stem
    assert "\n\nStatus: " in title
    assert [section.split("\n")[0] for section in sections] == [
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
    ]
    assert all(len(section.split()) > 10 for section in sections)
    assert len(text.split()) < 600, "a decision is one page"
