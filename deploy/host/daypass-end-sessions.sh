#!/bin/sh
# Ends the sessions that were opened with a certificate which is revoked by now.
#
#     daypass-end-sessions [--dry-run] [--log FILE]...
#
# sshd looks at a certificate when somebody logs in, and never again: what is open stays
# open, and a multiplexed connection opens more. But it logs which process of its own
# serves whom:
#
#     sshd[512]: Accepted publickey for ada from 192.0.2.7 port 55192 ssh2: ED25519-CERT
#     SHA256:... ID corp:ada@example.com (serial 17) CA ED25519 SHA256:...
#
# Serial and CA are looked up in `revoked.krl`. The process is ended only if it is an
# sshd that serves a session, and began before the line was written: otherwise the
# number was given to another meanwhile. With the journal, only lines of root's sshd
# count; in a log file, whoever may write to syslog can forge one.
#
# Exit: 0 done (also: nobody to end), 1 failed, 2 misuse.

set -uf
umask 077
[ -n "${DAYPASS_ROOT-}" ] ||
    PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export PATH

readonly SLACK_SECONDS=2        # clocks of kernel and log differ by so much
readonly GRACE_SECONDS=2        # between asking a session to end, and ending it

has() { command -v "$1" >/dev/null 2>&1; }
say() {
    printf 'daypass-end-sessions: %s\n' "$*" >&2
    [ -n "${JOURNAL_STREAM-}" ] || ! has logger ||
        logger -t daypass-end-sessions -p auth.notice "$*" 2>/dev/null || :
}

# What the KRL lists, a line each: `serial CA-FINGERPRINT LOW HIGH`, padded to compare
# as text (a serial has up to 20 digits, and awk counts to 16), or `key FINGERPRINT`.
revoked() {
    ssh-keygen -Q -l -f "$krl" >"$work/listed" 2>/dev/null || return 1
    awk 'function pad(n) { return substr("00000000000000000000" n, length(n) + 1) }
        /^# CA key /  { ca = $NF }
        /^# Wildcard/ { ca = "*" }
        /^serial: /   { split($2, run, "-")
                        print "serial", ca, pad(run[1]), pad(run[2] ? run[2] : run[1]) }
        /^hash: /     { print "key", $2 }' "$work/listed"
}

# Lines of sshd's, as `SECONDS PID MESSAGE`. The newest rotated file is read, too.
accepted() {
    if [ -n "$logs" ]; then
        # shellcheck disable=SC2086  # no log has a space in its name
        from_files $logs
    elif has journalctl && journalctl -q -n 1 >/dev/null 2>&1; then
        journalctl -q --no-pager -o short-unix --since='8 days ago' \
            _UID=0 _COMM=sshd + _UID=0 _COMM=sshd-session |
            sed -n 's/^\([0-9]*\)[.0-9]* [^ ]* sshd[a-z-]*\[\([0-9]*\)\]: \(Accepted publickey for .*\)/\1 \2 \3/p'
    else
        for log in /var/log/auth.log /var/log/secure /var/log/messages; do
            [ ! -f "${DAYPASS_ROOT-}$log" ] ||
                from_files "${DAYPASS_ROOT-}$log.1" "${DAYPASS_ROOT-}$log"
        done
    fi
}

# A time is `2026-01-31T12:00:00.5+01:00`, or `Jan 31 12:00:00`, local and of the last
# twelve months. Days are counted as in calendars that begin in March.
from_files() {
    cat "$@" 2>/dev/null | awk -v now="$(date +'%Y %m %d %H %M %S')" -v zone="$(date +%z)" '
        function days(y, m, d) {
            y += 0; m += 0  # numbers, not text: "11" < "3"
            if (m < 3) { y--; m += 12 }
            return 365 * y + int(y / 4) - int(y / 100) + int(y / 400) \
                + int((153 * (m - 3) + 2) / 5) + d - 719469
        }
        function offset(z) {
            if (z !~ /^[+-]/) return 0
            gsub(":", "", z)
            return (substr(z, 1, 1) "1") * (substr(z, 2, 2) * 3600 + substr(z, 4, 2) * 60)
        }
        function at(y, m, d, clock, z,    part) {
            split(clock, part, ":")
            return days(y, m, d) * 86400 + part[1] * 3600 + part[2] * 60 \
                + int(part[3]) - offset(z)
        }
        BEGIN {
            split(now, today, " ")
            present = at(today[1], today[2], today[3], \
                today[4] ":" today[5] ":" today[6], zone)
        }
        {
            if (match($0, /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[^ ]* /)) {
                stamp = substr($0, 1, RLENGTH - 1)
                rest = substr($0, RLENGTH + 1)
                z = substr(stamp, 20)
                sub(/^[.,][0-9]*/, "", z)
                seconds = at(substr(stamp, 1, 4), substr(stamp, 6, 2), \
                    substr(stamp, 9, 2), substr(stamp, 12, 8), z)
            } else if (match($0, /^[A-Z][a-z][a-z] [ 0-9][0-9] [0-9:]* /)) {
                rest = substr($0, RLENGTH + 1)
                month = index("JanFebMarAprMayJunJulAugSepOctNovDec", $1)
                month = (month + 2) / 3
                seconds = at(today[1], month, $2, $3, zone)
                if (seconds > present + 86400)
                    seconds = at(today[1] - 1, month, $2, $3, zone)
            } else next
            sub(/^[^ ]* /, "", rest)
            if (!match(rest, /^sshd(-session)?\[[0-9]+\]: /)) next
            pid = substr(rest, 1, RLENGTH - 3)
            sub(/^.*\[/, "", pid)
            rest = substr(rest, RLENGTH + 1)
            if (rest ~ /^Accepted publickey for /) print seconds, pid, rest
        }'
}

# `PID SECONDS SERIAL ACCOUNT` of those whose certificate is revoked. What counts is the
# end of a line: all before it may hold what somebody else chose.
found() {
    awk 'function pad(n) { return substr("00000000000000000000" n, length(n) + 1) "" }
        NR == FNR && $1 == "key" { key[$2] = 1; next }
        NR == FNR { ca[++n] = $2; low[n] = $3 ""; high[n] = $4 ""; next }
        {
            if (!match($0, / \(serial [0-9]+\) CA [A-Za-z0-9-]+ SHA256:[A-Za-z0-9+\/]+$/)) {
                if (($NF in key) && $(NF - 2) == "ssh2:") print $2, $1, "-", $6
                next
            }
            split(substr($0, RSTART), word, " ")
            serial = word[2]
            sub(/\)/, "", serial)
            padded = pad(serial)
            bad = (word[5] in key)
            for (i = 1; i <= n && !bad; i++)
                bad = (ca[i] == word[5] || ca[i] == "*") && low[i] <= padded && padded <= high[i]
            if (bad) print $2, $1, serial, $6
        }' "$work/revoked" "$work/accepted"
}

# stat_of PID N: word N of /proc/PID/stat, counted from the state, which is the first
stat_of() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    nth=$2
    # shellcheck disable=SC2086
    set -- ${stat##*)}
    shift $((nth - 1))
    echo "$1"
}

# is_session PID SECONDS: an sshd that serves somebody since before then
is_session() {
    case $(readlink "/proc/$1/exe" 2>/dev/null) in
    */sshd | */sshd-session | */sshd' (deleted)' | */sshd-session' (deleted)') ;;
    *) return 1 ;;
    esac
    case $(tr '\000' ' ' <"/proc/$1/cmdline" 2>/dev/null) in
    *'[listener]'*) return 1 ;;
    'sshd: '*' [priv]'* | 'sshd-session: '*' [priv]'*) ;;
    'sshd: '*@* | 'sshd-session: '*@*) ;;
    *) return 1 ;;
    esac
    ticks=$(stat_of "$1" 20) || return 1
    read -r uptime _ </proc/uptime
    # By the clock of now: the kernel's own notion of when it booted may be another.
    began=$(($(date +%s) - ${uptime%.*} + ticks / ticks_a_second))
    [ "$began" -le $(($2 + SLACK_SECONDS)) ]
}

# tree PID: it, and all that it began, and theirs, as `PID:START`
tree() {
    set +f
    cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '
        { pid = $1; sub(/^.*\)/, ""); parent[pid] = $2; start[pid] = $20 }
        END {
            ours[root] = 1
            do {
                more = 0
                for (pid in parent)
                    if (!(pid in ours) && (parent[pid] in ours)) ours[pid] = more = 1
            } while (more)
            for (pid in ours) print pid ":" start[pid]
        }'
    set -f
}

# Its shell and what that began are asked to end, too; then whoever has not.
end() {
    doomed=$(tree "$1")
    for birth in $doomed; do kill -TERM "${birth%:*}" 2>/dev/null; done
    sleep "$GRACE_SECONDS"
    for birth in $doomed; do
        [ "$(stat_of "${birth%:*}" 20)" != "${birth#*:}" ] ||
            kill -KILL "${birth%:*}" 2>/dev/null
    done
}

main() {
    dry_run=no logs=
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry_run=yes ;;
        --log) logs="$logs ${2?--log takes a file}"; shift ;;
        *) echo "daypass-end-sessions: not an option: $1" >&2; exit 2 ;;
        esac
        shift
    done
    [ -r /proc/self/stat ] || { say "needs /proc"; exit 1; }
    krl=${DAYPASS_ROOT-}/etc/ssh/daypass/revoked.krl
    ticks_a_second=$(getconf CLK_TCK 2>/dev/null) || ticks_a_second=100
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
    trap 'exit 143' HUP INT TERM

    revoked >"$work/revoked" || { say "cannot read $krl"; exit 1; }
    [ -s "$work/revoked" ] || exit 0
    accepted >"$work/accepted"
    found >"$work/found"
    while read -r pid seconds serial account; do
        is_session "$pid" "$seconds" || continue
        say "ending session $pid of $account, serial $serial: its certificate is revoked"
        [ "$dry_run" = yes ] || end "$pid" &
    done <"$work/found"
    wait
}

main "$@"
