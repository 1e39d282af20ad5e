# shellcheck shell=sh disable=SC2154 # what change.sh has set
# Users, groups and sudoers, by useradd and its kin; `change.sh` reads this file
# where a change has any.
#
# The file `accounts` of a change has one step a line:
#
#     group-add GROUP GID             `-` for a number is whatever the host gives
#     group-del GROUP
#     user-add USER UID HOME SHELL    with the password `*`: no password opens it
#     user-del USER HOME              HOME goes into the folder of the change; `-`: stays
#     user-join USER GROUP
#     user-leave USER GROUP
#     user-shell USER SHELL
#     user-password USER              from now on it is `*`
#     user-renew USER                 it does not end any more
#     user-lock USER                  neither password nor key nor certificate opens it
#     user-secret USER CHANGE         password and end as CHANGE found them
#
# What undoes a step goes into `accounts.undo`, newest first, before it is done. So each
# may be undone that was not done; and a hash never leaves the host, nor is an argument.

entry() { awk -F: -v name="$1" -v n="$2" '$1 == name { print $n; exit }' "$3"; }
is_user() { [ -n "$(entry "$1" 1 /etc/passwd)" ]; }
is_group() { [ -n "$(entry "$1" 1 /etc/group)" ]; }
is_in() { id -Gn "$1" 2>/dev/null | tr ' ' '\n' | grep -Fqx -e "$2"; }

undone_by() {
    { echo "$*"; cat "$dir/accounts.undo" 2>/dev/null; } >"$dir/accounts.next"
    mv "$dir/accounts.next" "$dir/accounts.undo" || fail "cannot note what undoes $*"
    flush "$dir/accounts.undo"
}

keep_secret() {
    undone_by user-secret "$1" "$id"
    [ -f "$dir/secret.$1" ] || (
        umask 077
        awk -F: -v name="$1" '$1 == name { print $2; print $8 }' /etc/shadow \
            >"$dir/secret.$1"
    )
}

group_add() {
    undone_by group-del "$1"
    if [ "$2" = - ]; then groupadd "$1"; else groupadd -g "$2" "$1"; fi
}

group_del() {
    is_group "$1" || return 0
    undone_by group-add "$1" "$(entry "$1" 3 /etc/group)"
    groupdel "$1"
}

user_add() {
    name=$1 uid=$2 home=$3 shell=$4
    if [ -e "$home" ]; then made=-; else made=$home; fi
    undone_by user-del "$name" "$made"
    set -- useradd -m -K UMASK=077 -p '*' -d "$home"
    ! is_group "$name" || set -- "$@" -g "$name"
    [ "$uid" = - ] || set -- "$@" -u "$uid"
    [ "$shell" = - ] || set -- "$@" -s "$shell"
    "$@" "$name" >/dev/null && { [ "$made" = - ] || chmod 700 "$home"; }
}

user_del() {
    if is_user "$1"; then
        undone_by user-add "$1" "$(entry "$1" 3 /etc/passwd)" \
            "$(entry "$1" 6 /etc/passwd)" "$(entry "$1" 7 /etc/passwd)"
        userdel "$1" 2>/dev/null || user_lock "$1" || return 1
    fi
    [ "$2" = - ] || [ ! -d "$2" ] || mv "$2" "$dir/home.$1"
}

user_join() {
    ! is_in "$1" "$2" || return 0
    undone_by user-leave "$1" "$2"
    usermod -aG "$2" "$1"
}

user_leave() {
    is_in "$1" "$2" || return 0
    undone_by user-join "$1" "$2"
    gpasswd -d "$1" "$2" >/dev/null
}

user_shell() {
    undone_by user-shell "$1" "$(entry "$1" 7 /etc/passwd)"
    usermod -s "$2" "$1"
}

user_password() {
    keep_secret "$1"
    echo "$1:*" | chpasswd -e
}

user_renew() {
    keep_secret "$1"
    chage -E -1 "$1"
}

user_lock() {
    is_user "$1" || return 0
    keep_secret "$1"
    usermod -L "$1" && chage -E 1 "$1"
}

user_secret() {
    is_user "$1" || return 0
    kept=$state/$2/secret.$1
    [ -f "$kept" ] || fail "cannot find what $1 had before"
    [ "$2" = "$id" ] || keep_secret "$1"
    ends=$(sed -n 2p "$kept")
    { printf '%s:' "$1"; sed -n 1p "$kept"; } | chpasswd -e && chage -E "${ends:--1}" "$1"
}

each_step() { # each_step FUNCTION FILE
    while read -r what one two three four <&4; do
        # shellcheck disable=SC2086 # those that are there
        "$1" "$what" $one $two $three $four
    done 4<"$2"
}

# --- check -----------------------------------------------------------------------------

check_step() {
    case $1 in
    group-add) ! is_group "$2" || fail "changed: there is a group $2 now" ;;
    user-add) ! is_user "$2" || fail "changed: there is a user $2 now" ;;
    user-*) is_user "$2" || grep -q "^user-add $2 " "$dir/accounts" ||
        fail "changed: there is no user $2 any more" ;;
    esac
    case $1 in
    user-add) shell=$5 ;;
    user-shell) shell=$3 ;;
    *) shell=- ;;
    esac
    [ "$shell" = - ] || [ -x "$shell" ] || fail "there is no shell $shell for $2"
}

accounts_check() {
    [ ! -f "$dir/accounts" ] || each_step check_step "$dir/accounts"
    ! grep -q ' /etc/sudoers\.d/daypass$' "$dir/manifest" || check_sudoers
}

# All of sudo's files as they would be: an alias may be in two of them.
check_sudoers() {
    tree=$dir/tree.sudo
    rm -rf "$tree"
    mkdir -p "$tree/d" || fail "cannot make $tree"
    for found in /etc/sudoers.d/*; do
        case ${found##*/} in daypass | *.* | *~) continue ;; esac
        [ ! -f "$found" ] || cp "$found" "$tree/d/"
    done
    staged=$(beside /etc/sudoers.d/daypass)
    if [ -f "$staged" ]; then cp "$staged" "$tree/d/daypass"; fi
    sed "s,^\\([@#]includedir[[:space:]]*\\)/etc/sudoers\\.d.*,\\1$tree/d," /etc/sudoers \
        >"$tree/sudoers"
    said=$(visudo -cf "$tree/sudoers" 2>&1) ||
        fail "visudo: $(echo "$said" | sed "s,$tree/d,/etc/sudoers.d," | head -n 1)"
    rm -rf "$tree"
}

# --- do and undo -----------------------------------------------------------------------

do_step() {
    [ -e "$dir/armed" ] || fail "too late: the clock has run out"
    what=$(echo "$1" | tr - _)
    shift
    "$what" "$@" || fail "cannot do $what $*"
}

accounts_do() { [ ! -f "$dir/accounts" ] || each_step do_step "$dir/accounts"; }

undo_step() {
    what=$(echo "$1" | tr - _)
    shift
    ("$what" "$@") || echo "cannot undo: $what $*" >>"$dir/unrestored"
}

# What is undone notes how to undo that: into another file, so that this one stays whole.
accounts_undo() {
    [ -f "$dir/accounts.undo" ] || return 0
    cp "$dir/accounts.undo" "$dir/accounts.undoing"
    each_step undo_step "$dir/accounts.undoing"
}
