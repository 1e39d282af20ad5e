# Completes ca-login in fish. Written by: python -m tests.completion

function __ca_login_profiles
    set -l config $XDG_CONFIG_HOME $HOME/.config
    for file in $config[1]/daypass/*.json
        path basename -E $file 2>/dev/null; or basename $file .json
    end
end

complete -c ca-login -f
complete -c ca-login -n __fish_use_subcommand -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n __fish_use_subcommand -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n __fish_use_subcommand -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n __fish_use_subcommand -l principal -d 'an account to log in as; again for more' -x
complete -c ca-login -n __fish_use_subcommand -l validity -d 'how long: 8h, 30m, 1h30m' -x
complete -c ca-login -n __fish_use_subcommand -l agent -d 'never (the default): the key is in a file; auto: in your ssh-agent,' -x -a 'never auto only'
complete -c ca-login -n __fish_use_subcommand -l reason -d 'for the record' -x
complete -c ca-login -n __fish_use_subcommand -l key -d 'for a key that you have, also a FIDO key' -r -F
complete -c ca-login -n __fish_use_subcommand -l issuer -d 'at which identity provider, where there are several' -x
complete -c ca-login -n __fish_use_subcommand -l token-file -d 'with an ID token that you have; - is stdin' -r -F
complete -c ca-login -n __fish_use_subcommand -l print-audience -d 'of --key: for which audience CI must get a token for that key'
complete -c ca-login -n __fish_use_subcommand -l no-open -d 'only print the URL, open no browser'
complete -c ca-login -n __fish_use_subcommand -l browser -d 'sign in by browser, wherever we are'
complete -c ca-login -n __fish_use_subcommand -l device -d 'by a code, wherever we are'
complete -c ca-login -n __fish_use_subcommand -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a setup -d 'get to know a CA, once on a new machine'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l profile -d 'what to call this CA (default: default)' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l verbose -d 'show each step'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l pin -d 'the root key\'s fingerprint, as `ca-admin init` printed it' -x
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l flow -d 'always sign in by browser, device or ci; else by what suits' -x -a 'browser device ci'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l agent -d 'whether your ssh-agent is to have each day\'s key: never, auto, only' -x -a 'never auto only'
complete -c ca-login -n '__fish_seen_subcommand_from setup' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a check -d 'is the certificate good now; at once, without network'
complete -c ca-login -n '__fish_seen_subcommand_from check' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from check' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from check' -l verbose -d 'say why, or for how long'
complete -c ca-login -n '__fish_seen_subcommand_from check' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a ensure -d 'have a good certificate, and sign in for it if there is none'
complete -c ca-login -n '__fish_seen_subcommand_from ensure' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from ensure' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from ensure' -l verbose -d 'show each step'
complete -c ca-login -n '__fish_seen_subcommand_from ensure' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a ssh-config -d 'have ssh use the certificate by itself, for the CA\'s hosts'
complete -c ca-login -n '__fish_seen_subcommand_from ssh-config' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from ssh-config' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from ssh-config' -l verbose -d 'show each step'
complete -c ca-login -n '__fish_seen_subcommand_from ssh-config' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from ssh-config' -a 'install print remove'
complete -c ca-login -n __fish_use_subcommand -a ssh -d 'sign in if need be, then ssh'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l json -d 'a failure of ours as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l principal -d 'another than a day begins with; again for more. Somebody signs in' -x
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l validity -d 'of --principal: how long, as 30m' -x
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l reason -d 'for the record, where policy wants one' -x
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l one-shot -d 'a key and a certificate for this alone, for five minutes, with the'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from ssh' -F -a '(__fish_complete_user_at_hosts)'
complete -c ca-login -n __fish_use_subcommand -a sftp -d 'sign in if need be, then sftp'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l json -d 'a failure of ours as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l principal -d 'another than a day begins with; again for more. Somebody signs in' -x
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l validity -d 'of --principal: how long, as 30m' -x
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l reason -d 'for the record, where policy wants one' -x
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l one-shot -d 'a key and a certificate for this alone, for five minutes, with the'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from sftp' -F -a '(__fish_complete_user_at_hosts)'
complete -c ca-login -n __fish_use_subcommand -a scp -d 'sign in if need be, then scp'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l json -d 'a failure of ours as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l principal -d 'another than a day begins with; again for more. Somebody signs in' -x
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l validity -d 'of --principal: how long, as 30m' -x
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l reason -d 'for the record, where policy wants one' -x
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l one-shot -d 'a key and a certificate for this alone, for five minutes, with the'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from scp' -F -a '(__fish_complete_user_at_hosts)'
complete -c ca-login -n __fish_use_subcommand -a exec -d 'sign in if need be, then run any command that runs ssh'
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l json -d 'a failure of ours as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l principal -d 'another than a day begins with; again for more. Somebody signs in' -x
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l validity -d 'of --principal: how long, as 30m' -x
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l reason -d 'for the record, where policy wants one' -x
complete -c ca-login -n '__fish_seen_subcommand_from exec' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from exec' -a '(__fish_complete_subcommand)'
complete -c ca-login -n __fish_use_subcommand -a doctor -d 'is this machine in order, and where not, what to type'
complete -c ca-login -n '__fish_seen_subcommand_from doctor' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from doctor' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from doctor' -l verbose -d 'show each step'
complete -c ca-login -n '__fish_seen_subcommand_from doctor' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a why -d 'the cause of a login that fails, and the next command to type'
complete -c ca-login -n '__fish_seen_subcommand_from why' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from why' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from why' -l verbose -d 'show what ssh says'
complete -c ca-login -n '__fish_seen_subcommand_from why' -l help -d 'how it is used'
complete -c ca-login -n '__fish_seen_subcommand_from why' -F -a '(__fish_complete_user_at_hosts)'
complete -c ca-login -n __fish_use_subcommand -a export -d 'the key and its certificate in one file, for PuTTY and WinSCP'
complete -c ca-login -n '__fish_seen_subcommand_from export' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from export' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from export' -l verbose -d 'show each step'
complete -c ca-login -n '__fish_seen_subcommand_from export' -l ppk -d 'where to' -r -F
complete -c ca-login -n '__fish_seen_subcommand_from export' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a status -d 'who am I, for which principals, until when'
complete -c ca-login -n '__fish_seen_subcommand_from status' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from status' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from status' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from status' -l help -d 'how it is used'
complete -c ca-login -n __fish_use_subcommand -a logout -d 'remove the key and its certificate from this machine'
complete -c ca-login -n '__fish_seen_subcommand_from logout' -l profile -d 'which CA, where there are several' -x -a '(__ca_login_profiles)'
complete -c ca-login -n '__fish_seen_subcommand_from logout' -l json -d 'the result as JSON, on standard output'
complete -c ca-login -n '__fish_seen_subcommand_from logout' -l verbose -d 'show each step, and what was not granted'
complete -c ca-login -n '__fish_seen_subcommand_from logout' -l help -d 'how it is used'
