"""`ca-admin keys …`: which CA keys there are, and new roots that say so."""

from collections.abc import Mapping

from ca.admin.command import Action, Options, Output, Parser
from ca.admin.keys import draft, listing, make, sign

__all__ = ["HELP", "add_arguments", "run"]

HELP = """\
usage: ca-admin keys COMMAND [OPTIONS]

  new PATH            make a key, encrypted, which nothing trusts yet, and PATH.pub
  list                show the keys that the roots name: state, fingerprint, where
  draft-roots         print the text of new roots: the present ones with a higher
                      version, and what is asked for. Nothing is signed or changed
  sign-roots FILE     say what the roots in FILE change, ask, and sign them with the
                      root key; needs neither the CA's database nor its other keys

of new:
  --passphrase-file PATH  holds the passphrase; unless said otherwise the file
                          passphrase beside the key
  --key-type TYPE         ed25519 (unless said otherwise), ecdsa or rsa

of draft-roots, where KEY is a public key file; again for more:
  --host-domains LIST     the hosts that the host CA keys speak for, as
                          *.prod.example,db.example; laptops then ask about none of them
  --user-ca KEY           trust KEY, and let it sign people's certificates
  --host-ca KEY           the same for hosts' certificates
  --online KEY            the same for what says which roots hold now
  --retire KEY            let KEY sign nothing more; what it signed stays good
  --drop KEY              trust KEY no longer
  --revoke-ca KEY         a stolen CA key: trust KEY no longer, and have every host
                          refuse all that it ever signed, for ever

of sign-roots:
  --root-key PATH         the root key, as ca-admin init makes it in root/
  --passphrase-file PATH  its passphrase; unless said otherwise the file passphrase
                          beside the key
  --present FILE          the signed roots that hold now; unless said otherwise what is
                          at --output
  --output PATH           where the signed roots go, which are replaced if they are
                          older; unless said otherwise to roots_file
  --yes                   do not ask

  --config FILE           the configuration that names roots_file; also $DAYPASS_CONFIG.
                          sign-roots needs none with --output, so that another machine
                          can sign
  --json                  the result as JSON

examples:
  ca-admin keys new keys/user_ca2
  ca-admin keys draft-roots --host-domains '*.prod.example' > roots.new
  ca-admin keys draft-roots --revoke-ca keys/user_ca.pub --user-ca keys/user_ca2.pub \\
      > roots.new
  ca-admin keys sign-roots roots.new --root-key /media/usb/root/root
  ca-admin keys sign-roots roots.new --root-key /media/usb/root/root \\
      --present roots --output roots.signed

exit codes: 0 done, 1 failed and nothing changed, 2 misuse
"""

_ACTIONS: Mapping[str, Action] = {
    "new": make,
    "list": listing,
    "draft-roots": draft,
    "sign-roots": sign,
}


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `keys`."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, command in _ACTIONS.items():
        action = actions.add_parser(name, allow_abbrev=False)
        action.help_text = HELP
        command.add_arguments(action)


def run(options: Options, output: Output) -> int:
    """Run one of the commands."""
    return _ACTIONS[options.action].run(options, output)
