"""Each shell completes `ca-login` with the static files, which say what there is."""

import pytest

from tests.client.a_terminal import on_a_terminal
from tests.completion import FILES, FOLDER

RUN = 'ca-login() { echo "RAN $*."; }'


def bash(folder):
    rc = folder / "bashrc"
    rc.write_text(f"source {FOLDER}/ca-login.bash\n{RUN}\nPS1='READY '\n")
    return ["bash", "--noprofile", "--rcfile", str(rc), "-i"]


def zsh(folder):
    lines = [
        f"fpath=({FOLDER} $fpath)",
        f"autoload -Uz compinit && compinit -u -d {folder}/zcompdump",
        "unsetopt zle_bracketed_paste prompt_sp",
        RUN,
        "PS1='READY '",
    ]
    (folder / ".zshrc").write_text("".join(f"{line}\n" for line in lines))
    return ["env", f"ZDOTDIR={folder}", "zsh", "-d", "-i"]


def fish(folder):
    init = [
        f"source {FOLDER}/ca-login.fish",
        'function ca-login; echo "RAN $argv."; end',
        "function fish_prompt; echo 'READY '; end",
        "function fish_right_prompt; end",
        "set -g fish_greeting",
    ]
    return ["fish", "--no-config", "-C", "; ".join(init)]


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_the_parsers_say(name):
    assert (FOLDER / name).read_text() == FILES[name]


@pytest.fixture
def complete(tmp_path, home, monkeypatch):
    """Type into a shell with completion; return the command lines that it ran."""
    profiles = home / ".config/daypass"
    profiles.mkdir(parents=True)
    (profiles / "elsewhere.json").touch()
    monkeypatch.setenv("TERM", "dumb")

    def complete(shell, *typed):
        command = shell(tmp_path)
        shown = on_a_terminal(
            command,
            typed="".join(f"{line}\n" for line in (*typed, "exit")),
            typed_at="READY",
        )
        return [
            line
            for line in shown.text.splitlines()
            if "RAN" in line and "echo" not in line
        ]

    return complete


TYPED = {
    "ca-login sta\t--js\t": "RAN status --json.",
    "ca-login ssh-config ins\t": "RAN ssh-config install.",
    "ca-login setup --agent on\t": "RAN setup --agent only.",
    "ca-login --tok\tx": "RAN --token-file x.",
    "ca-login check --profile else\t": "RAN check --profile elsewhere.",
}


@pytest.mark.parametrize("shell", [bash, zsh, fish])
def test_words_are_completed(complete, shell):
    ran = complete(shell, *TYPED)

    assert [
        line[line.index("RAN") :].strip().replace(" .", ".") for line in ran
    ] == list(TYPED.values())
