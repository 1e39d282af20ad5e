#!/bin/sh
# Prints what a host is, and changes nothing. POSIX sh; root runs it.
#
#     sh -s -- "$SSH_CONNECTION" WORD... < facts.sh
#
# A WORD is the name of an account that certificates are to open, or one of user=NAME,
# group=NAME, uid=NUMBER and gid=NUMBER: what there is under that name or number. Or it
# is keys=all, where leftover.sh stands before this: what there is of authorized keys.
#
# Each record is a line `= NAME WORD...`; the lines of a file or of a program's output
# follow it, each behind `> `. The last record is `= end`: without it something was cut
# off. Everything is in one function so that a script that arrives in part does nothing.

LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
umask 077

has() { command -v "$1" >/dev/null 2>&1; }
record() { printf '= %s\n' "$*"; }
quote() { awk '{ print "> " $0 }'; }

# file PATH: type, mode, owner, group, and a checksum; with `text`, the content too
file() {
    set -- "$1" "${2-}" "$(ls -ldn "$1" 2>/dev/null)"
    [ -n "$3" ] || { record file absent "$1"; return; }
    mode=$(echo "$3" | awk '{ print substr($1, 1, 10), $3, $4 }')
    if [ -f "$1" ]; then
        sum=$(cksum <"$1" | awk '{ print $1 "-" $2 }')
        record file "$mode" "$sum" "$1"
        # Nobody writes a configuration of a mebibyte; somebody may link to a disk.
        if [ "$2" = text ] && [ "${sum#*-}" -lt 1048576 ]; then quote <"$1"; fi
    else
        record file "$mode" - "$1"
    fi
}

status_of() { sed -n "s/^$2:[[:space:]]*\\([0-9]*\\).*/\\1/p" "/proc/$1/status" 2>/dev/null; }
parent_of() {
    if [ -r "/proc/$1/status" ]; then status_of "$1" PPid
    else ps -o ppid= -p "$1" 2>/dev/null | tr -d ' '; fi
}
title_of() {
    if [ -r "/proc/$1/cmdline" ]; then tr '\000' ' ' <"/proc/$1/cmdline"
    else ps -o args= -p "$1" 2>/dev/null; fi
}

# The sshd that listens is the uppermost of those above this very process.
find_listener() {
    listener=
    above=$$
    while above=$(parent_of "$above") && [ "${above:-0}" -gt 0 ]; do
        title=$(title_of "$above")
        program=${title%% *}
        case ${program##*/} in
        sshd* | in.sshd*) listener=$above ;;
        *) [ -z "$listener" ] || break ;;
        esac
    done
}

read_listener() {
    sshd='' line='' config=/etc/ssh/sshd_config unit=''
    if [ -n "$listener" ]; then
        title=$(title_of "$listener")
        # Since 8.2 the title is "sshd: COMMAND LINE [listener] ..."; before, it is the
        # command line itself. A title "sshd: ada [priv]" is a connection: no listener.
        case $title in
        *\[listener\]*) line=${title#sshd: } line=${line%% \[listener\]*} ;;
        sshd:*) line= ;;
        *) line=$title ;;
        esac
        set -f
        # shellcheck disable=SC2086 # words are what we want
        set -- $line
        set +f
        [ $# -gt 0 ] || listener=
        sshd=${1-}
        while [ $# -gt 1 ]; do
            shift
            case $1 in
            -f) config=${2-} ;;
            -f?*) config=${1#-f} ;;
            -o | -o?* | -h | -h?* | -p | -p?*) record option "$1" "${2-}" ;;
            esac
        done
        [ -z "$listener" ] || unit=$(sed -n 's,.*/\([^/]*\.service\)$,\1,p' \
            "/proc/$listener/cgroup" 2>/dev/null | head -n 1)
    fi
    case $sshd in
    /*) ;;
    *) record relative "${sshd:--}"; sshd=$(command -v sshd || echo /usr/sbin/sshd) ;;
    esac
    record listener "${listener:--}" "${unit:--}"
    record command "$line"
    record sshd "$sshd"
    record config "$config"
    record version "$("$sshd" -V 2>&1 </dev/null | sed -n 's/.*\(OpenSSH_[^ ,]*\).*/\1/p' |
        head -n 1)"
}

read_account() {
    line=$(getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd)
    [ -n "$line" ] || { record account "$1" missing; return; }
    state=$(awk -F: -v name="$1" '$1 == name {
        if ($2 ~ /^!/ || $2 ~ /^\*LK\*/) print "locked"
        else if ($2 == "") print "empty"; else print "open" }' /etc/shadow 2>/dev/null)
    record account "$1" "${state:-open}" "$(echo "$line" | cut -d: -f3,6,7)"
}

entry() { awk -F: -v name="$1" '$1 == name { print; exit }' "$2"; }

# A user as the host's own programs could change it. Never a password: its kind alone.
read_user() {
    line=$(entry "$1" /etc/passwd)
    if [ -z "$line" ]; then
        if getent passwd "$1" >/dev/null 2>&1; then record user "$1" foreign
        else record user "$1" missing; fi
        return
    fi
    kind=$(awk -F: -v name="$1" '$1 == name {
            if ($2 ~ /^!/ || $2 ~ /^\*LK\*/) kind = "locked"
            else if ($2 == "") kind = "empty"
            else if ($2 ~ /^[*x]/) kind = "none"
            else kind = "set"
            print kind, ($8 == "" ? "-" : $8); exit }' /etc/shadow 2>/dev/null)
    record user "$1" "$(echo "$line" | cut -d: -f3,4 | tr : ' ')" "${kind:-locked -}"
    { echo "$line" | cut -d: -f6; echo "$line" | cut -d: -f7; id -Gn "$1"; } | quote
}

read_group() {
    line=$(entry "$1" /etc/group)
    if [ -n "$line" ]; then record group "$1" "$(echo "$line" | cut -d: -f3)"
    elif getent group "$1" >/dev/null 2>&1; then record group "$1" foreign
    else record group "$1" missing; fi
}

read_number() { # read_number uid|gid NUMBER FILE: whose it is
    name=$(awk -F: -v id="$2" '$3 == id { print $1; exit }' "$3")
    [ -z "$name" ] || record "$1" "$2" "$name"
}

effective() {
    said=$("$sshd" -T -f "$config" "$@" 2>&1 </dev/null) || return
    asked="$asked
$said"
    echo "$said" | awk 'tolower($1) ~ /^(trustedusercakeys|authorizedprincipals(file|command)|revokedkeys|hostcertificate|hostkey|casignaturealgorithms|pubkeyauthentication|pubkeyaccepted(algorithms|keytypes)|authenticationmethods|(allow|deny)(users|groups)|usepam|permitrootlogin|authorizedkeys(file|command)|forcecommand|strictmodes|port)$/ { print "> " $0 }'
}

read_sshd() {
    asked=
    if said=$("$sshd" -t -f "$config" 2>&1 </dev/null); then record test ok
    else record test failed; echo "$said" | quote; return; fi
    record effective
    effective
    where="host=$1,addr=$1,laddr=$3,lport=$4"
    for account in $accounts; do
        record effective "$account"
        effective -C "user=$account,$where"
    done
}

# Every file that the configuration is made of, in no order that means anything.
read_config() {
    file "$config" text
    sed -n 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=]*//p' "$config" \
        2>/dev/null | tr -d '"' | tr -s ' \t' '\n' | while read -r pattern; do
        case $pattern in '') continue ;; /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
        for found in $pattern; do
            [ ! -f "$found" ] || file "$found" text
        done
    done
    for folder in "$config.d" /etc/ssh/sshd_config.d; do
        [ ! -d "$folder" ] || { file "$folder"; break; }
    done
}

# The files that sshd asks today, whoever wrote them: one that is missing or a pipe
# decides what a login gets.
read_named() {
    echo "$asked" | awk '/^(trustedusercakeys|revokedkeys) \// {
            for (i = 2; i <= NF; i++) if (!seen[$i]++) print $i }' |
        while read -r path; do
            case $path in /etc/ssh/daypass/*) continue ;; esac
            record named "$path"
            file "$path"
            [ ! -f "$path" ] || ssh-keygen -l -f "$path" 2>&1 | head -n 20 | quote
        done
}

# The host's own keys, from the files beside those that sshd names.
read_host_keys() {
    echo "$asked" | awk '/^hostkey \// { if (!seen[$2]++) print $2 }' |
        while read -r path; do
            record hostkey "$path"
            [ ! -r "$path.pub" ] || head -n 1 "$path.pub" | quote
            [ ! -f "$path-cert.pub" ] || file "$path-cert.pub" text
        done
}

read_ours() {
    file /etc/ssh/daypass
    file /etc/ssh/daypass/principals
    for found in /etc/ssh/daypass/* /etc/ssh/daypass/principals/*; do
        case $found in
        */revoked.krl) file "$found" ;;
        *) [ ! -f "$found" ] || file "$found" text ;;
        esac
    done
    for found in /usr/local/sbin/daypass-* /etc/cron.d/daypass* \
        /etc/sudoers.d/daypass /etc/systemd/system/daypass-*; do
        [ ! -f "$found" ] || file "$found" text
    done
    state=/var/lib/daypass/deploy
    for lock in "$state"/locks/*; do
        [ -f "$lock" ] || continue
        read -r until whose <"$lock" || continue
        [ "$until" -le "$(date +%s)" ] || record lock "$whose"
    done
    [ "$keys" = no ] || read_retired
    [ -f "$state/last" ] || return 0
    last=$(cat "$state/last")
    record last "$last"
    while read -r kind mode number before path <&3; do
        [ "$kind" = config ] || continue
        record undo "$before" "$path"
        [ ! -f "$state/$last/old/$number" ] || quote <"$state/$last/old/$number"
    done 3<"$state/$last/manifest"
    [ ! -f "$state/$last/accounts.undo" ] || while read -r step; do
        record unaccount "$step"
    done <"$state/$last/accounts.undo"
}

main() {
    connection=$1 accounts='' keys=no
    shift
    record daypass-facts-v1
    record root "$(id -u)"
    record connection "$connection"
    record clock "$(date -u +%s)"
    # shellcheck source=/dev/null
    record os "$(uname -s)" "$(. /etc/os-release 2>/dev/null; echo "${ID:--}" "${VERSION_ID:--}")"
    if [ -d /run/systemd/system ]; then record manager systemd
    elif [ -d /run/openrc ]; then record manager openrc
    else record manager none; fi
    record selinux "$(getenforce 2>/dev/null || echo none)"
    record space "$(df -Pk /etc 2>/dev/null | awk 'NR == 2 { print $4 }')"
    [ ! -d /etc/cron.d ] || record tool cron.d
    for tool in ssh-keygen curl wget systemd-run crontab setsid visudo useradd; do
        ! has "$tool" || record tool "$tool"
    done
    grep -Eqs '^[@#]includedir[[:space:]]+/etc/sudoers\.d/?[[:space:]]*$' /etc/sudoers &&
        record tool sudoers.d
    record login "${SUDO_USER:-${DOAS_USER:-$(id -un)}}"
    find_listener
    if [ -n "$listener" ]; then record served yes; else record served no; fi
    read_listener
    for word in "$@"; do
        case $word in
        user=*) read_user "${word#*=}" ;;
        group=*) read_group "${word#*=}" ;;
        uid=*) read_number uid "${word#*=}" /etc/passwd ;;
        gid=*) read_number gid "${word#*=}" /etc/group ;;
        keys=*) keys=yes ;;
        *) accounts="$accounts $word"; read_account "$word" ;;
        esac
    done
    set -f
    # shellcheck disable=SC2086 # four words
    set -- $connection
    set +f
    [ $# = 4 ] || set -- 127.0.0.1 0 127.0.0.1 22
    read_sshd "$@"
    read_config
    read_named
    read_host_keys
    [ "$keys" = no ] || read_keys
    read_ours
    record end
}

main "$@" </dev/null
