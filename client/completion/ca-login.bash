# Completes ca-login in bash. Written by: python -m tests.completion

_ca_login() {
    local word=$2 before=$3 command='' words='' file
    COMPREPLY=()
    if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
        command=${COMP_WORDS[1]}
    fi
    case $before in
        --profile)
            for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/daypass/*.json; do
                file=${file##*/}
                words+=" ${file%.json}"
            done
            words=${words/ \*/} ;;
        --agent) words='never auto only' ;;
        --flow) words='browser device ci' ;;
        --key|--token-file|--ppk)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        --issuer|--pin|--principal|--reason|--validity) return ;;
    esac
    if [[ -z $words && $word == -* ]]; then
        case $command in
            '') words='--profile --json --verbose --principal --validity --agent --reason --key --issuer --token-file --print-audience --no-open --browser --device --help' ;;
            setup) words='--profile --json --verbose --pin --flow --agent --help' ;;
            check) words='--profile --json --verbose --help' ;;
            ensure) words='--profile --json --verbose --help' ;;
            ssh-config) words='--profile --json --verbose --help' ;;
            ssh) words='--profile --json --verbose --principal --validity --reason --one-shot --help' ;;
            sftp) words='--profile --json --verbose --principal --validity --reason --one-shot --help' ;;
            scp) words='--profile --json --verbose --principal --validity --reason --one-shot --help' ;;
            exec) words='--profile --json --verbose --principal --validity --reason --help' ;;
            doctor) words='--profile --json --verbose --help' ;;
            why) words='--profile --json --verbose --help' ;;
            export) words='--profile --json --verbose --ppk --help' ;;
            status) words='--profile --json --verbose --help' ;;
            logout) words='--profile --json --verbose --help' ;;
        esac
    elif [[ -z $words ]]; then
        case $command in
            '') words='setup check ensure ssh-config ssh sftp scp exec doctor why export status logout' ;;
            ssh-config) words='install print remove' ;;
            ssh|sftp|scp|why)
                mapfile -t COMPREPLY < <(compgen -f -A hostname -- "$word")
                return ;;
            exec)
                mapfile -t COMPREPLY < <(compgen -c -- "$word")
                return ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _ca_login ca-login
