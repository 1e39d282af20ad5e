# shellcheck shell=sh disable=SC2154 # what facts.sh has set
# Authorized keys: where they are, when they were used, and what was taken away. It goes
# before `facts.sh`, which calls it when it is asked for them.

# Where sshd looks for the authorized keys of every account, what is there, and the
# folders above it: whoever can write to one of them decides what is there.
read_keys() {
    everybody=$("$sshd" -T -f "$config" 2>/dev/null </dev/null)
    echo "$everybody" | awk 'tolower($1) == "authorizedkeyscommand" && $2 != "none" {
        sub(/^[^ ]* /, ""); print "= keyscommand " $0 }'
    matches=no
    # shellcheck disable=SC2046 # the files that are there
    ! grep -Eiqs '^[[:space:]]*match[[:space:]=]' "$config" \
        $(ls -d "$config".d/* /etc/ssh/sshd_config.d/* 2>/dev/null) || matches=yes
    while IFS=: read -r name _ uid _ _ home _ <&3; do
        said=$everybody
        [ "$matches" = no ] ||
            said=$("$sshd" -T -f "$config" -C "user=$name,$where" 2>/dev/null </dev/null)
        strict=$(echo "$said" | awk 'tolower($1) == "strictmodes" { print $2 }')
        set -f
        for pattern in $(echo "$said" | sed -n 's/^authorizedkeysfile //p'); do
            path=$(echo "$pattern" | awk -v h="$home" -v u="$name" -v n="$uid" '{
                gsub(/%%/, "\001"); gsub(/%h/, h); gsub(/%u/, u); gsub(/%U/, n)
                gsub(/\001/, "%"); print }')
            case $path in none) continue ;; /*) ;; *) path=$home/$path ;; esac
            [ -f "$path" ] || continue
            record keysfile "$name" "$uid" "${strict:-yes}" "$home" "$path"
            keys_file "$path"
            above "$path"
        done
        set +f
    done 3</etc/passwd
    read_used
}

# A link may lead anywhere, and a file be as long as its owner likes: neither is read.
keys_file() {
    # shellcheck disable=SC2012 # type and size: they hold nothing odd
    set -- "$1" "$(ls -ldn "$1" 2>/dev/null | awk '{ print substr($1, 1, 10), $3, $4, $5 }')"
    if [ -f "$1" ] && [ ! -h "$1" ] && [ "${2##* }" -lt 1048576 ]; then file "$1" text
    else record file "${2% *}" - "$1"; fi
}

above() {
    set -- "$(dirname "$1")"
    while [ "$1" != / ] && [ "$1" != . ]; do
        file "$1"
        set -- "$(dirname "$1")"
    done
}

# The last line in sshd's log about each key of each account. Whoever may write to the log
# can write such a line; it says no more than that.
read_used() {
    {
        # shellcheck disable=SC2012 # by age, and such names hold nothing odd
        ls -tr /var/log/auth.log* /var/log/secure* | while read -r log; do
            case $log in *.gz) gzip -dc "$log" ;; *.xz) xz -dc "$log" ;; *) cat "$log" ;; esac
        done
        ! has journalctl || journalctl -q --no-pager -o short-iso -t sshd -t sshd-session
    } 2>/dev/null | awk '/Accepted publickey for [^ ]+ from / && / SHA256:/ {
        time = $1 ~ /^[0-9]+-/ ? substr($1, 1, 19) : $1 " " $2 " " $3
        sub(/.*Accepted publickey for /, "")
        name = $1
        if ($0 ~ /-CERT SHA256:/) next
        sub(/.* SHA256:/, ""); sub(/[^A-Za-z0-9+\/].*/, "")
        last[name " SHA256:" $0] = time
    } END { for (key in last) print "= used " key " " last[key] }' | sort
}

# What the last retirement took away, as whom it belongs to.
read_retired() {
    [ -f "$state/retired" ] || return 0
    retired=$(cat "$state/retired")
    record retired "$retired"
    while read -r kind _ number _ path <&3; do
        case $kind in keys:*) ;; *) continue ;; esac
        record back "${kind#keys:}" "$path"
        [ ! -f "$state/$retired/old/$number" ] || quote <"$state/$retired/old/$number"
    done 3<"$state/$retired/manifest"
}
