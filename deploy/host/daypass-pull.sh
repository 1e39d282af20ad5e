#!/bin/sh
# Keeps a host's copy of the trust bundle, and its host certificate, up to date.
#
#     daypass-pull [--jitter SECONDS]    pull once, as the timer and cron do
#     daypass-pull --renew               renew the host certificate when half is over
#     daypass-pull --join TOKEN-FILE     have a new machine registered, by a join token
#     daypass-pull --locked COMMAND...   run a command that changes the trust files
#
# sshd reads `ca_keys` and `revoked.krl` at each login, and refuses everybody when the
# KRL is not one. So nothing here is changed in place, and nothing is believed before
#
#     pin --> root key --signed--> roots --list--> online key --signed--> current
#                                    ^                                      |  |
#                                    +---------- hash of the whole ---------+  |
#                                             KRL <------ hash of the whole ---+
#
# held. What was accepted as a whole becomes the folder `.pending` by one rename; its
# files are then moved into place, the KRL before the CA keys. A run that is killed
# leaves each file old or new, and the next run goes on where it ended: versions never
# go back. If anything fails, what is there stays, for ever: age rings, and locks nobody
# out. Needs ssh-keygen (OpenSSH 8.1 or later), and curl or wget.
#
# Exit: 0 up to date, 1 kept what is there or failed, 2 misuse, 7 CA unreachable.
#
# Before you let it run as root, read it from its end: `main`, `run`, then `pull`, which
# is every judgement in its order, and `install_all`, the only way into the folder. It
# writes there and, with --renew, beside the host key; it asks `url`, and nobody else; it
# runs ssh-keygen, curl or wget, what every system has, and, as configured, `reload` and
# daypass-end-sessions. All is in functions: a script that arrived in part does nothing.

set -uf
umask 022
LC_ALL=C TZ=UTC0
# Root runs nothing from a PATH that somebody else chose. With DAYPASS_ROOT, everything
# is below it, and PATH is what it is: for tests.
[ -n "${DAYPASS_ROOT-}" ] ||
    PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL TZ PATH

readonly DOCUMENT_BYTES=65536
readonly KRL_BYTES=8388608         # the CA publishes none that is larger
readonly FETCH_SECONDS=60
readonly LOCK_SECONDS=20
readonly REPORT_SECONDS=3600       # say again what was said, so that we count as alive
readonly REFUSED_SECONDS=300       # before a refused report is tried again
readonly SETTLE_SECONDS=10         # logins that began before the KRL have ended by then
readonly ALARM_SECONDS=3600        # between two lines in syslog about the same trouble

has() { command -v "$1" >/dev/null 2>&1; }
say() { printf 'daypass-pull: %s\n' "$*" >&2; }
misuse() { say "$*"; exit 2; }

# words FILE: its beginning, as one line that no terminal and no log can take for more
words() { head -c 500 "$1" 2>/dev/null | tr -c '\040-\176' ' '; }

# --- The configuration ------------------------------------------------------------

read_config() {
    folder=${DAYPASS_ROOT-}/etc/ssh/daypass
    us=$(id -u)
    url='' pin='' host='' report=no host_key='' reload='' end_sessions=no
    names='' tls_ca_file='' unless=''
    [ -r "$folder/pull.conf" ] || misuse "cannot read $folder/pull.conf"
    # Whoever may write there says which CA this host believes, and what root runs.
    for each in "$folder" "$folder/pull.conf"; do
        is_only_ours "$each" ||
            misuse "$each: not root's alone; see ls -ld, then chown root, chmod go-w"
    done
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) continue ;; esac
        case $line in
        url=*) url=${line#*=} ;;
        pin=*) pin=${line#*=} ;;
        host=*) host=${line#*=} ;;
        report=yes | report=no) report=${line#*=} ;;
        host_key=*) host_key=${line#*=} ;;
        names=*) names=${line#*=} ;;
        reload=*) reload=${line#*=} ;;
        end_sessions=yes | end_sessions=no) end_sessions=${line#*=} ;;
        tls_ca_file=*) tls_ca_file=${line#*=} ;;
        *) misuse "pull.conf: not a setting: $line" ;;
        esac
    done <"$folder/pull.conf"
    url=${url%/}
    case $url in
    *[!!-~]* | *[\"\\]*) misuse "pull.conf: url has a character that no URL has" ;;
    https://?* | http://127.0.0.1[:/]* | http://localhost[:/]* | 'http://[::1]'*) ;;
    *) misuse "pull.conf: url must be https, or http on loopback" ;;
    esac
    case $pin in
    SHA256:*[!A-Za-z0-9+/]*) misuse "pull.conf: pin is no fingerprint" ;;
    SHA256:*) [ ${#pin} -eq 50 ] || misuse "pull.conf: pin is SHA256: and 43 characters" ;;
    *) misuse "pull.conf: pin must be the root key's fingerprint, SHA256:..." ;;
    esac
    case $host in
    '' | [!a-z0-9]* | *[!a-z0-9._-]*)
        [ "$report$host" = no ] || misuse "pull.conf: host is no host id" ;;
    esac
    [ -z "$host_key" ] || host_key=${DAYPASS_ROOT-}$host_key
    [ "$report" = no ] || [ -n "$host_key" ] ||
        misuse "pull.conf: report=yes needs host_key="
}

# --- One at a time ------------------------------------------------------------------

# With flock, the kernel gives the lock back whatever becomes of us. Without, a lock is
# a ticket: a link whose number is one above the highest and whose target says whose it
# is. It holds while its owner lives; only a higher number takes its place, so nobody
# ever removes a lock that they judged by an older look at it.
take_lock() {
    tries=0
    # Root's alone: whoever can open a file can hold its lock for ever.
    (umask 077; : >>"$folder/lock"; chmod 0600 "$folder/lock") 2>/dev/null || return 1
    if has flock; then exec 9>>"$folder/lock"; fi
    until try_lock; do
        tries=$((tries + 1))
        [ "$tries" -lt "$LOCK_SECONDS" ] || return 1
        sleep 1
    done
}

try_lock() {
    if has flock; then flock -n 9; else take_ticket; fi
}

take_ticket() {
    mkdir -p "$folder/lock.d" || return 1
    highest=$(highest_ticket)
    if [ "$highest" -gt 0 ]; then
        owner=$(readlink "$folder/lock.d/$highest") || return 1
        [ "$(life_of "${owner%%:*}")" != "$owner" ] || return 1
    fi
    mine=$((highest + 1))
    ln -s "$(life_of $$)" "$folder/lock.d/$mine" 2>/dev/null || return 1
    if [ "$(highest_ticket)" -gt "$mine" ]; then
        rm -f "$folder/lock.d/$mine"
        return 1
    fi
    while [ "$highest" -gt 0 ] && [ -L "$folder/lock.d/$highest" ]; do
        rm -f "$folder/lock.d/$highest"
        highest=$((highest - 1))
    done
}

highest_ticket() {
    found=0
    set +f
    for ticket in "$folder"/lock.d/*; do
        number=${ticket##*/}
        case $number in *[!0-9]*) continue ;; esac
        [ "$number" -le "$found" ] || found=$number
    done
    set -f
    echo "$found"
}

# life_of PID: what no other process has, now or after a restart; nothing if it is gone
life_of() {
    if [ -r /proc/self/stat ]; then
        stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
        # Behind the name, which is in parentheses and may hold anything, stand the
        # state and, 19 words on, the start. A zombie does nothing any more.
        # shellcheck disable=SC2086
        set -- "$1" ${stat##*)}
        [ "$2" != Z ] || return 0
        boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
        echo "$1:${21}:$boot"
    elif kill -0 "$1" 2>/dev/null; then
        echo "$1:"
    fi
}

# --- Files --------------------------------------------------------------------------

# flush PATH...: what is there survives a power cut
flush() { sync "$@" 2>/dev/null || sync || :; }

sha256() {
    if has sha256sum; then sum=$(sha256sum <"$1"); else sum=$(sha256 -q <"$1"); fi
    echo "${sum%% *}"
}

# hash_is HASH FILE
hash_is() { [ -f "$2" ] && [ "$(sha256 "$2")" = "$1" ]; }

# is_only_ours PATH: no link, owned by who runs this, and nobody else may write to it
is_only_ours() {
    # shellcheck disable=SC2046,SC2012  # mode, links, owner: they hold nothing odd
    set -- $(ls -ldn "$1" 2>/dev/null)
    case ${1-} in '' | l* | ?????w* | ????????w*) return 1 ;; esac
    [ "$3" = "$us" ]
}

size() { echo $(($(wc -c <"$1"))); }

now() { date +%s; }

# number WORD: a decimal number that any shell can compare
number() {
    case $1 in '' | *[!0-9]* | 0?*) return 1 ;; esac
    [ ${#1} -le 18 ]
}

is_hash() {
    case $1 in *[!0-9a-f]*) return 1 ;; esac
    [ ${#1} -eq 64 ]
}

# --- The CA over HTTP ---------------------------------------------------------------

# ask PATH FILE BYTES [POST-FILE]: sets `http`, the status, or 000; and FILE
#
# `unless` is the ETag of what we have, or empty. The limit on file size ends whoever
# writes more, whatever the headers promised. Redirects are not followed, but by busybox:
# what is not 200 is not the CA.
ask() {
    rm -f "$2" "$staging/said"
    : >"$staging/headers"
    if has curl; then
        # -q must be the first: no curlrc. -g: brackets are an address, no pattern.
        set -- curl "$@" -q -s -g --proto '=http,https' --connect-timeout 10 \
            --max-time "$FETCH_SECONDS" -D "$staging/headers" -w '%{http_code}' -o "$2"
        [ -z "$tls_ca_file" ] || set -- "$@" --cacert "$tls_ca_file"
        [ -z "$unless" ] || set -- "$@" -H "If-None-Match: $unless"
    elif has_gnu_wget; then
        set -- wget "$@" --no-config -nv -t 1 -T 20 --max-redirect=0 -O "$2"
        [ -z "$tls_ca_file" ] || set -- "$@" "--ca-certificate=$tls_ca_file"
    else
        # No -T: it makes the wget of busybox 1.35 crash. `timeout` ends it, too.
        set -- wget "$@" -q -O "$2"
    fi
    program=$1 path=$2 blocks=$(($4 / 512 + 1)) post=
    shift 4
    case $1 in -*) ;; *) post=$1; shift ;; esac
    case $program$post in
    curl | wget) ;;
    curl*) set -- "$@" -H 'Content-Type: text/plain' --data-binary "@$post" ;;
    *) set -- "$@" '--header=Content-Type: text/plain' "--post-file=$post" ;;
    esac
    transfer "$@" "$url$path"
}

has_gnu_wget() { wget --version 2>/dev/null | grep -q 'GNU Wget'; }

# transfer ARGUMENT...: runs $program
transfer() {
    limit=
    if [ "$program" = wget ] && timeout 1 true 2>/dev/null; then
        limit="timeout $FETCH_SECONDS"
    fi
    # shellcheck disable=SC2086,SC3045  # every shell that we know has ulimit -f
    if http=$(ulimit -f "$blocks"; exec $limit "$program" "$@" \
        2>"$staging/said" 9>&-); then
        [ "$program" = curl ] || http=200
    elif [ "$program" = curl ]; then
        http=000
    else
        # wget says the status in words, each kind in its own.
        http=$(sed -n -e 's/.*ERROR \([0-9][0-9][0-9]\).*/\1/p' \
            -e 's/.*HTTP\/1\.[01] \([0-9][0-9][0-9]\).*/\1/p' "$staging/said" | tail -n 1)
        http=${http:-000}
    fi
}

# fetch PATH FILE BYTES: FILE is what is there, neither empty nor larger
fetch() {
    ask "$@"
    accept "$@"
}

accept() {
    [ ! -f "$2" ] || [ "$(size "$2")" -le "$3" ] ||
        refuse too-big "$1 has more than $3 bytes"
    case $http in
    200) ;;
    000) refuse unreachable "no whole answer from $url" 7 ;;
    5*) refuse unreachable "$url answered $http" 7 ;;
    *) refuse refused "$url answered $http for $1" ;;
    esac
    [ -s "$2" ] || refuse empty "$1 is empty"
}

# --- The documents, line by line, as ca/bundle.py reads them ------------------------

# refuse WORD SENTENCE [CODE]: ends a part that runs in a $(...), and says why
refuse() {
    echo "$1: $2"
    exit "${3-1}"
}

# split DOCUMENT FOLDER: FOLDER/text is what was signed, FOLDER/armour the signature
split() {
    armour_begins='-----BEGIN SSH SIGNATURE-----'
    armour_ends='-----END SSH SIGNATURE-----'
    [ "$(tr -d '\n\040-\176' <"$1" | wc -c)" -eq 0 ] || return 1
    [ -z "$(tail -c 1 "$1")" ] || return 1
    sed "/^$armour_begins\$/,\$d" <"$1" >"$2/text"
    sed -n "/^$armour_begins\$/,\$p" <"$1" >"$2/armour"
    [ -s "$2/text" ] || return 1
    [ "$(tail -n 1 "$2/armour")" = "$armour_ends" ] || return 1
    [ "$(sed '1d;$d' <"$2/armour" | tr -d 'A-Za-z0-9+/=\n' | wc -c)" -eq 0 ]
}

# is_key TYPE BASE64: fit to stand in a line of keys
is_key() {
    case $1 in '' | *-cert-* | *[!a-z0-9@.-]*) return 1 ;; esac
    case $2 in '' | *[!A-Za-z0-9+/=]*) return 1 ;; esac
}

is_state() {
    case $1 in staged | active | retiring) return 0 ;; esac
    return 1
}

# read_roots DOCUMENT FOLDER: sets roots_version; FOLDER gets root.pub, user_ca, host_ca,
# online and ca_keys. Fails on a line that is unknown, or out of its order.
read_roots() {
    into=$2
    split "$1" "$into" || return 1
    for list in user_ca host_ca online trusted revoked root.pub; do
        : >"$into/$list" || return 1
    done
    rank=0
    while IFS= read -r line; do
        # shellcheck disable=SC2086  # into words, and only one space between them
        set -- $line
        [ "$*" = "$line" ] || return 1
        case $rank.$#.${1-} in
        0.1.daypass-roots-v1) rank=1 ;;
        1.2.version) rank=2 roots_version=$2; number "$2" ;;
        2.3.root) rank=3; list_key root.pub "$2" "$3" ;;
        3.3.log) rank=4; number "$3" ;;
        4.3.closed-log) number "$3" ;;
        [45].4.user-ca) rank=5; trust user_ca "$2" "$3" "$4" ;;
        [456].5.host-ca) rank=6; is_domains "$5" && trust host_ca "$2" "$3" "$4" ;;
        [4567].4.online) rank=7; trust online "$2" "$3" "$4" ;;
        [45678].3.revoked-ca) rank=8; list_key revoked "$2" "$3" ;;
        *) false ;;
        esac || return 1
    done <"$into/text"
    [ "$rank" -ge 4 ] || return 1
    # Trusted and revoked at once says two things, and so nothing.
    [ ! -s "$into/revoked" ] || ! grep -q -x -F -f "$into/revoked" "$into/trusted" ||
        return 1
    # A file of no keys would lock everybody out, and no roots that we take say that.
    [ -s "$into/user_ca" ] && cp "$into/user_ca" "$into/ca_keys"
}

list_key() {
    is_key "$2" "$3" && echo "$2 $3" >>"$into/$1"
}

# trust LIST STATE TYPE BASE64; of online keys, only those that sign today are listed
trust() {
    is_state "$2" && list_key trusted "$3" "$4" || return 1
    [ "$1.$2" = online.staged ] || [ "$1.$2" = online.retiring ] ||
        list_key "$1" "$3" "$4"
}

is_domains() {
    case $1 in *[!a-z0-9.,*-]*) return 1 ;; esac
}

# read_current DOCUMENT FOLDER: sets current_version, expires, roots_hash and krl_hash
read_current() {
    split "$1" "$2" || return 1
    rank=0
    while IFS= read -r line; do
        # shellcheck disable=SC2086
        set -- $line
        [ "$*" = "$line" ] || return 1
        case $rank.$#.${1-} in
        0.1.daypass-current-v1) ;;
        1.2.version) current_version=$2; number "$2" ;;
        2.2.expires) expires=$2; number "$2" ;;
        3.2.roots) roots_hash=$2; is_hash "$2" ;;
        4.2.krl) krl_hash=$2; is_hash "$2" ;;
        *) false ;;
        esac || return 1
        rank=$((rank + 1))
    done <"$2/text"
    [ "$rank" -eq 5 ]
}

# signed FOLDER NAMESPACE KEYS: one of the lines in KEYS signed FOLDER/text
signed() {
    sed "s/^/daypass namespaces=\"$2\" /" <"$3" >"$1/signers" || return 1
    ssh-keygen -Y verify -f "$1/signers" -I daypass -n "$2" -s "$1/armour" \
        <"$1/text" >/dev/null 2>&1
}

fingerprint() {
    # shellcheck disable=SC2046
    set -- $(ssh-keygen -l -E sha256 -f "$1" 2>/dev/null)
    echo "${2-}"
}

# keys_are_good FILE: sshd stops reading at a line that it cannot parse
keys_are_good() {
    while IFS= read -r line; do
        echo "$line" >"$staging/key.pub" || return 1
        case $(fingerprint "$staging/key.pub") in SHA256:*) ;; *) return 1 ;; esac
    done <"$1"
}

# krl_is_good FILE KEY: it is one to the OpenSSH of this host, and answers about KEY
krl_is_good() {
    [ -f "$1" ] && [ "$(head -c 6 "$1" | tr -d '\000')" = SSHKRL ] || return 1
    ssh-keygen -Q -l -f "$1" >/dev/null 2>&1 || return 1
    case $(ssh-keygen -Q -f "$1" "$2" 2>/dev/null) in *': ok') return 0 ;; esac
    return 1
}

# --- What is here -------------------------------------------------------------------

# An interrupted run had accepted this version as a whole: it is ours, so go on with it.
finish_pending() {
    [ -d "$folder/.pending" ] || return 0
    for name in .revoked.krl revoked.krl ca_keys roots current .etag; do
        [ -f "$folder/.pending/$name" ] || continue
        mv -f "$folder/.pending/$name" "$folder/$name" ||
            [ ! -f "$folder/.pending/$name" ] || return 1
    done
    flush "$folder"
    rm -rf "$folder/.pending"
}

# look: sets `known`, and roots_version, current_version, ... of what is here
#
# If somebody else's change of them was interrupted, they do not fit each other, and we
# know of nothing; but what is older than either is refused all the same.
look() {
    known=no etag=''
    [ -f "$folder/roots" ] && read_roots "$folder/roots" "$staging/ours" ||
        roots_version=0
    [ -f "$folder/current" ] && read_current "$folder/current" "$staging/ours" ||
        current_version=0 expires=0 roots_hash='' krl_hash=''
    if [ "$roots_version" -gt 0 ] && hash_is "$roots_hash" "$folder/roots"; then
        known=yes
        [ ! -r "$folder/.etag" ] || etag=$(cat "$folder/.etag")
    fi
}

# What sshd reads must be what `current` says, whoever changed it meanwhile.
restore() {
    is_whole && return
    if ! { is_only_ours "$folder/ca_keys" &&
        cmp -s "$staging/ours/ca_keys" "$folder/ca_keys"; }
    then
        say "ca_keys is not what the roots say; putting it back"
        cp "$staging/ours/ca_keys" "$staging/keys" && put "$staging/keys" ca_keys ||
            return 1
    fi
    krl_is_ahead && return
    is_only_ours "$folder/revoked.krl" && hash_is "$krl_hash" "$folder/revoked.krl" ||
        restore_krl || return 1
    hash_is "$krl_hash" "$folder/.revoked.krl" ||
        { cp "$folder/revoked.krl" "$staging/krl" && put "$staging/krl" .revoked.krl; }
}

is_whole() {
    [ "$known" = yes ] || return 0
    # sshd does not look at whose they are, nor at their modes.
    is_only_ours "$folder/ca_keys" && is_only_ours "$folder/revoked.krl" || return 1
    cmp -s "$staging/ours/ca_keys" "$folder/ca_keys" || return 1
    if hash_is "$krl_hash" "$folder/revoked.krl"; then
        cmp -s "$folder/revoked.krl" "$folder/.revoked.krl"
    else
        krl_is_ahead
    fi
}

# Somebody else, such as ca-deploy, put a newer one there: a KRL has the version of its
# *current*. To put ours back would un-revoke.
krl_is_ahead() {
    is_only_ours "$folder/revoked.krl" &&
        krl_is_good "$folder/revoked.krl" "$staging/ours/root.pub" || return 1
    version=$(ssh-keygen -Q -l -f "$folder/revoked.krl" 2>/dev/null |
        sed -n 's/^# KRL version \([0-9]*\)$/\1/p' | head -n 1)
    number "$version" && [ "$version" -gt "$current_version" ]
}

restore_krl() {
    say "revoked.krl is not the one that current names; putting it back"
    if hash_is "$krl_hash" "$folder/.revoked.krl"; then
        cp "$folder/.revoked.krl" "$staging/krl" || return 1
    else
        (fetch "/v1/trust/blob/$krl_hash" "$staging/krl" "$KRL_BYTES") >/dev/null
        hash_is "$krl_hash" "$staging/krl" || return 1
    fi
    put "$staging/krl" revoked.krl
}

# put FILE NAME: in one moment; FILE is in a folder of the same file system
put() {
    flush "$1"
    mv -f "$1" "$folder/$2"
}

# --- What the CA has ----------------------------------------------------------------

# Exits 0, having said nothing, when we have the newest; else says why not. In a $(...).
pull() {
    new=$staging/new take=$staging/take
    mkdir -p "$new/roots" "$take" || refuse disk "cannot write to $folder"
    old_roots=$roots_version old_current=$current_version
    unless=$etag
    ask /v1/trust/current "$take/current" "$DOCUMENT_BYTES"
    unless=
    if [ "$known.$http" != yes.304 ]; then
        accept /v1/trust/current "$take/current" "$DOCUMENT_BYTES"
        if [ "$known" = no ] || ! cmp -s "$take/current" "$folder/current"; then
            sed -n 's/^[Ee][Tt][Aa][Gg]: *\("[!#-~]*"\).*/\1/p' <"$staging/headers" |
                tail -n 1 >"$take/.etag"
            take_roots
            judge_current
            take_krl
            install_all
            return 0
        fi
    fi
    [ "$expires" -gt "$(now)" ] ||
        refuse expired "the CA has nothing newer than what expired"
}

take_roots() {
    read_current "$take/current" "$new" ||
        refuse malformed "current is not a document that we read"
    if [ "$known" = yes ] && hash_is "$roots_hash" "$folder/roots"; then
        cp "$folder/roots" "$take/roots"
    else
        fetch "/v1/trust/blob/$roots_hash" "$take/roots" "$DOCUMENT_BYTES"
    fi
    hash_is "$roots_hash" "$take/roots" ||
        refuse hash "the roots are not those that current names"
    read_roots "$take/roots" "$new/roots" ||
        refuse malformed "the roots are not a document that we read"
    [ "$(fingerprint "$new/roots/root.pub")" = "$pin" ] ||
        refuse pin "the root key is not the one that is pinned"
    signed "$new/roots" daypass-roots "$new/roots/root.pub" ||
        refuse signature "the roots are not signed by the root key"
    keys_are_good "$new/roots/ca_keys" ||
        refuse ca-keys "this OpenSSH cannot read a CA key of the roots"
    cp "$new/roots/ca_keys" "$take/ca_keys" || refuse disk "cannot write to $folder"
}

judge_current() {
    signed "$new" daypass-current "$new/roots/online" ||
        refuse signature "current is not signed by an active online key"
    if [ "$roots_version" -lt "$old_roots" ] || {
        [ "$roots_version" -eq "$old_roots" ] &&
            [ "$current_version" -lt "$old_current" ]
    }; then
        refuse older "version $roots_version/$current_version is older than ours"
    fi
    if [ "$roots_version/$current_version" = "$old_roots/$old_current" ]; then
        refuse conflict "two documents have version $roots_version/$current_version"
    fi
    [ "$expires" -gt "$(now)" ] ||
        refuse expired "current $current_version expired, by the clock of this host"
}

take_krl() {
    if hash_is "$krl_hash" "$folder/revoked.krl"; then
        cp "$folder/revoked.krl" "$take/revoked.krl"
    else
        fetch "/v1/trust/blob/$krl_hash" "$take/revoked.krl" "$KRL_BYTES"
    fi
    hash_is "$krl_hash" "$take/revoked.krl" ||
        refuse hash "the KRL is not the one that current names"
    krl_is_good "$take/revoked.krl" "$new/roots/root.pub" ||
        refuse krl "this OpenSSH cannot read the KRL"
}

# From the rename of the folder on, this version is ours.
install_all() {
    cp "$take/revoked.krl" "$take/.revoked.krl" &&
        cmp -s "$take/revoked.krl" "$take/.revoked.krl" &&
        cmp -s "$new/roots/ca_keys" "$take/ca_keys" &&
        chmod 0644 "$take/revoked.krl" "$take/ca_keys" "$take/roots" "$take/current" &&
        flush "$take/.revoked.krl" "$take/revoked.krl" "$take/ca_keys" "$take/roots" \
            "$take/current" "$take/.etag" "$take" &&
        mv "$take" "$folder/.pending" && flush "$folder" && finish_pending && return 0
    refuse disk "cannot write to $folder"
}

# --- What we tell the CA ------------------------------------------------------------

# send PATH: signs $staging/say with the host key, sends it; the answer is in `answer`
send() {
    ssh-keygen -Y sign -n daypass-host -f "$host_key" <"$staging/say" \
        >"$staging/armour" 2>/dev/null || { say "cannot sign with $host_key"; return 1; }
    cat "$staging/say" "$staging/armour" >"$staging/post" || return 1
    ask "$1" "$staging/answer" "$DOCUMENT_BYTES" "$staging/post"
}

# Say what is applied: when it changed, and now and then. `.reported` is what was said
# last, when, and what came back.
report() {
    [ "$report.$known" = yes.yes ] || return 0
    hash=$(sha256 "$folder/current") time=$(now)
    said='' at=0 answer=''
    [ ! -f "$folder/.reported" ] || read -r said at answer <"$folder/.reported"
    number "$at" || at=0
    wait=$REPORT_SECONDS
    case $answer in 20[04]) ;; *) wait=$REFUSED_SECONDS ;; esac
    if [ "$said" = "$hash" ] && [ "$at" -le "$time" ] && [ $((time - at)) -lt "$wait" ]
    then return 0; fi
    printf '%s\n' daypass-host-report-v1 "host $host" "origin $url" \
        "roots-version $roots_version" "current-version $current_version" \
        "current-sha256 $hash" "time $time" >"$staging/say" || return 1
    send /v1/host-reports || return 1
    # What was neither taken nor refused is sent again at once. wget knows no 204.
    case $http in
    20[04] | 4*)
        echo "$hash $time $http" >"$staging/reported" &&
            mv -f "$staging/reported" "$folder/.reported" ;;
    esac
    case $http in 20[04]) ;; *) say "the CA did not take our report: $http" ;; esac
}

# `.ended` names the KRL whose sessions were ended. They are looked for once more after a
# moment: a login that read the KRL before may have been logged only then.
end_sessions() {
    [ "$end_sessions.$known" = yes.yes ] || return 0
    ended='' at=0
    [ ! -f "$folder/.ended" ] || read -r ended at <"$folder/.ended"
    number "$at" || at=0
    [ "$ended" != "$krl_hash" ] || [ "$at" -gt 0 ] || return 0
    time=$(now)
    "${DAYPASS_ROOT-}/usr/local/sbin/daypass-end-sessions" 9>&- || return 1
    if [ "$ended" != "$krl_hash" ]; then at=$time; fi
    if [ $((time - at)) -ge "$SETTLE_SECONDS" ] || [ "$at" -gt "$time" ]; then at=0; fi
    echo "$krl_hash $at" >"$staging/ended" && mv -f "$staging/ended" "$folder/.ended"
}

# --- What monitoring is told --------------------------------------------------------

# earlier NAME: a number from the status before this one, or 0
earlier() {
    value=$(sed -n "s/^$1=//p" "$folder/status" 2>/dev/null)
    if number "$value"; then echo "$value"; else echo 0; fi
}

# conclude RESULT REASON: writes `status`, rings, and ends
conclude() {
    result=$1 time=$(now) alarm=no code=0
    reason=${2%%: *} detail=
    case $2 in *': '*) detail=${2#*: } ;; esac
    [ "$result" = ok ] || code=1
    [ "$reason" != unreachable ] || code=7
    if [ "$known" = no ] || [ "$expires" -le "$time" ]; then alarm=yes code=1; fi
    [ "$result" != failed ] || code=1
    applied=$(earlier applied)
    if [ "$known" = yes ] && { [ "$applied" -eq 0 ] ||
        [ "$(earlier roots_version)/$(earlier current_version)" != \
            "$roots_version/$current_version" ]; }
    then applied=$time; fi
    logged=$(earlier logged)
    before=$(sed -n -e '/^result=/p' -e '/^reason=/p' -e '/^alarm=/p' "$folder/status" \
        2>/dev/null)
    if [ "$before" != "$(printf '%s\n' "result=$result" "reason=$reason" "alarm=$alarm")" ] ||
        { [ "$alarm" = yes ] && { [ $((time - logged)) -ge "$ALARM_SECONDS" ] ||
            [ "$logged" -gt "$time" ]; }; }
    then
        [ "$result.$logged" = ok.0 ] || ring
        logged=$time
    fi
    printf '%s\n' "result=$result" "reason=$reason" "alarm=$alarm" "detail=$detail" \
        "roots_version=$roots_version" "current_version=$current_version" \
        "applied=$applied" "checked=$time" "expires=$expires" "logged=$logged" \
        "certificate_expires=$(certificate_expires)" 2>/dev/null >"$staging/status" &&
        mv -f "$staging/status" "$folder/status" && exit "$code"
    say "cannot write $folder/status"
    exit 1
}

# ring: one line to the journal or syslog, and to whoever reads standard error
ring() {
    level=warning
    [ "$alarm" = no ] || level=err
    [ "$result" != ok ] || level=notice
    line="$result${detail:+: $detail}; have $roots_version/$current_version"
    [ "$alarm" = no ] || line="ALARM: $line, which is not in date"
    say "$line"
    # Under systemd the line above is in the journal already.
    [ -n "${JOURNAL_STREAM-}" ] || ! has logger ||
        logger -t daypass-pull -p "daemon.$level" "$line" 9>&- 2>/dev/null || :
}

# join TOKEN-FILE: a token is a secret, so it is no argument
join() {
    [ -n "$host" ] && [ -n "$host_key" ] || misuse "--join needs host= and host_key="
    case $url in
    https:*)
        has curl || has_gnu_wget ||
            misuse "--join needs curl: this wget would tell the token to anybody" ;;
    esac
    token=$(cat "$1") || return 1
    case $token in '' | *[!A-Za-z0-9_-]*) misuse "$1 holds no join token" ;; esac
    {
        printf '%s\n' daypass-host-join-v1 "origin $url" "host $host"
        [ -z "$names" ] || echo "$names" | tr , '\n' | sed 's/^/name /'
        sed 's/^\([^ ]* [^ ]*\).*/key \1/' <"$host_key.pub"
        printf '%s\n' "pulls yes" "token $token" "time $(now)"
    } >"$staging/say" || return 1
    send /v1/hosts || return 1
    answered 20[01]
}

# answered PATTERN: the CA said so; otherwise say what it said
answered() {
    # shellcheck disable=SC2254  # a pattern it is
    case $http in $1) return 0 ;; esac
    say "$url answered $http: $(words "$staging/answer")"
    case $http in 000 | 5*) return 7 ;; esac
    return 1
}

# --- The host certificate -----------------------------------------------------------

# seconds YYYY-MM-DDThh:mm:ss: Unix time of a time in UTC (days from civil, March first)
seconds() {
    # shellcheck disable=SC2086
    { IFS=-T:; set -- $1; }
    y=$1 m=${2#0} d=${3#0} hour=${4#0} minute=${5#0} second=${6#0}
    [ "$m" -gt 2 ] || { y=$((y - 1)) m=$((m + 12)); }
    days=$((365 * y + y / 4 - y / 100 + y / 400 + (153 * (m - 3) + 2) / 5 + d - 719469))
    echo $((days * 86400 + hour * 3600 + minute * 60 + second))
}

# read_times CERTIFICATE: sets valid_after and valid_before, or fails
read_times() {
    valid=$(ssh-keygen -L -f "$1" 2>/dev/null |
        sed -n 's/^ *Valid: from \([0-9T:-]*\) to \([0-9T:-]*\)$/\1 \2/p' | head -n 1)
    [ -n "$valid" ] || return 1
    valid_after=$(seconds "${valid% *}") valid_before=$(seconds "${valid#* }")
}

certificate_expires() {
    [ -n "$host_key" ] && read_times "$host_key-cert.pub" && echo "$valid_before"
}

# judge CERTIFICATE: a host certificate for our key, by a host CA key of the roots, for
# all of `names`, good now. What is before the key ID cannot be forged by one.
judge() {
    [ -f "$1" ] && [ "$(tr -d '\n\040-\176' <"$1" | wc -c)" -eq 0 ] &&
        [ "$(($(wc -l <"$1")))" -eq 1 ] || return 1
    ssh-keygen -L -f "$1" >"$staging/shown" 2>/dev/null || return 1
    sed -n 2p "$staging/shown" | grep -q ' host certificate$' || return 1
    ours=$(fingerprint "$host_key.pub")
    case $(sed -n 3p "$staging/shown") in *" $ours") ;; *) return 1 ;; esac
    signed_by=$(sed -n '4s/^ *Signing CA: [^ ]* \(SHA256:[^ ]*\) .*/\1/p' "$staging/shown")
    speaks_for_hosts "$signed_by" || return 1
    sed -n '/^ *Principals: *$/,/^ *Critical Options:/s/^ *\([^ ]*\)$/\1/p' \
        "$staging/shown" >"$staging/principals"
    [ -s "$staging/principals" ] || return 1
    for name in $(echo "$names" | tr , ' '); do
        grep -q -x -F -e "$name" "$staging/principals" || return 1
    done
    read_times "$1" && [ "$valid_after" -le "$(now)" ] && [ "$valid_before" -gt "$(now)" ]
}

speaks_for_hosts() {
    while IFS= read -r line; do
        echo "$line" >"$staging/key.pub"
        [ "$(fingerprint "$staging/key.pub")" != "$1" ] || return 0
    done <"$staging/ours/host_ca"
    return 1
}

is_due() {
    judge "$certificate" || return 0
    [ "$(now)" -ge $(((valid_after + valid_before) / 2)) ]
}

renew() {
    [ -n "$host" ] && [ -n "$host_key" ] || misuse "--renew needs host= and host_key="
    [ "$known" = yes ] || { say "no trust bundle yet: pull first"; return 1; }
    certificate=$host_key-cert.pub
    is_due || return 0
    # shellcheck disable=SC2046
    set -- $(cat "$host_key.pub")
    printf '%s\n' daypass-host-renewal-v1 "host $host" "origin $url" "key $1 $2" \
        "time $(now)" >"$staging/say" || return 1
    send /v1/host-certificates/renew || return 1
    answered 200 || return
    cp "$staging/answer" "$staging/host-cert.pub"
    judge "$staging/host-cert.pub" ||
        { say "the CA sent a host certificate that is not ours"; return 1; }
    install_certificate && reload_sshd && is_served
}

# Beside the key, so that the rename is one; the one before comes back if sshd would not
# start with it.
install_certificate() {
    before=$staging/before
    [ ! -f "$certificate" ] || cp "$certificate" "$before" || return 1
    replace_certificate "$staging/host-cert.pub" || return 1
    ! has sshd || sshd -t 2>"$staging/said" || {
        say "sshd refuses the new host certificate: $(words "$staging/said")"
        if [ -f "$before" ]; then replace_certificate "$before"
        else rm -f "$certificate"; fi
        return 1
    }
    say "host certificate renewed, good until $(date -u -d "@$valid_before" 2>/dev/null)"
}

replace_certificate() {
    rm -f "$certificate".new.*
    cp "$1" "$certificate.new.$$" && chmod 0644 "$certificate.new.$$" &&
        flush "$certificate.new.$$" && mv -f "$certificate.new.$$" "$certificate"
}

# sshd keeps the certificate that it loaded when it began.
reload_sshd() {
    [ -n "$reload" ] || return 0
    sh -c "$reload" 9>&- >&2 || { say "reload failed: $reload"; return 1; }
}

# What the port shows is what counts: another HostCertificate line may be in the way.
is_served() {
    [ -n "$reload" ] && has sshd && has ssh-keyscan || return 0
    port=$(sshd -T 2>/dev/null | sed -n 's/^port //p' | head -n 1)
    blob=$(cut -d ' ' -f 2 <"$certificate")
    kind=$(cut -d ' ' -f 1 <"$certificate" | sed -e 's/^ssh-//' -e 's/-.*//')
    for _ in 1 2 3 4 5; do
        ssh-keyscan -c -t "$kind" -T 5 -p "${port:-22}" 127.0.0.1 2>/dev/null |
            grep -q -F -e " $blob" && return 0
        sleep 1
    done
    say "sshd on port ${port:-22} does not show the new certificate: see HostCertificate"
    return 1
}

# --- One run ------------------------------------------------------------------------

jitter() {
    number "$1" && [ "$1" -gt 0 ] || misuse "--jitter takes a number of seconds"
    any=$({ uname -n; echo "$$ $(now)"; } | cksum)
    sleep $((${any%% *} % $1))
}

begin() {
    read_config
    has ssh-keygen || misuse "ssh-keygen is not installed"
    has curl || has wget || misuse "neither curl nor wget is installed"
    take_lock || { say "cannot have the lock of $folder: is another run stuck?"; exit 1; }
}

stage() {
    set +f
    rm -rf "$folder"/.staging.*
    set -f
    staging=$folder/.staging.$$
    trap 'rm -rf "$staging"' EXIT
    trap 'exit 143' HUP INT TERM
    # Root's alone: a join token may come to lie there, or what was not judged yet.
    if ! mkdir -m 0700 "$staging" || ! mkdir "$staging/ours"; then
        say "cannot write to $folder"
        exit 1
    fi
}

run() {
    if finish_pending; then
        look
        restore || :
        why=$(pull) || why=${why:-failed: an error in this script}
        # What a pull accepted, it took away from there.
        if [ ! -d "$staging/take" ]; then
            finish_pending || why="disk: cannot write to $folder"
            look
        fi
    else
        look
        why="disk: cannot write to $folder"
    fi
    result=kept
    [ -n "$why" ] || result=ok
    [ "$known" = yes ] || result=failed
    is_whole || restore || { result=failed why="lost: what current names is not here"; }
    end_sessions || say "sessions of revoked certificates may go on"
    # Somebody who revoked waits for this word: never for what sshd does not read.
    case $result/$why in failed/* | */unreachable*) ;; *) report || : ;; esac
    conclude "$result" "$why"
}

main() {
    case ${1-} in
    --locked)
        shift
        [ $# -gt 0 ] || misuse "--locked takes a command"
        begin
        # Else the next run would put what was accepted before over what the command did.
        finish_pending || { say "cannot write to $folder"; exit 1; }
        exec "$@" ;;
    --join)
        [ $# -eq 2 ] && [ -r "$2" ] || misuse "--join takes a file that holds a token"
        begin
        stage
        join "$2"
        exit ;;
    --renew)
        begin
        stage
        finish_pending && look && renew
        exit ;;
    --jitter) jitter "${2-}" ;;
    '') ;;
    *) misuse "not an option: $1 (see the top of $0)" ;;
    esac
    begin
    stage
    run
}

main "$@"
