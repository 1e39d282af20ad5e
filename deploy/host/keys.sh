# shellcheck shell=sh disable=SC2154,SC2016 # what change.sh has set; code for other shells
# Authorized keys, by the rights of whoever owns them; `change.sh` reads this file where a
# change has any.
#
# Root does not read or write in a folder of somebody else's: between a look and a rename
# its owner could make anything there a link to anything. So the owner's own rights do it,
# and what was there goes to the folder of the change, which is root's.

# as OWNER CODE PATH [IN [OUT]]: run code with the rights of an account; its own shell may
# be any. What runs by its rights, its owner can stop and meddle with: so it gets none of
# our open files but IN and OUT, and ten seconds.
as() {
    if [ "$1" = root ]; then
        sh -c "$2" sh "$3" <"${4:-/dev/null}" >"${5:-/dev/null}"
        return
    fi
    su -s /bin/sh "$1" -c "$2" sh "$3" <"${4:-/dev/null}" >"${5:-/dev/null}" \
        2>/dev/null 3<&- 4<&- &
    doing=$!
    { sleep 10; kill -9 "$doing"; } </dev/null >/dev/null 2>&1 3<&- 4<&- &
    guard=$!
    wait "$doing"
    set -- "$?"
    kill "$guard" 2>/dev/null
    return "$1"
}

sum_as() {
    rm -f "$dir/sum" # whose last writer may still have it open
    as "$1" 'if [ -f "$1" ]; then cksum <"$1"; else echo absent; fi' "$2" '' "$dir/sum"
    head -c 100 "$dir/sum" | awk '{ print (NF > 1 ? $1 "-" $2 : $1) }'
}

# take_keys OWNER NUMBER CHECKSUM PATH
take_keys() {
    [ "$(sum_as "$1" "$4")" = "$3" ] ||
        fail "changed: $4 is not what it was when the plan was made"
    if [ "$3" = absent ]; then :
    elif [ "$1" = root ]; then cp -p "$4" "$dir/old/$2"
    else as "$1" 'cat "$1"' "$4" '' "$dir/old/$2"; fi || fail "$1 cannot read $4"
    # So that a folder that is another's, or a full disk, is met before anything changes.
    as "$1" 'rm -f "$1.daypass" && cp /dev/null "$1.daypass" && rm -f "$1.daypass"' "$4" ||
        fail "$1 cannot write beside $4"
}

# put_keys OWNER PATH FILE [LIKE]: what FILE has, or nothing where there is no FILE
#
# sshd reads keys with the rights of the account. So a file in a folder of root's has to
# stay readable: it gets mode and owner of what is there, or of LIKE.
put_keys() {
    if [ ! -f "$3" ]; then as "$1" 'rm -f "$1" "$1.daypass"' "$2"
    elif [ "$1" = root ]; then put_keys_of_root "$2" "$3" "${4-}"
    else
        as "$1" 'umask 077; rm -f "$1.daypass"
            cat >"$1.daypass" && mv -f "$1.daypass" "$1"' "$2" "$3"
    fi && sync
}

put_keys_of_root() {
    like=$1
    [ -f "$like" ] || like=$3
    rm -f "$1.daypass"
    if [ -n "$like" ]; then cp -p "$like" "$1.daypass"; fi &&
        cat "$2" >"$1.daypass" && label "$1.daypass" && mv -f "$1.daypass" "$1"
}

# put_back_keys OWNER NUMBER CHECKSUM PATH
put_back_keys() {
    [ "$(sum_as "$1" "$4")" = "$3" ] ||
        put_keys "$1" "$4" "$dir/old/$2" "$dir/old/$2"
}
