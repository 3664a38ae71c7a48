#!/bin/sh
# What people do to found the demo's federation, each with the product's own commands and a FLAAS_HOME of their own:
#
#   setup.sh founder                 the first administrator: accepts the invitation, appoints who runs resources
#   setup.sh administrator           makes the domain key, organisations and project, and invites
#   setup.sh node NAME               a hospital: its data, its node's key, joining with the invitation
#   setup.sh relay                   whoever runs the relay
#   setup.sh laboratory              the developer: signs in, notebooks
#   setup.sh members                 the administrator again: signs for all of them
#   setup.sh after ROLE COMMAND…     becomes the service COMMAND once the step of its FLAAS_HOME has ended
#
# Each but the last is a step of compose.yaml that ends. /srv/exchange stands for people who talk to each other: what
# is handed over there is what they would say over the telephone or hand over on paper. No service that lasts mounts it.
set -eu
umask 077

PROJECT=demo
HOSPITALS="screening regional referral"
HOMES=/var/lib/flaas
EXCHANGE=/srv/exchange
DONE=$HOMES/setup.done
LIMIT=600

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
as() ( # as PERSON ARGUMENT…: a flaas command by that person
    export FLAAS_HOME="$HOMES/$1"
    shift
    exec flaas "$@"
)
await() { # await COMMAND…: until it succeeds
    end=$(($(date +%s) + LIMIT))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || { echo "setup.sh: not after $LIMIT s: $*" >&2; exit 1; }
        sleep 0.5
    done
}
hand_over() { # hand_over NAME: standard input, whole or not at all
    cat >"$EXCHANGE/.$1" && mv "$EXCHANGE/.$1" "$EXCHANGE/$1"
}
sign_in() { # sign_in PERSON: with a token on standard input, at the API whose certificate authority is pinned
    as "$1" login "$URL" --token --ca-fingerprint "$FINGERPRINT"
}
service() { # service PERSON BY ORGANISATION ROLE: make an account, print its token
    as "$2" members add-service "$1" --organisation "$3" --role "$4" --json | field token
}

founder() {
    await test -s "$EXCHANGE/invitation"
    URL=$(field url <"$EXCHANGE/invitation")
    FINGERPRINT=$(field ca_fingerprint <"$EXCHANGE/invitation")
    await flaas-healthcheck "$URL/v1/health"
    mkdir -p "$HOMES/grace"
    python3 -c 'import secrets; print(secrets.token_urlsafe(24))' >"$HOMES/grace/password"
    { field invitation <"$EXCHANGE/invitation"; cat "$HOMES/grace/password" "$HOMES/grace/password"; } |
        as grace login "$URL" --invitation --ca-fingerprint "$FINGERPRINT"
    service olga grace platform org-admin@platform | sign_in olga
    printf 'URL=%s\nFINGERPRINT=%s\n' "$URL" "$FINGERPRINT" >"$HOMES/api"
    rm "$EXCHANGE/invitation"
}

administrator() {
    await test -e "$DONE.founder"
    . "$HOMES/api" # URL and FINGERPRINT
    await flaas-healthcheck "$URL/v1/health"
    members=""
    for name in $HOSPITALS laboratory; do
        as olga organisations add "$name"
        members="$members --organisation $name"
    done
    as olga domain init "$PROJECT"
    # shellcheck disable=SC2086 # one word each
    as olga projects add "$PROJECT" --name Demo --description "Three hospitals and a laboratory" $members

    service developer olga laboratory developer@organisation:laboratory >"$HOMES/token"
    for part in "url=$URL" "ca_fingerprint=$FINGERPRINT" "token=$(cat "$HOMES/token")"; do echo "$part"; done |
        python3 -c 'import json, sys; print(json.dumps(dict(line.strip().split("=", 1) for line in sys.stdin)))' |
        hand_over laboratory
    rm "$HOMES/token"
    for name in $HOSPITALS; do invite "$name" "$name"; done
    invite relay laboratory
}

members() {
    await test -e "$DONE.administrator"
    for name in $HOSPITALS; do sign "$name" "$name" node; done
    sign laboratory laboratory developer
    sign relay laboratory relay
    await test -s "$EXCHANGE/relay.ca"
    cp "$EXCHANGE/relay.ca" "$HOMES/relay.pem"
    as olga domain network "$PROJECT" --relay "hub=https://relay:8443,$HOMES/relay.pem"
}
invite() { # invite NODE ORGANISATION: as an operator there
    service "operator-$1" olga "$2" "operator@organisation:$2" | sign_in "operator-$1"
    as "operator-$1" node invite "$1" --project "$PROJECT" --json | hand_over "$1"
}
sign() { # sign NAME ORGANISATION ROLE: whose id was told by its owner, not by the API
    await test -s "$EXCHANGE/$1.id"
    as olga domain sign "$PROJECT" "$(cat "$EXCHANGE/$1.id")" --organisation "$2" --role "$3"
}
join() { # join NAME: run the command of the invitation, and tell the administrator the node's id
    await test -s "$EXCHANGE/$1"
    field secret <"$EXCHANGE/$1" | sh -c "$(field command <"$EXCHANGE/$1")"
    rm "$EXCHANGE/$1"
    flaas node status --json | field node_id | hand_over "$1.id"
}

node() {
    python3 - "$1" <<'PY'
import sys
from flaas_jupyter.demo import breast_cancer
breast_cancer.load().hospitals[sys.argv[1]].to_csv("/srv/data/biopsies.csv", index=False)
PY
    join "$1"
    # The owner's own decision, in the owner's own file: statistics too, as the second notebook asks for.
    sed -i 's/^operations = .*/operations = ["train", "analytics"]/' "$FLAAS_HOME/node.toml"
    flaas dataset add biopsies /srv/data/biopsies.csv --target malignant --project "$PROJECT"
}

relay() {
    # The authority of `flaas relay serve --tls-private`, made before it serves: the signed network document names it.
    python3 - <<'PY'
from flaas_jupyter.communications.private_authority import PrivateAuthority
from flaas_jupyter.home import Home
PrivateAuthority(Home.default().tls, ())
PY
    hand_over relay.ca <"$FLAAS_HOME/tls/ca.pem"
    join relay
}

laboratory() {
    await test -s "$EXCHANGE/laboratory"
    field token <"$EXCHANGE/laboratory" |
        flaas login "$(field url <"$EXCHANGE/laboratory")" --token \
            --ca-fingerprint "$(field ca_fingerprint <"$EXCHANGE/laboratory")"
    rm "$EXCHANGE/laboratory"
    flaas whoami --json | field node_id | hand_over laboratory.id
    python3 -c 'import secrets; print(secrets.token_urlsafe(24), end="")' >"$FLAAS_HOME/jupyter-token"
    python3 -c 'from pathlib import Path; from flaas_jupyter.demo.lab import copy_notebook; copy_notebook(Path("notebooks"))'
}

after() {
    await test -e "$DONE.$1"
    shift
    exec "$@"
}

[ ! -e "$DONE.$1" ] || exit 0 # the federation was founded by an earlier start
"$@"
: >"$DONE.$1"
