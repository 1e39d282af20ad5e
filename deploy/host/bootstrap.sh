#!/bin/sh
# Brings a machine that SSH cannot reach yet to what deploy.toml says, by the steps that
# ca-deploy takes over SSH: `change.sh`, with its clock. `ca-deploy render` wrote it.
#
#     bootstrap.sh [TOKEN-FILE]     the file holds a join token; it is removed
#
# Beside it: `wanted` with settings, `lines` for sshd_config, `expect` with what sshd shall
# use, `people` with users and groups, and `seed` with KIND MODE WHEN NUMBER PATH of the
# files in `files`. WHEN is always; new, where no bundle is there yet; or pull, systemd and
# cron, where the machine can pull, and by which of the two.
#
# No login proves it, for there is nobody to log in: `ca-deploy verify` does once there is.

LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
umask 022

work=$(cd "$(dirname "$0")" && pwd)
state=${work%/*}
pull=/usr/local/sbin/daypass-pull
host='' names='' url='' pin='' taken='' drop_in='' key='' renews='' pulls='' powerful=''
end_sessions=''
key=/etc/ssh/ssh_host_ed25519_key

say() { echo "daypass: $*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
fact() { sed -n "s/^= $1 //p" "$work/facts" | head -n 1; }
sum() { if [ -f "$1" ]; then cksum <"$1" | awk '{ print $1 "-" $2 }'; else echo absent; fi; }
quoted() { printf "%s='%s'\n" "$1" "$(echo "$2" | sed "s/'/'\\\\''/g")"; }

# --- What this machine is ----------------------------------------------------------

look() {
    sh "$work/facts.sh" '' >"$work/facts" || fail "cannot look at this machine"
    sshd=$(fact sshd) config=$(fact config) command=$(fact command)
    [ -x "$sshd" ] || fail "there is no sshd"
    [ "$(fact test)" = ok ] || fail "sshd -t fails before any change"
    # shellcheck disable=SC2046 # a process id and a unit
    set -- $(fact listener)
    listener=${1#-} unit=${2#-}
    [ -n "$listener" ] || find_listener
    if [ -d /run/systemd/system ]; then manager=systemd; else manager=cron; fi
    if ! has curl && ! has wget; then cannot="it has neither curl nor wget"
    elif [ "$manager" = cron ] && [ ! -d /etc/cron.d ]; then
        cannot="it has neither systemd nor /etc/cron.d"
    else cannot=; fi
    [ -z "$cannot" ] || [ "$pulls" = no ] || say "no pull: $cannot"
    [ -z "$cannot" ] || pulls=no
    [ -n "$host" ] || host=$(uname -n | tr '[:upper:]' '[:lower:]')
    [ -n "$names" ] || names=$(hostname -f 2>/dev/null || uname -n)
    [ "$renews" = yes ] || names=
    [ "$renews$pulls" = nono ] || [ -f "$key.pub" ] || fail "there is no $key.pub"
}

# As facts.sh does, for one that did not let us in; before 8.2 it had no title of its own,
# and is a child of nobody. In an image that is being made there is none.
find_listener() {
    for found in /proc/[0-9]*; do
        is_sshd "$found" || continue
        title=$(tr '\000' ' ' <"$found/cmdline" 2>/dev/null)
        case $title in
        sshd:*'[listener]'*) ;;
        /*/sshd' '*) grep -qs '^PPid:[[:space:]]*[01]$' "$found/status" || continue ;;
        *) continue ;;
        esac
        listener=${found#/proc/}
        command=${title#sshd: } command=${command%% \[listener\]*}
        unit=$(sed -n 's,.*/\([^/]*\.service\)$,\1,p' "$found/cgroup" | head -n 1)
        return
    done
    say "no sshd is running; it will read this when it starts"
}

# Everybody names their own processes as they like, and root would start `command` anew
# where the listener is gone. So: the program, wholly root's, and no container's.
is_sshd() {
    case $(readlink "$1/exe") in */sshd | */'sshd (deleted)') ;; *) return 1 ;; esac
    grep -Eqs '^Uid:([[:space:]]+0){4}$' "$1/status" &&
        [ "$(readlink "$1/ns/pid")" = "$(readlink /proc/self/ns/pid)" ]
}

# --- The change, as change.sh reads it -----------------------------------------------

is_for() {
    case $1 in
    always) true ;;
    new) [ ! -s /etc/ssh/daypass/roots ] ;;
    pull) [ "$pulls" = yes ] ;;
    *) [ "$pulls.$manager" = "yes.$1" ] ;;
    esac
}

# An account that deploy.toml does not name any more takes no certificate.
take_away() {
    for found in /etc/ssh/daypass/principals/* /etc/sudoers.d/daypass; do
        [ -f "$found" ] && ! cut -d ' ' -f 5- "$work/seed" | grep -Fqx -e "$found" ||
            continue
        count=$((count + 1))
        echo "config - $count $(sum "$found") $found" >>"$dir/manifest"
    done
}

# What is right and may be changed by others is not right for long.
is_only_roots() {
    # shellcheck disable=SC2046,SC2012 # mode, links, owner: they hold nothing odd
    set -- $(ls -ldn "$1")
    case $1 in l* | ?????w* | ????????w*) return 1 ;; esac
    [ "$3" = 0 ]
}

put() { # put KIND MODE FILE PATH
    if cmp -s "$3" "$4"; then [ "$2" != - ] && ! is_only_roots "$4" || return 0; fi
    count=$((count + 1))
    cp "$3" "$dir/new/$count" || fail "cannot write to $dir"
    echo "$1 $2 $count $(sum "$4") $4" >>"$dir/manifest"
}

prepare() { # prepare drop-in|block
    # Process ids come again: those of an image that starts do almost surely.
    dir=$state/rendered-$(date +%s)-$$-$1 count=0
    mkdir -p "$dir/new" || fail "cannot write to $dir"
    cp "$work/change.sh" "$work/accounts.sh" "$dir" || fail "cannot write to $dir"
    : >"$dir/manifest"
    while read -r kind mode when number path <&3; do
        ! is_for "$when" || put "$kind" "$mode" "$work/files/$number" "$path"
    done 3<"$work/seed"
    take_away
    if is_for pull; then
        configure_pull >"$work/pull.conf"
        put trust 644 "$work/pull.conf" /etc/ssh/daypass/pull.conf
    fi
    folder=$(folder_of)
    "$1" || return 1
    steps >"$dir/accounts"
    cp "$work/expect" "$dir/expect"
    for name in sshd config folder listener unit command; do
        eval "quoted $name \"\$$name\""
    done >"$dir/settings"
    printf '%s\n' "where='host=127.0.0.1,addr=127.0.0.1,laddr=127.0.0.1,lport=22'" \
        owner=render slot=last undoes=no lock_seconds=180 >>"$dir/settings"
}

configure_pull() {
    reload=
    # shellcheck disable=SC2016 # for the shell of the pull
    [ "$renews" = no ] || reload='kill -HUP $(cat /run/sshd.pid)'
    [ "$renews" = no ] || [ -z "$unit" ] || reload="systemctl reload $unit"
    printf '%s\n' "url=$url" "pin=$pin" "host=$host" report=yes "host_key=$key" \
        "names=$names" "reload=$reload" "end_sessions=$end_sessions" tls_ca_file=
}

# The folder that the main file includes before any Match.
folder_of() {
    pattern=$(awk 'tolower($1) == "match" { exit }
        tolower($1) == "include" { for (i = 2; i <= NF; i++) {
            gsub(/"/, "", $i); if ($i ~ /\/\*(\.conf)?$/) { print $i; exit } } }' "$config")
    case $pattern in '' | /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
    [ -z "$pattern" ] || [ ! -d "${pattern%/*}" ] || echo "${pattern%/*}"
}

drop_in() {
    [ -n "$folder" ] || return 1
    put config 644 "$work/drop-in" "$folder/$drop_in"
}

block() {
    { cat "$work/block"; sed '/^# daypass: begin/,/^# daypass: end/d' "$config"; } \
        >"$work/main"
    put config - "$work/main" "$config"
}

# Users and groups, as deploy/account_steps.py has them.
steps() {
    while read -r what name one two three four groups <&3; do
        case $what in
        group) is_group "$name" || echo "group-add $name $one" ;;
        gone) gone_steps ;;
        user) user_steps ;;
        esac
    done 3<"$work/people"
}

# `!` alone closes nothing: with UsePAM, sshd takes keys for an account that has it.
gone_steps() {
    is_user "$name" || return 0
    [ "$(entry "$name" 3 /etc/passwd)" != 0 ] ||
        fail "$name is root by another name, and is not locked by us"
    [ "$name" != "${SUDO_USER:-${DOAS_USER:-}}" ] ||
        fail "you came in as $name: who locks it would lock you out"
    case $(entry "$name" 2 /etc/shadow) in '!'*) ! has_ended "$name" || return 0 ;; esac
    echo "user-lock $name"
}

has_ended() {
    ends=$(entry "$1" 8 /etc/shadow)
    [ -n "$ends" ] && [ "$ends" -le $(($(date +%s) / 86400)) ]
}

user_steps() {
    if ! is_user "$name"; then echo "user-add $name $one $two $three"
    elif [ "$three" != - ] && [ "$(entry "$name" 7 /etc/passwd)" != "$three" ]; then
        echo "user-shell $name $three"
    fi
    for group in $(echo "${groups#-}" | tr , ' '); do
        is_in "$name" "$group" || echo "user-join $name $group"
    done
    for group in $powerful; do
        case ",$groups," in *",$group,"*) continue ;; esac
        ! is_in "$name" "$group" || [ "$(id -gn "$name")" = "$group" ] ||
            echo "user-leave $name $group"
    done
    is_user "$name" || return 0
    case $four.$(entry "$name" 2 /etc/shadow) in
    keep.* | none.[*x]*) ;;
    *) echo "user-password $name" ;;
    esac
    ! has_ended "$name" || echo "user-renew $name"
}

# --- Doing it ------------------------------------------------------------------------

refuse_what_is_taken() {
    [ "$taken" = refuse ] || return 0
    while read -r keyword ours <&3; do
        before=$("$sshd" -T -f "$config" 2>/dev/null |
            awk -v k="$keyword" 'tolower($1) == tolower(k) { print $2; exit }')
        case $keyword/${before:-none} in
        HostCertificate/* | */none | "$keyword/$ours") ;;
        *) fail "$keyword is $before, and sshd takes one value;" \
            'taken = "replace" in deploy.toml puts ours before it' ;;
        esac
    done 3<"$work/lines"
}

attempt() { # attempt drop_in|block: 0 done, 1 try the other, else it ends
    prepare "$1" || return 1
    if [ ! -s "$dir/manifest" ] && [ ! -s "$dir/accounts" ]; then
        rm -rf "$dir"
        say "nothing to change"
        return 0
    fi
    for step in stage check 'arm 120' swap reload prove; do
        # shellcheck disable=SC2086 # a step and its seconds
        said=$(/bin/sh "$dir/change.sh" $step 2>&1) && continue
        /bin/sh "$dir/change.sh" rollback
        case $1.$step in drop_in.check) return 1 ;; esac
        fail "$step: $said; the machine is as it was"
    done
    say "done, as $dir"
}

again() { # again COMMAND...: until the CA is reached, for some two minutes
    for pause in 2 4 8 16 32 64 ''; do
        "$@" && return 0
        [ $? = 7 ] && [ -n "$pause" ] || return 1
        sleep "$pause"
    done
}

join() { # join TOKEN-FILE
    [ "$pulls" = yes ] || { [ -z "$1" ] || rm -f "$1"; return; }
    if [ -n "$1" ]; then
        again "$pull" --join "$1" || failed="the CA did not let it join"
        rm -f "$1"
    fi
    again "$pull" || failed="${failed:-it could not pull}"
    [ "$renews.$1" = "no.$1" ] || [ -z "$1" ] || [ -n "$failed" ] ||
        again "$pull" --renew || failed="it has no host certificate"
    [ -z "$failed" ] || fail "$failed; what it trusts is in place"
}

main() {
    [ "$(id -u)" = 0 ] || fail "it takes root"
    # shellcheck source=/dev/null
    . "$work/wanted" || fail "it is not whole"
    # shellcheck source=/dev/null
    . "$work/accounts.sh" || fail "it is not whole"
    failed=
    look
    refuse_what_is_taken
    attempt drop_in || attempt block || exit 1
    rm -rf "$work"
    join "${1-}"
}

main "$@" </dev/null
