"""The help of `ca-deploy`, written by hand; the documents quote it exactly."""

from collections.abc import Mapping

MAIN = """\
usage: ca-deploy [COMMAND] [OPTIONS]

Put trust in the CA on hosts over SSH, and prove that it opens what it should. A host
that does not let everybody in as it should takes the change back by itself.

  plan       say what would change, and change nothing (what is done without COMMAND)
  apply      do what the plan says, first on one host of each kind
  verify     prove the logins of every host, and name what is not as it should be
  rollback   bring sshd's configuration back to before the last change
  status     say what hosts trust, and since which change
  authorized-keys
             list every key that opens an account, move away what certificates have
             replaced, bring it back
  render     print the same for other tools: a script, cloud-init, or the CA keys alone

examples:
  ca-deploy plan --limit db
  ca-deploy apply --limit db1.example.com
  ca-deploy apply --plan 3f2a9c0d11e8 --max-fail 2
  ca-deploy verify --json
  ca-deploy authorized-keys report
  ca-deploy render --format cloud-init --group web > user-data
  ca-deploy render https://ca.example.com --pin SHA256:… > trusted_user_ca_keys

All but render read deploy.toml (--file) and the inventory, hosts (--inventory). Both
are described in docs/ca-deploy.md, and ca-deploy COMMAND --help says more of each.

exit codes: 0 done, 1 failed, 2 misuse, 3 no usable certificate, 5 denied by policy,
7 CA unreachable, 9 drift found, 130 interrupted
"""

_COMMON = """\
  --file FILE        what hosts should be (deploy.toml)
  --inventory FILE   which hosts there are (hosts): a list, an ssh_config, or the JSON
                     of ansible-inventory --list
  --limit PATTERN    only hosts or groups of this name; !PATTERN leaves out; repeatable
  --ssh-config FILE  the ssh_config by which hosts are reached (yours)
  --become HOW       root by sudo or doas, where the login is not root's (sudo)
  --parallel N       hosts at a time (10)
  --json             one JSON object a line
"""

_SIGNED = """\
  --key FILE         the key that signs requests to the CA, with its certificate beside
                     it (~/.ssh/daypass/default); it has to be a provisioner's
"""

_CHANGE = """\
  --plan ID          go on without a question, if the plan is still this one
  --max-fail N       stop after a wave in which more than N hosts failed (0)
  --clock SECONDS    after how long a host takes a change back by itself (120)
"""

PLAN = f"""\
usage: ca-deploy [plan] [OPTIONS]

Look at the hosts and print what apply would change: the files as diffs, what sshd
would use before and after, and what to mind. Nothing is changed, here or there.

{_COMMON}  --accept-new       show the keys of hosts that are not known yet, and ask
"""

APPLY = f"""\
usage: ca-deploy apply [OPTIONS]

Do what the plan says, after a question, on one host of each kind first and then on
more and more of them. Each host starts a clock that takes the change back, and only
logins on new connections stop it: with a certificate to each account, and with what you
came in by. Whoever runs it again goes on where it stopped.

{_COMMON}{_CHANGE}{_SIGNED}"""

VERIFY = f"""\
usage: ca-deploy verify [OPTIONS]

Prove each host by the same logins as apply, and change nothing. Exits with 9 when a
host is not as it should be, or a login does not do what it should.

{_COMMON}{_SIGNED}"""

ROLLBACK = f"""\
usage: ca-deploy rollback [OPTIONS]

Bring sshd's configuration, and who may come in, back to before the last change, with
the same clock and the proof that you still come in. What the CA says stays on the
hosts, so whoever was revoked stays so.

{_COMMON}{_CHANGE}"""

STATUS = f"""\
usage: ca-deploy status [OPTIONS]

Say of each host which CA keys it trusts, by which version of the roots, which change
was the last, and who is changing it now. Asks only the hosts.

{_COMMON}"""

AUTHORIZED_KEYS = f"""\
usage: ca-deploy authorized-keys report | retire | restore [OPTIONS]

What to do about the keys that people were given before there were certificates.

  report     list each key that opens an account: its fingerprint, whose it says it
             is, when the host's logs have it last, what is weak about it, and why sshd
             would not take it; changes nothing, and asks only the hosts
  retire     move away the keys of accounts that take certificates, where deploy.toml
             has authorized_keys = "retire"; but for kept_keys. One host of each kind
             first, with the clock and the logins of apply. Nothing is deleted
  restore    bring back what the last retire took away; what was added since stays

{_COMMON}{_CHANGE}{_SIGNED}"""

RENDER = """\
usage: ca-deploy render URL --pin SHA256:…
       ca-deploy render --format sh | cloud-init [OPTIONS]

Print what other tools carry to machines. Nothing is printed unless the root key with
the pinned fingerprint has vouched for what the CA says.

  --format ca-keys      the lines of a TrustedUserCAKeys file, from the CA at URL: what
                        is printed unless another format is named
  --format sh           one script that does on a machine what apply does, with the same
                        clock, but for the logins: sh SCRIPT [FILE-WITH-A-JOIN-TOKEN]
  --format cloud-init   the same as user data, with a join token in it if there is one

  --pin SHA256:…        the fingerprint of the root key, printed by ca-admin init
  --file FILE           what machines should be (deploy.toml)
  --group NAME          a group of deploy.toml that the machine is in; repeatable
  --id ID               its id in the registry of hosts (the machine's own name)
  --name NAME           a name for its host certificate (its own full name); repeatable
  --join-token FILE     for cloud-init: the file holds what ca-admin hosts join-token
                        printed, so what is printed is a secret until it is used
  --json                one JSON object
"""

OF_COMMAND: Mapping[str, str] = {
    "plan": PLAN,
    "apply": APPLY,
    "verify": VERIFY,
    "rollback": ROLLBACK,
    "status": STATUS,
    "authorized-keys": AUTHORIZED_KEYS,
    "render": RENDER,
}
