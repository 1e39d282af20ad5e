"""Read a command's arguments, with our own words for help and errors.

Not argparse, which takes as long to load as a whole Python: options are long but for
`-v` and `-h`, spelled out, and written `--name VALUE` or `--name=VALUE`.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from client.failure import Misuse
from client.terminal import Terminal


class HelpAsked(Exception):
    """Someone asked for help; the text is in it."""


class _Option:
    """One option, and what it does to the values."""

    def __init__(
        self, *, dest: str, const: object, parse: Callable[[str], object], many: bool
    ) -> None:
        self.dest = dest
        self.const = const
        """What it stands for; None where a value follows."""
        self.parse = parse
        self.many = many


class Parser:
    """What one command takes; its help is written by hand, its errors are `Misuse`."""

    def __init__(self, command: str, help_text: str) -> None:
        self._command = command
        self._help = help_text
        self._options: dict[str, _Option] = {}
        self._alternatives: list[Sequence[str]] = []
        self._positionals: list[str] = []
        self._defaults: dict[str, object] = {}
        self.add_option("--profile")
        self.add_switch("--json")
        self.add_switch("--verbose")
        self._options["-v"] = self._options["--verbose"]

    def add_option(
        self, name: str, parse: Callable[[str], object] = str, *, many: bool = False
    ) -> None:
        """Take a value after `name`: the last one, or a tuple of all, else None."""
        self._add(name, None, parse, many=many)
        self._defaults[_dest(name)] = () if many else None

    def add_switch(self, name: str) -> None:
        """Take `name` alone: True when it is there."""
        self._add(name, True, str, many=False)  # noqa: FBT003 a value, no flag
        self._defaults[_dest(name)] = False

    def add_positional(self, name: str) -> None:
        """Take one word that is no option, and must be there."""
        self._positionals.append(name)

    def leave_rest(self) -> None:
        """Take `--options` at the front only: from the first other word on, `rest`."""
        self._defaults["rest"] = ()

    def exclude(self, *names: str) -> None:
        """Refuse more than one of these options at once."""
        self._alternatives.append(names)

    @property
    def options(self) -> dict[str, bool]:
        """Each option that can be typed, and whether a value follows it."""
        return {name: one.const is None for name, one in self._options.items()}

    def read(self, argv: Sequence[str], terminal: Terminal) -> SimpleNamespace:
        """Parse, and tell the terminal how it is wanted."""
        # Before parsing, so that a complaint about the rest is in JSON as well.
        terminal.json = "--json" in argv
        terminal.step("understand the command line")
        values = SimpleNamespace(**self._parse(list(argv)))
        terminal.json, terminal.verbose = values.json, values.verbose
        return values

    def _parse(self, words: list[str]) -> dict[str, object]:
        values, given, plain = dict(self._defaults), set(), []
        while words:
            if "rest" in values and _begins_rest(words[0]):
                values["rest"] = tuple(words[words[0] == "--" :])
                break
            word = words.pop(0)
            if word in {"-h", "--help"}:
                raise HelpAsked(self._help)
            if not word.startswith("-") or word == "-":
                plain.append(word)
                continue
            name, equals, value = word.partition("=")
            option = self._options.get(name)
            if option is None:
                raise self._misuse(f"there is no {name}")
            given.add(name)
            if option.const is None:
                self._set(values, option, value if equals else self._take(name, words))
            elif equals:
                raise self._misuse(f"{name} takes no value")
            else:
                values[option.dest] = option.const
        self._refuse_both(given)
        return values | self._place(plain)

    def _take(self, name: str, words: list[str]) -> str:
        if not words or words[0].partition("=")[0] in self._options:
            raise self._misuse(f"{name} needs a value")
        return words.pop(0)

    def _set(self, values: dict[str, object], option: _Option, value: str) -> None:
        parsed = option.parse(value)
        before = values[option.dest]
        if option.many and isinstance(before, tuple):
            parsed = (*before, parsed)
        values[option.dest] = parsed

    def _refuse_both(self, given: set[str]) -> None:
        for names in self._alternatives:
            if len(both := sorted(given.intersection(names))) > 1:
                raise self._misuse(f"not both {both[0]} and {both[1]}")

    def _place(self, plain: Sequence[str]) -> dict[str, object]:
        if len(plain) < len(self._positionals):
            raise self._misuse(f"{self._positionals[len(plain)]} is missing")
        if len(plain) > len(self._positionals):
            raise self._misuse(f"one word too many: {plain[len(self._positionals)]!r}")
        return {_dest(name): word for name, word in zip(self._positionals, plain)}  # noqa: B905 checked above

    def _add(
        self, name: str, const: object, parse: Callable[[str], object], *, many: bool
    ) -> None:
        self._options[name] = _Option(
            dest=_dest(name), const=const, parse=parse, many=many
        )

    def _misuse(self, problem: str) -> Misuse:
        """Say what is wrong with the arguments, and where the right ones are."""
        return Misuse(problem, hint=f"{self._command} --help")


def one_of(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    """Return what reads one of a few words after the option `name`."""

    def parse(word: str) -> str:
        if word not in choices:
            raise Misuse(f"{name} is one of {', '.join(choices)}, not {word!r}")
        return word

    return parse


def _begins_rest(word: str) -> bool:
    return word == "--" or not word.startswith("--")


def _dest(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()
