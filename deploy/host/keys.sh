# shellcheck shell=sh disable=SC2154,SC2016 # what change.sh has set; code for other shells
# Authorized keys, by the rights of whoever owns them; `change.sh` reads this file where a
# change has any.
#
# Root does not read or write in a folder of somebody else's: between a look and a rename
# its owner could make anything there a link to anything. So the owner's own rights do it,
# and what was there goes to the folder of the change, which is root's.

# as OWNER CODE PATH: run code with the rights of an account; its own shell may be any
as() {
    if [ "$1" = root ]; then sh -c "$2" sh "$3"
    else su -s /bin/sh "$1" -c "$2" sh "$3"; fi
}

sum_as() {
    as "$1" 'if [ -f "$1" ]; then cksum <"$1"; else echo absent; fi' "$2" </dev/null |
        awk '{ print (NF > 1 ? $1 "-" $2 : $1) }'
}

# take_keys OWNER NUMBER CHECKSUM PATH
take_keys() {
    [ "$(sum_as "$1" "$4")" = "$3" ] ||
        fail "changed: $4 is not what it was when the plan was made"
    [ "$3" = absent ] || as "$1" 'cat "$1"' "$4" </dev/null >"$dir/old/$2" ||
        fail "$1 cannot read $4"
    # So that a folder that is another's, or a full disk, is met before anything changes.
    as "$1" 'cp /dev/null "$1.daypass" && rm -f "$1.daypass"' "$4" </dev/null ||
        fail "$1 cannot write beside $4"
}

# put_keys OWNER PATH FILE: what FILE has, or nothing where there is no FILE
put_keys() {
    if [ -f "$3" ]; then
        as "$1" 'umask 077; cat >"$1.daypass" && mv -f "$1.daypass" "$1"' "$2" <"$3"
    else
        as "$1" 'rm -f "$1" "$1.daypass"' "$2" </dev/null
    fi && sync
}

# put_back_keys OWNER NUMBER CHECKSUM PATH
put_back_keys() {
    [ "$(sum_as "$1" "$4")" = "$3" ] || put_keys "$1" "$4" "$dir/old/$2"
}
