#!/bin/sh
# Makes sure the machine has what Daypass's own tests and demo need from it.
#
#     tests/setup.sh [COMMAND...]
#
# Prints the Python to use. A missing COMMAND (or Python's venv module) is installed
# by apt-get when we are root or sudo asks for no password; otherwise this says what
# to type, and fails. $PYTHON names another Python than the one found here.
set -eu

say() { echo "setup: $*" >&2; }

# sys.executable sees through a version manager's shim, which would cost every
# process 100 ms. The system's own builds come first: they are optimised.
find_python() {
    for python in ${PYTHON:-/usr/bin/python3.13 /usr/bin/python3.12 \
        /usr/bin/python3.11 /usr/bin/python3 python3}; do
        "$python" -c 'import sys
sys.exit(print(sys.executable) if sys.version_info >= (3, 11) else 1)' \
            2>/dev/null && return
    done
    say "no Python 3.11 or newer: install one, or name it: make PYTHON=/path/to/python3"
    return 1
}

python=$(find_python)
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps sshd, out of ordinary users' PATH
for folder in /usr/lib/postgresql/*/bin; do # and its servers, one folder a version
    PATH=$PATH:$folder
done

missing=
lacks() {
    case $missing in *" $1"*) ;; *) missing="$missing $1" ;; esac
}

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    lacks "$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
for command in "$@"; do
    command -v "$command" >/dev/null && continue
    case $command in
    ssh | ssh-keygen) lacks openssh-client ;;
    sshd) lacks openssh-server ;;
    plink) lacks putty-tools ;;
    /usr/lib/openssh/regress/*) lacks openssh-tests ;; # OpenSSH's own
    postgres) lacks postgresql ;;
    *) lacks "$command" ;;
    esac
done

if [ -n "$missing" ]; then
    install="apt-get install -qq --yes --no-install-recommends$missing"
    if ! command -v apt-get >/dev/null; then
        say "this machine lacks, by their Debian names:$missing"
        exit 1
    elif [ "$(id -u)" = 0 ]; then
        sudo=
    elif sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        say "some packages are missing; type: sudo apt-get update && sudo $install"
        exit 1
    fi
    say "installing$missing"
    case $missing in *cloud-init*)
        # We want its check of files; it is not to set up this machine.
        $sudo mkdir -p /etc/cloud && $sudo touch /etc/cloud/cloud-init.disabled ;;
    esac
    $sudo apt-get -qq update >&2
    $sudo env DEBIAN_FRONTEND=noninteractive $install >&2
    case $missing in *openssh-server*)
        # The tests start their own; nobody asked for one that serves the network.
        $sudo systemctl disable --now ssh.service ssh.socket >/dev/null 2>&1 || true ;;
    esac
    case $missing in *postgresql*)
        $sudo systemctl disable --now postgresql.service >/dev/null 2>&1 || true ;;
    esac
    case $missing in *nginx*)
        $sudo systemctl disable --now nginx.service >/dev/null 2>&1 || true ;;
    esac
fi

# Where sshd, started by root, wants its empty directory; the service would make it.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

echo "$python"
