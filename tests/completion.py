"""Writes what completes `ca-login` in bash, zsh and fish, from what it really takes.

    python -m tests.completion       writes client/completion

They are static files: no shell runs us to complete a word. A test has each of the
shells complete with them, and compares them with what this would write.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from client.arguments import Parser
from client.flows import FLOWS
from client.profile import AGENT_MODES

FOLDER = Path(__file__).parent.parent / "client/completion"

_HELPS: Mapping[str, str] = {
    "": login.HELP,
    "setup": setup.HELP,
    "check": check.HELP,
    "ensure": ensure.HELP,
    "ssh-config": ssh_config.HELP,
    **connect.HELPS,
    "doctor": doctor.HELP,
    "why": why.HELP,
    "export": export.HELP,
    "status": status.HELP,
    "logout": logout.HELP,
}

_PARSERS: Mapping[str, Parser] = {
    "": login.parser(),
    "setup": setup.parser(),
    "ssh-config": ssh_config.parser(),
    **{tool: connect.parser(tool) for tool in connect.HELPS},
    "why": why.parser(),
    "export": export.parser(),
}

_VALUES: Mapping[str, Sequence[str]] = {"--agent": AGENT_MODES, "--flow": FLOWS}
_FILES = ("--key", "--token-file", "--ppk")
_ACTIONS: Mapping[str, Sequence[str]] = {"ssh-config": ssh_config.ACTIONS}
_TO_HOSTS = ("ssh", "sftp", "scp", "why")
_TO_COMMANDS = ("exec",)
_FISH_QUOTE = "\\'"
_NONE = "''"
"""How shells write an empty word."""

_OPTION = re.compile(r"^  (?:-\w, )?(--[a-z-]+)(?: [A-Z]\S*)?  +(\S.*)$", re.MULTILINE)

_EXAMPLE = re.compile(r"^  ca-login (--[a-z-]+)(?: \S+)?  +(\S.*)$", re.MULTILINE)
"""Where an option is explained by how it is typed."""


@dataclass(frozen=True)
class Option:
    """One option of a command."""

    name: str
    takes_value: bool
    says: str


@dataclass(frozen=True)
class Command:
    """One command, the bare one with an empty name."""

    name: str
    says: str
    options: Sequence[Option]


def commands() -> list[Command]:
    """Return all there are."""
    return [_command(name) for name in _HELPS]


def _command(name: str) -> Command:
    title = _HELPS[name].partition("\n")[0]
    parser = _PARSERS.get(name) or Parser(name, "")
    says = {
        option: text
        for help_text in (login.HELP, _HELPS["ssh"], _HELPS[name])
        for pattern in (_EXAMPLE, _OPTION)
        for option, text in pattern.findall(help_text)
    }
    options = [
        Option(option, takes, says.get(option, "").strip())
        for option, takes in parser.options.items()
        if option.startswith("--")
    ]
    help_ = Option("--help", takes_value=False, says="how it is used")
    return Command(name, title.partition(": ")[2], (*options, help_))


# --- bash -------------------------------------------------------------------------


def bash() -> str:
    """Return what bash sources."""
    names = " ".join(one.name for one in commands() if one.name)
    options = "".join(
        f"        {one.name or _NONE}) words='{_names(one)}' ;;\n" for one in commands()
    )
    values = "".join(
        f"        {name}) words='{' '.join(words)}' ;;\n"
        for name, words in _VALUES.items()
    )
    others = [o.name for one in commands() for o in one.options if o.takes_value]
    other = sorted({*others} - {*_VALUES, *_FILES, "--profile"})
    actions = "".join(
        f"        {name}) words='{' '.join(words)}' ;;\n"
        for name, words in _ACTIONS.items()
    )
    return f"""\
# Completes ca-login in bash. Written by: python -m tests.completion

_ca_login() {{
    local word=$2 before=$3 command='' words='' file
    COMPREPLY=()
    if ((COMP_CWORD > 1)) && [[ ${{COMP_WORDS[1]}} != -* ]]; then
        command=${{COMP_WORDS[1]}}
    fi
    case $before in
        --profile)
            for file in "${{XDG_CONFIG_HOME:-$HOME/.config}}"/daypass/*.json; do
                file=${{file##*/}}
                words+=" ${{file%.json}}"
            done
            words=${{words/ \\*/}} ;;
{values}        {"|".join(_FILES)})
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        {"|".join(other)}) return ;;
    esac
    if [[ -z $words && $word == -* ]]; then
        case $command in
{_shift(options)}        esac
    elif [[ -z $words ]]; then
        case $command in
            '') words='{names}' ;;
{_shift(actions)}            {"|".join(_TO_HOSTS)})
                mapfile -t COMPREPLY < <(compgen -f -A hostname -- "$word")
                return ;;
            {"|".join(_TO_COMMANDS)})
                mapfile -t COMPREPLY < <(compgen -c -- "$word")
                return ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}

complete -F _ca_login ca-login
"""


def _names(command: Command) -> str:
    return " ".join(option.name for option in command.options)


def _shift(text: str) -> str:
    return re.sub(r"^", "    ", text, flags=re.MULTILINE).removesuffix("    ")


# --- zsh --------------------------------------------------------------------------


def zsh() -> str:
    """Return what zsh autoloads, as `_ca-login`."""
    described = "".join(
        f"    {_quote(f'{one.name}:{one.says}')}\n" for one in commands() if one.name
    )
    cases = "".join(_zsh_case(one) for one in commands() if one.name)
    (bare,) = (one for one in commands() if not one.name)
    return f"""\
#compdef ca-login
# Completes ca-login in zsh. Written by: python -m tests.completion

_ca-login_profiles() {{
  local -a names
  names=(${{XDG_CONFIG_HOME:-$HOME/.config}}/daypass/*.json(N:t:r))
  compadd -a names
}}

_ca-login() {{
  local -a commands
  commands=(
{described}  )
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
    return
  fi
  if [[ $words[2] == -* ]]; then
    _arguments {_specs(bare)}
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{cases}  esac
}}

_ca-login "$@"
"""


def _zsh_case(command: Command) -> str:
    rest = ""
    if command.name in _ACTIONS:
        rest = f" '1:action:({' '.join(_ACTIONS[command.name])})'"
    elif command.name in _TO_HOSTS:
        rest = " '*:host:_hosts'"
    elif command.name in _TO_COMMANDS:
        rest = " '*::command:_normal'"
    return f"    {command.name}) _arguments {_specs(command)}{rest} ;;\n"


def _specs(command: Command) -> str:
    return " ".join(_quote(_spec(option)) for option in command.options)


def _spec(option: Option) -> str:
    says = re.sub(r"([\[\]:])", r"\\\1", option.says)
    if not option.takes_value:
        return f"{option.name}[{says}]"
    if option.name in _VALUES:
        does = f"({' '.join(_VALUES[option.name])})"
    elif option.name in _FILES:
        does = "_files"
    else:
        does = "_ca-login_profiles" if option.name == "--profile" else " "
    return f"{option.name}[{says}]:{option.name.lstrip('-')}:{does}"


# --- fish -------------------------------------------------------------------------


def fish() -> str:
    """Return what fish loads."""
    lines = [
        "# Completes ca-login in fish. Written by: python -m tests.completion",
        "",
        "function __ca_login_profiles",
        "    set -l config $XDG_CONFIG_HOME $HOME/.config",
        "    for file in $config[1]/daypass/*.json",
        "        path basename -E $file 2>/dev/null; or basename $file .json",
        "    end",
        "end",
        "",
        "complete -c ca-login -f",
    ]
    for command in commands():
        lines += _fish_command(command)
    return "".join(f"{line}\n" for line in lines)


def _fish_command(command: Command) -> list[str]:
    complete = "complete -c ca-login"
    when = f"-n '__fish_seen_subcommand_from {command.name}'"
    if not command.name:
        when = "-n __fish_use_subcommand"
    lines = [f"{complete} {when} {_fish_option(option)}" for option in command.options]
    if command.name:
        says = _quote(command.says, _FISH_QUOTE)
        first = f"{complete} -n __fish_use_subcommand -a {command.name} -d {says}"
        lines.insert(0, first)
    if command.name in _ACTIONS:
        lines.append(f"{complete} {when} -a '{' '.join(_ACTIONS[command.name])}'")
    if command.name in _TO_HOSTS:
        lines.append(f"{complete} {when} -F -a '(__fish_complete_user_at_hosts)'")
    if command.name in _TO_COMMANDS:
        lines.append(f"{complete} {when} -a '(__fish_complete_subcommand)'")
    return lines


def _fish_option(option: Option) -> str:
    words = f"-l {option.name.lstrip('-')} -d {_quote(option.says, _FISH_QUOTE)}"
    if not option.takes_value:
        return words
    if option.name in _VALUES:
        return f"{words} -x -a '{' '.join(_VALUES[option.name])}'"
    if option.name in _FILES:
        return f"{words} -r -F"
    more = " -a '(__ca_login_profiles)'" if option.name == "--profile" else ""
    return f"{words} -x{more}"


def _quote(text: str, quote: str = "'\\''") -> str:
    """Return one word of a shell, which writes a quote within quotes so."""
    return "'" + text.replace("'", quote) + "'"


FILES: Mapping[str, str] = {
    "ca-login.bash": bash(),
    "_ca-login": zsh(),
    "ca-login.fish": fish(),
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (FOLDER / name).write_text(text)
