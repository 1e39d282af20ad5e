#!/bin/sh
# One change of a host, in steps; each is one run of this script, as root, beside what
# `deploy.apply` put into the folder of the change:
#
#     change.sh STEP [SECONDS]
#
#     stage    copy what is there, put what is new beside it, look at it
#     check    would sshd take it, and what would then hold for each account?
#     arm      start the clock that takes everything back in SECONDS
#     swap     rename the new files into their places
#     reload   have sshd read its configuration again
#     prove    stop the clock: the change stays
#     rollback take it back now; the clock does the same when it runs out, and the next
#              start of the machine, if it went down meanwhile
#     undo     take back a change that was proved: for a console, when nothing else is left
#
# Whoever renames the file `armed` decides: to `proved` or to `rolling`, never both. The
# files: `manifest` has `KIND MODE NUMBER CHECKSUM PATH` lines; new/NUMBER is the content,
# or is not there when the file is to go; CHECKSUM is that of the file when the plan was
# made. KIND is `trust` or `config`: what the CA says is never taken back; or `keys:OWNER`
# for authorized keys, which `keys.sh` changes by OWNER's rights. MODE is `-` for that of
# the file that is there. `accounts` has steps on users and groups for `accounts.sh`.
# `expect` has `ACCOUNT KEYWORD VALUE` lines, `settings` some variables.

LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
umask 022

dir=$(cd "$(dirname "$0")" && pwd)
id=${dir##*/}
state=${dir%/*}
pull=/usr/local/sbin/daypass-pull

fail() {
    echo "$*" >&2
    exit 1
}
sum() { if [ -f "$1" ]; then cksum <"$1" | awk '{ print $1 "-" $2 }'; else echo absent; fi; }
# Where the new stands beside the old: by the name of the change, since somebody who is
# refused the lock cleans up after themselves, and after nobody else.
beside() { echo "$(dirname "$1")/.$(basename "$1").$id.daypass"; }
# Down to the disk, with the name of the file; a `sync` that takes no files syncs all.
flush() { sync "$1" "$(dirname "$1")" 2>/dev/null || sync; }
# Many at once are one turn of the disk: `later` notes what `flush_noted` takes there.
noted=
later() {
    noted="$noted
$(dirname "$1")"
    [ ! -f "$1" ] || noted="$noted
$1"
}
flush_noted() {
    old=$IFS
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # a line each
    sync $noted 2>/dev/null || sync
    set +f
    IFS=$old noted=
}
wait_for() { # wait_for SECONDS COMMAND...: until it succeeds, or for so long
    left=$(($1 * 20))
    shift
    until "$@"; do
        [ "$left" -gt 0 ] || return 1
        # POSIX knows whole seconds only.
        if sleep 0.05 2>/dev/null; then left=$((left - 1))
        else sleep 1; left=$((left - 20)); fi
    done
}
label() { ! command -v restorecon >/dev/null 2>&1 || restorecon -F "$1" 2>/dev/null || :; }
each() { # each FUNCTION: with kind, number, checksum, path and mode of every file
    while read -r kind mode number before path <&3; do
        "$1" "$kind" "$number" "$before" "$path" "$mode" || exit 1
    done 3<"$dir/manifest"
}

# What accounts.sh does, where it is there.
accounts_check() { :; }
accounts_do() { :; }
accounts_undo() { :; }

# --- The lock of the host: one change at a time ---------------------------------
#
# A lock is a file of each change that has begun: until when, and whose it is. Whoever
# comes puts down their own first and looks at the others then, so of two that come at
# once at least one sees the other; both going away is all that can go wrong.

take_lock() {
    now=$(date +%s)
    mkdir -p "$state/locks" || fail "cannot lock this host"
    # Whole at once; and it ends by itself, or a dead change would lock for ever.
    echo "$((now + lock_seconds)) $owner" >"$dir/lock" || fail "cannot lock this host"
    mv "$dir/lock" "$state/locks/$id" || fail "cannot lock this host"
    for other in "$state"/locks/*; do
        [ "$other" != "$state/locks/$id" ] || continue
        read -r until whose <"$other" || continue
        if [ "$now" -lt "$until" ]; then
            drop_lock
            fail "locked: $whose is changing this host"
        fi
        clean_after "${other##*/}"
        rm -f "$other"
    done
}
clean_after() { # clean_after ID: what a change that died left beside the files
    [ -f "$state/$1/manifest" ] || return 0
    while read -r kind mode number before path <&3; do
        rm -f "$(dirname "$path")/.$(basename "$path").$1.daypass"
    done 3<"$state/$1/manifest"
}
drop_lock() { rm -f "$state/locks/$id"; }

# --- stage -------------------------------------------------------------------------

stage_one() {
    case $1 in keys:*)
        take_keys "${1#keys:}" "$2" "$3" "$4"
        return ;;
    esac
    [ "$(sum "$4")" = "$3" ] || fail "changed: $4 is not what it was when the plan was made"
    if [ -f "$4" ] && [ "$1" = config ]; then
        cp -p "$4" "$dir/old/$2" || fail "cannot back up $4"
    fi
    [ -f "$dir/new/$2" ] || return 0
    mkdir -p "$(dirname "$4")" || fail "cannot make the folder of $4"
    staged=$(beside "$4")
    rm -f "$staged"
    # A copy first: it has the mode and owner of what is there.
    [ "$5" != - ] || cp -p "$4" "$staged" || fail "cannot write beside $4"
    cat "$dir/new/$2" >"$staged" || fail "cannot write beside $4"
    [ "$5" = - ] || chmod "$5" "$staged" || fail "cannot write beside $4"
    label "$staged"
    later "$staged"
    case $4 in
    /etc/sudoers.d/*)
        said=$(visudo -cf "$staged" 2>&1) || fail "visudo: $(echo "$said" | head -n 1)" ;;
    */ca_keys)
        lines=$(grep -c . "$staged")
        [ "$(ssh-keygen -l -f "$staged" 2>/dev/null | grep -c .)" = "$lines" ] ||
            fail "ssh-keygen cannot read all of the CA keys" ;;
    *.krl)
        ssh-keygen -Q -f "$staged" >/dev/null 2>&1 || fail "ssh-keygen cannot read the KRL" ;;
    esac
}

stage() {
    take_lock
    mkdir -p "$dir/old" /etc/ssh/daypass/principals || fail "cannot make /etc/ssh/daypass"
    # AuthorizedPrincipalsFile is read with the rights of the account.
    chmod 755 /etc/ssh/daypass /etc/ssh/daypass/principals
    label /etc/ssh/daypass
    each stage_one
    flush_noted
}

# --- check ---------------------------------------------------------------------------

copy_one() {
    new=$(beside "$4")
    target=
    case $4 in
    "$config") target=$dir/tree/sshd_config ;;
    "${folder:-//}"/*) target=$dir/tree/d/${4##*/} ;;
    esac
    [ -n "$target" ] || return 0
    if [ -f "$dir/new/$2" ]; then cp "$new" "$target"; else rm -f "$target"; fi
}

# A copy of the configuration in which Include leads to copies of the drop-ins.
make_tree() {
    rm -rf "$dir/tree"
    mkdir -p "$dir/tree/d" || fail "cannot make $dir/tree"
    cp "$config" "$dir/tree/sshd_config"
    if [ -n "$folder" ]; then
        for found in "$folder"/* "$folder"/.[!.]*; do
            [ ! -f "$found" ] || cp "$found" "$dir/tree/d/"
        done
    fi
    each copy_one
    [ -n "$folder" ] || return 0
    sed "/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee]/{
        s,\\([[:space:]=\"]\\)${folder#/etc/ssh/}/,\\1$dir/tree/d/,g
        s,\\([[:space:]=\"]\\)$folder/,\\1$dir/tree/d/,g
    }" "$dir/tree/sshd_config" >"$dir/tree/rewritten" &&
        mv "$dir/tree/rewritten" "$dir/tree/sshd_config"
}

compare() { # compare CONFIG: is each value that sshd would use the one we mean?
    asked=
    while read -r account keyword value <&3; do
        if [ "$account" != "$asked" ]; then
            set -- "$1"
            [ "$account" = - ] || set -- "$1" -C "user=$account,$where"
            said=$("$sshd" -T -f "$@" 2>&1)
            asked=$account
        fi
        found=$(echo "$said" | awk -v k="$keyword" \
            'tolower($1) == k { sub(/^[^ ]* /, ""); print }')
        # HostCertificate may stand there several times.
        echo "${found:-none}" | grep -Fqx -e "$value" ||
            fail "sshd would use $keyword ${found:-none} for $account, and not $value"
    done 3<"$dir/expect"
}

check() {
    make_tree
    said=$("$sshd" -t -f "$dir/tree/sshd_config" 2>&1) ||
        fail "sshd would not start: $(echo "$said" | tail -n 1)"
    compare "$dir/tree/sshd_config"
    rm -rf "$dir/tree"
    accounts_check
}

# --- arm -----------------------------------------------------------------------------

arm() {
    : >"$dir/armed"
    flush "$dir/armed"
    arm_for_a_restart
    if [ -d /run/systemd/system ] && systemd-run --quiet --collect \
        --unit="daypass-rollback-$id" --on-active="$1" \
        --timer-property=AccuracySec=1s /bin/sh "$dir/change.sh" expire 2>/dev/null; then
        echo systemd >"$dir/clock"
        return
    fi
    detach=
    ! command -v setsid >/dev/null 2>&1 || detach=setsid
    # shellcheck disable=SC2086 # one word or none
    nohup $detach /bin/sh "$dir/change.sh" clock "$1" </dev/null >/dev/null 2>&1 &
    wait_for 5 test -s "$dir/clock"
    kill -0 "$(cat "$dir/clock" 2>/dev/null || echo x)" 2>/dev/null ||
        fail "cannot start the clock that would take the change back"
}

# A machine that goes down has forgotten its clock when it comes up again. There is no
# telling then whether anybody could log in, so what was not proved is taken back: by
# systemd before sshd starts, or by cron soon after.
boot_unit=daypass-rollback.service
arm_for_a_restart() {
    if [ -d /run/systemd/system ]; then
        printf '%s\n' "[Unit]" "Description=Daypass: take back a change that nobody proved" \
            "DefaultDependencies=no" "RequiresMountsFor=$dir /etc/ssh" \
            "After=local-fs.target" "Before=sysinit.target" \
            "[Service]" "Type=oneshot" "ExecStart=/bin/sh $dir/change.sh restarted" \
            >"/etc/systemd/system/$boot_unit"
        mkdir -p /etc/systemd/system/sysinit.target.wants
        ln -sf "../$boot_unit" "/etc/systemd/system/sysinit.target.wants/$boot_unit"
        flush "/etc/systemd/system/$boot_unit"
    elif [ -d /etc/cron.d ]; then
        echo "@reboot root /bin/sh $dir/change.sh restarted" >/etc/cron.d/daypass-rollback
        flush /etc/cron.d/daypass-rollback
    fi
}
disarm_for_a_restart() {
    rm -f "/etc/systemd/system/$boot_unit" /etc/cron.d/daypass-rollback \
        "/etc/systemd/system/sysinit.target.wants/$boot_unit"
}

restarted() {
    rm -f "$dir/clock" "$dir/swapping"
    # It may have gone down while it took the change back.
    [ ! -e "$dir/rolling" ] || mv "$dir/rolling" "$dir/armed"
    find_sshd
    rollback
}

# The process that was the listener when the change was made is another by now.
find_sshd() {
    listener=$(cat /run/sshd.pid 2>/dev/null)
    case $(cat "/proc/${listener:-x}/comm" 2>/dev/null) in
    sshd*) ;;
    *) listener= ;;
    esac
}

clock() {
    trap '' HUP
    echo $$ >"$dir/clock"
    sleep "$1"
    rm -f "$dir/clock"
    rollback
}

# --- swap ----------------------------------------------------------------------------

trust_is_older() {
    [ "$1" = config ] || [ "$(sum "$4")" = "$3" ] || pulled=yes
}

# What the CA says only moves forward: where the host has pulled since it was staged, it
# has the newer, and ours are dropped.
trust() {
    pulled=no
    each trust_is_older
    [ "$pulled" = no ] || return 0
    now=trust
    each swap_one
    flush_noted
}

swap_one() {
    case $1/$4 in
    trust/*) turn=trust ;;
    keys:*) turn=keys ;;
    # The file of sshd itself last: what it names has to be there.
    */"$config" | */"${folder:-//}"/*) turn=sshd ;;
    *) turn=config ;;
    esac
    [ "$turn" = "$now" ] || return 0
    [ -e "$dir/armed" ] || fail "too late: the clock has run out"
    if [ "$turn" = keys ]; then
        put_keys "${1#keys:}" "$4" "$dir/new/$2" || fail "cannot replace $4"
        return
    fi
    if [ -f "$dir/new/$2" ]; then mv -f "$(beside "$4")" "$4" || fail "cannot replace $4"
    else rm -f "$4" || fail "cannot remove $4"; fi
    later "$4"
}

swap() {
    [ -e "$dir/armed" ] || fail "the clock is not running"
    echo $$ >"$dir/swapping"
    if [ -x "$pull" ] && [ -r /etc/ssh/daypass/pull.conf ]; then
        "$pull" --locked /bin/sh "$dir/change.sh" trust || fail "cannot lock the trust files"
    else
        trust
    fi
    accounts_do
    for now in config sshd keys; do
        each swap_one
    done
    flush_noted
    rm -f "$dir/swapping"
    said=$("$sshd" -t -f "$config" 2>&1) || fail "sshd would not start: $(echo "$said" | tail -n 1)"
    compare "$config"
}

# --- reload --------------------------------------------------------------------------

mark() { cksum <"/proc/$listener/auxv" 2>/dev/null || echo none; }

# A new run of a program has its stack elsewhere, which /proc shows: so we see that sshd
# has started anew, and that logins from now on are judged by what is new.
reload() {
    [ -n "$listener" ] || return 0
    kill -0 "$listener" 2>/dev/null || fail "sshd is gone"
    before=$(mark)
    if [ -d /run/systemd/system ] && [ -n "$unit" ]; then
        systemctl reload "$unit" || fail "systemctl cannot reload $unit"
    else
        kill -HUP "$listener" || fail "cannot signal sshd"
    fi
    wait_for 5 is_anew && return
    kill -0 "$listener" 2>/dev/null || fail "sshd is gone"
}
is_anew() { [ "$before" != none ] && [ "$(mark)" != "$before" ]; }

# --- prove and rollback --------------------------------------------------------------

prove() {
    mv "$dir/armed" "$dir/proved" 2>/dev/null || fail "too late: the clock has run out"
    flush "$dir/proved"
    disarm_for_a_restart
    stop_clock
    # What was undone is not undone again: there is nothing before it that we know.
    start_timers
    remember
    drop_lock
    forget_old
}

# Changes that were undone, taken back or followed by others, after a month; but for
# those that hold a home, or keys: these are moved, and never deleted.
forget_old() {
    last=$(cat "$state/last" 2>/dev/null)
    find "$state" -type d -path "$state/*-*" -prune -mtime +30 2>/dev/null |
        while read -r old; do
            [ "$old" != "$dir" ] && [ "${old##*/}" != "$last" ] || continue
            set -- "$old"/home.*
            [ -e "$1" ] || grep -qs '^keys:' "$old/manifest" || rm -rf "$old"
        done
}

# `last` names what `rollback` takes back, `retired` what `authorized-keys restore` does,
# and after that the one before it.
remember() {
    if [ "$undoes" = yes ]; then
        point "$(before_it)"
    else
        cp "$state/$slot" "$dir/before" 2>/dev/null
        point "$id"
    fi
}
point() {
    if [ -n "$1" ]; then echo "$1" >"$state/.$slot" && mv "$state/.$slot" "$state/$slot"
    else rm -f "$state/$slot"; fi
}
before_it() {
    [ "$slot" = last ] || cat "$state/$(cat "$state/$slot")/before" 2>/dev/null
}

# What is staged may be a unit that systemd has to hear of.
start_timers() {
    timers=$(sed -n 's,^trust .* /etc/systemd/system/\([^/]*\.timer\)$,\1,p' "$dir/manifest")
    [ -n "$timers" ] && [ -d /run/systemd/system ] || return 0
    systemctl daemon-reload
    for timer in $timers; do
        systemctl enable --quiet --now "$timer" || echo "cannot start $timer" >&2
    done
}

stop_clock() {
    if [ "$(cat "$dir/clock" 2>/dev/null)" = systemd ]; then
        systemctl stop "daypass-rollback-$id.timer" 2>/dev/null
    else
        pid=$(cat "$dir/clock" 2>/dev/null || echo x)
        kill -- "-$pid" 2>/dev/null || kill "$pid" 2>/dev/null
    fi
    rm -f "$dir/clock"
}

clean_one() {
    case $1 in
    keys:*) ;;
    *) rm -f "$(beside "$4")" ;;
    esac
}

restore_one() {
    case $1 in keys:*)
        put_back_keys "${1#keys:}" "$2" "$3" "$4" ||
            echo "cannot restore $4" >>"$dir/unrestored"
        return ;;
    esac
    [ "$1" = config ] || return 0
    if [ -f "$dir/old/$2" ]; then
        [ "$(sum "$4")" != "$3" ] || return 0
        cp -p "$dir/old/$2" "$(beside "$4")" && label "$(beside "$4")" &&
            flush "$(beside "$4")" && mv -f "$(beside "$4")" "$4" && flush "$4"
    else
        rm -f "$4"
    fi
    [ "$(sum "$4")" = "$3" ] || echo "cannot restore $4" >>"$dir/unrestored"
}

is_over() {
    [ ! -e "$dir/rolling" ] ||
        ! kill -0 "$(cat "$dir/roller" 2>/dev/null || echo x)" 2>/dev/null
}

rollback() {
    # To its end, though whoever asked for it hangs up. What was ended by force the next
    # who comes does again, as each part of it may be: that is the clock, at the latest.
    trap '' HUP TERM PIPE
    ! wait_for 10 is_over || mv "$dir/rolling" "$dir/armed" 2>/dev/null
    [ ! -e "$dir/armed" ] || echo $$ >"$dir/roller"
    if mv "$dir/armed" "$dir/rolling" 2>/dev/null; then
        if [ -s "$dir/swapping" ]; then
            kill -9 "$(cat "$dir/swapping")" 2>/dev/null
            sleep 1
        fi
        each restore_one
        each clean_one
        accounts_undo
        revive
        mv "$dir/rolling" "$dir/restored"
        disarm_for_a_restart
        stop_clock
        drop_lock
    elif [ -e "$dir/proved" ]; then
        fail "this change was proved before; it stays"
    elif [ -e "$dir/rolling" ]; then
        fail "it is still being taken back"
    elif [ ! -e "$dir/restored" ]; then
        each clean_one # it was never armed, so nothing was swapped
        drop_lock
    fi
    [ ! -s "$dir/unrestored" ] || fail "$(cat "$dir/unrestored")"
}

# Without a plan or a proof: whoever types this has a console, and no other way in.
undo() {
    [ -e "$dir/proved" ] || fail "this change was not proved, so it is not in force"
    each restore_one
    accounts_undo
    [ "$(cat "$state/$slot" 2>/dev/null)" != "$id" ] || point "$(before_it)"
    [ ! -s "$dir/unrestored" ] || cat "$dir/unrestored" >&2
    said=$("$sshd" -t -f "$config" 2>&1) ||
        fail "restored, but sshd would not start: $(echo "$said" | tail -n 1)"
    find_sshd
    if [ -n "$listener" ]; then
        reload
        echo "restored, and sshd has read it"
    else
        echo "restored; now reload sshd by hand"
    fi
}

# Let sshd read what was restored, or start it where it died of what was new.
revive() {
    "$sshd" -t -f "$config" 2>/dev/null || return 0
    if [ -n "$listener" ] && ! kill -0 "$listener" 2>/dev/null; then
        if [ -d /run/systemd/system ] && [ -n "$unit" ]; then
            systemctl restart "$unit"
        else
            # shellcheck disable=SC2086 # the words of its own command line
            (trap - TERM PIPE; exec nohup $command </dev/null >/dev/null 2>&1) &
        fi
        return 0
    fi
    (reload) || return 0
}

main() {
    sshd='' config='' folder='' listener='' unit='' command='' where=''
    owner='' undoes='' slot='' lock_seconds=''
    # shellcheck source=/dev/null
    . "$dir/settings" || fail "there is no change $id on this host"
    # shellcheck source=/dev/null
    [ ! -f "$dir/accounts.sh" ] || . "$dir/accounts.sh"
    # shellcheck source=/dev/null
    [ ! -f "$dir/keys.sh" ] || . "$dir/keys.sh"
    case $1 in
    stage | check | arm | swap | trust | reload | prove | rollback | clock) "$@" ;;
    restarted | undo) "$@" ;;
    expire) rollback ;;
    *) fail "no step $1" ;;
    esac
}

main "$@" </dev/null
