#!/bin/sh
# Says whether sshd has logged a login by certificate; POSIX sh, run as root.
#
#     sh -s -- "$SSH_CONNECTION" ACCOUNT SERIAL < seen.sh
#
# Prints `seen`; `unseen`, where sshd logs logins and has not logged this one; or
# `nowhere`, where no log is to be found. That it logs them is known from the login of
# the very connection that asks. Waits a moment for what is on its way into a log.

LC_ALL=C
export LC_ALL
umask 077

logged() {
    if [ -d /run/systemd/system ]; then
        journalctl -q --no-pager -o cat --since -1h -t sshd -t sshd-session 2>/dev/null
    fi
    for log in /var/log/auth.log /var/log/secure /var/log/messages; do
        [ ! -r "$log" ] || tail -c 4000000 "$log"
    done
}

look() { # look ADDRESS PORT ACCOUNT SERIAL
    logged | awk -v mine="from $1 port $2 " -v account="publickey for $3 from " \
        -v serial="(serial $4) CA " '
        index($0, "Accepted ") && index($0, mine) { logs = 1 }
        index($0, "Accepted ") && index($0, account) && index($0, serial) { seen = 1 }
        END { print seen ? "seen" : logs ? "unseen" : "nowhere" }'
}

main() {
    account=$2 serial=$3
    set -f
    # shellcheck disable=SC2086 # four words
    set -- $1
    for _ in 1 2 3 4 5; do
        said=$(look "${1:--}" "${2:--}" "$account" "$serial")
        [ "$said" = unseen ] || break
        sleep 1
    done
    echo "$said"
}

main "$@" </dev/null
