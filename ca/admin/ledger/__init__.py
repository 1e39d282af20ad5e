"""`ca-admin ledger …`: prove the ledger, copy it, watch it, look into it."""

from collections.abc import Mapping

from ca.admin.command import Action, Options, Output, Parser
from ca.admin.ledger import (
    adopt,
    erase,
    export,
    monitor,
    reconcile,
    recover,
    show,
    verify,
)

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
usage: ca-admin ledger COMMAND [OPTIONS]

  verify [DIR]        check all of the ledger: every entry, record and hash of its tree
                      in the database; or every file of a copy in DIR
  show SERIAL         what is on record of a certificate, and the proof of it
  export DIR          copy the ledger into files that any web server can serve, or add
                      to a copy what is new
  monitor URL DIR     follow a ledger from outside: check that it only grows, copy it
                      into DIR, print each new entry
  reconcile LOGFILE   find logins in sshd's log by certificates that were never issued
  erase-record INDEX  take away the personal part of an entry, for ever
  recover [DIR]       when the ledger is stopped: take lost entries back from a copy in
                      DIR, and let signers go on once nothing known is missing; or, when
                      the roots in place close the ledger, begin the new one they name
  adopt-head          let this signer begin with the ledger as it is: for a new machine,
                      or one that lost its high-water file

  --index             of show: the entry at this index instead of a serial
  --serial            of erase-record: the certificate with this serial instead of an
                      index, also of a ledger that was closed
  --checkpoint FILE   of verify and recover: a checkpoint that somebody has, such as a
                      laptop or a monitor, or another signer's high_water_file, which
                      the ledger must contain; again for more; of adopt-head: one
  --key LINE          of monitor and verify DIR: the ledger's verifier key, which export
                      prints; again for more; URL is then where its checkpoint is
  --pin SHA256:...    of monitor: the root key's fingerprint, for the keys that the CA
                      at URL has, now and later
  --new-log FILE      of recover: when what is missing is lost for good, write the text
                      of roots that close the ledger and name a new one, no more
  --krl FILE          of recover: the newest KRL that was published, with the file
                      current beside it, as any host has both in /etc/ssh/daypass; what
                      it revokes stays revoked
  --no-krl            of recover: nothing was revoked since, so there is none to bring
  --yes               of recover: do not ask whether the blocks are as they should be
  --every SECONDS     of monitor: look again and again, until something is wrong
  --config FILE       the configuration; also $DAYPASS_CONFIG. Nothing of it is needed
                      with --key or --pin, so that others can watch
  --json              results as JSON, one object a line

examples:
  ca-admin ledger verify
  ca-admin ledger show 17 --json
  ca-admin ledger export /srv/www/log
  ca-admin ledger monitor https://ca.example.com /var/lib/ca-monitor --pin SHA256:... \\
      --every 60
  ca-admin ledger verify /var/lib/ca-monitor --key LINE
  journalctl -u ssh -o cat | ca-admin ledger reconcile -
  ca-admin ledger erase-record 16
  ca-admin ledger recover /var/lib/ca-monitor
  ca-admin ledger recover --new-log roots.new
  ca-admin ledger adopt-head --checkpoint /var/lib/ca-monitor/checkpoint

exit codes: 0 done, and all of it holds; 1 failed; 2 misuse; 7 the ledger cannot be
reached; 9 something does not hold, and what is printed says what
"""

_ACTIONS: Mapping[str, Action] = {
    "verify": verify,
    "show": show,
    "export": export,
    "monitor": monitor,
    "reconcile": reconcile,
    "erase-record": erase,
    "recover": recover,
    "adopt-head": adopt,
}


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `ledger`."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, command in _ACTIONS.items():
        action = actions.add_parser(name, allow_abbrev=False)
        action.help_text = HELP
        command.add_arguments(action)


def run(options: Options, output: Output) -> int:
    """Run one of the commands."""
    return _ACTIONS[options.action].run(options, output)
