"""The house is in order: what the tools cannot check, and would rot unseen."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("ca", "signer", "client", "deploy")

ELSEWHERE = re.compile(
    rb"(?<![\w.}])/(wor[k]|roo[t]|hom[e]/(?!ada|grace)\w+|User[s]|opt/whee[l]s)/"
    rb"|pyp[i]\.org|pythonhoste[d]\.org|registry\.npmj[s]|deb\.debia[n]"
)
"""Paths of one machine, and hosts of registries; in brackets so as not to match."""


def tracked(pattern: str = "*") -> list[Path]:
    """Return the files of the repository, with those about to be added to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        [*command, "--", pattern], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def sources() -> list[Path]:
    return [p for p in tracked("*.py") if p.relative_to(ROOT).parts[0] in FOLDERS]


def third_party(paths: list[Path]) -> set[str]:
    """Return the distributions that these modules import from, in lower case."""
    roots: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.partition(".")[0])
    known = packages_distributions()
    foreign = roots - sys.stdlib_module_names - set(FOLDERS)
    return {known.get(root, [root])[0].lower() for root in foreign}


def extra(name: str) -> set[str]:
    lines = PROJECT["project"]["optional-dependencies"].get(name, [])
    # Imported by names that have no hyphen.
    return {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}


def contract(name: str) -> dict[str, list[str]]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(c for c in contracts if c["id"] == name)
    return found


def inside(folder: str) -> list[Path]:
    return [path for path in sources() if path.relative_to(ROOT).parts[0] == folder]


def test_every_module_says_what_it_is_for():
    silent = [
        path
        for path in tracked("*.py")
        if (code := path.read_text()) and not ast.get_docstring(ast.parse(code))
    ]

    assert silent == []


def test_a_laptop_needs_no_package():
    ignored = contract("client")["ignore_imports"]
    floor = [line.partition(" -> ")[2] for line in ignored]
    modules = [ROOT / f"{name.replace('.', '/')}.py" for name in floor]

    assert third_party(inside("client") + modules) == set()
    assert PROJECT["project"]["dependencies"] == []


def test_pure_modules_are_told_the_time():
    pure = tuple(f"{name}." for name in contract("pure")["source_modules"])
    clocks = [
        path.name
        for path in inside("ca")
        if ".".join(path.relative_to(ROOT).parts).startswith(pure)
        and re.search(r"\.(now|utcnow|today)\(", path.read_text())
    ]

    assert clocks == []


def test_the_extras_are_what_is_imported():
    servers = third_party(inside("ca") + inside("signer"))
    assert servers == extra("signer") | extra("postgres")
    # With the modules of `ca` that it stands on: the signer's extra is for all of them.
    graph = grimp.build_graph("ca", "client", "deploy")
    below = graph.find_upstream_modules("deploy", as_package=True)
    borrowed = [
        path
        for path in inside("ca")
        if ".".join(path.relative_to(ROOT).with_suffix("").parts) in below
    ]
    assert borrowed
    assert third_party(inside("deploy") + borrowed) == extra("deploy")


@pytest.mark.parametrize("command", PROJECT["project"]["scripts"])
def test_every_command_is_there(command):
    (entry,) = distribution("daypass").entry_points.select(name=command)

    assert callable(entry.load())


def test_ca_login_is_a_command_that_pip_did_not_make(tmp_path):
    (script,) = PROJECT["tool"]["setuptools"]["script-files"]
    installed = Path(sys.executable).with_name(Path(script).name)

    said = subprocess.run(
        [installed, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert said.stdout.startswith("ca-login: ")
    assert "import re" not in installed.read_text()


def test_a_wheel_has_every_file(tmp_path):
    source, built = tmp_path / "source", tmp_path / "built"
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "-w", built, source],
        check=True,
    )

    (wheel,) = built.iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in tracked(folder)
    }
    shared = r"^daypass-[^/]*\.data/(scripts|(data/share/[\w/.-]*))/"
    packed = {
        re.sub(shared, lambda m: "client/completion/" if m[2] else "client/", name)
        for name in names
        if ".dist-info/" not in name
    }
    assert packed == ours


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    said = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    listed = re.findall(r"^make (\w+)", said, re.MULTILINE)
    assert sorted([*listed, "system"]) == sorted(targets)


def test_no_file_names_a_machine_or_a_registry():
    found = [
        (path.name, match[0])
        for path in tracked()
        if (match := ELSEWHERE.search(path.read_bytes()))
    ]

    assert found == []


def test_every_link_between_documents_leads_somewhere():
    dead = [
        (path.name, target)
        for path in tracked("*.md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]

    assert dead == []


@pytest.mark.parametrize("path", tracked("docs/adr/*.md"), ids=lambda path: path.stem)
def test_a_decision_says_why_and_what_else_was_thought_of(path):
    headings = re.findall(r"^## (\w+)", path.read_text(), re.MULTILINE)

    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]


def test_the_changelog_has_room_for_the_next_change():
    changelog = (ROOT / "CHANGELOG.md").read_text()

    assert re.search(r"^## \[?Unreleased", changelog, re.MULTILINE)
