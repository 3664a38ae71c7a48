"""What each code means, and what to do about it; `governance_meanings` has those of governance."""

from __future__ import annotations

from collections.abc import Mapping

from . import governance_meanings
from .meaning import Meaning

_READ_AGAIN = "Read the resource again and repeat the request with its present ETag in If-Match."
_SIGN = "Sign each request anew, with the node's own key, for its method, path and API."
_LOOK = "Look the id up in the list; things of organisations that share no project with yours are not shown."
_DOCUMENT = "Sign it again with the same version of flaas_jupyter on both sides."
_NEW_TOKEN = "Ask the platform's administrator for a new token, then run `flaas login`."  # noqa: S105

MEANINGS: Mapping[str, Meaning] = {
    **governance_meanings.MEANINGS,
    "account-changed": Meaning("The credentials sign in to another account", "Remove the account and enter it again."),
    "account-exists": Meaning("The account is entered already", "Remove the other one first."),
    "account-needed": Meaning("A cloud account is needed", "Choose one of the provider's accounts."),
    "aggregation-needs-updates": Meaning(
        "The aggregation rule must see single updates, or the means of enough groups",
        "`needed` is the smallest number of clients for groups of three. Choose another rule, or switch secure "
        "aggregation off.",
    ),
    "aggregation-with-privacy": Meaning(
        "The aggregation rule does not go with central or distributed privacy",
        "Choose another rule, or local privacy.",
    ),
    "analytics-too-few-nodes": Meaning(
        "Too few nodes are there to hide one among the others",
        "At least 3 nodes with the data set must be online; wait, or have one more started.",
    ),
    "answered": Meaning("The node is out of the run", "Wait for the next run."),
    "bad-aggregation-option": Meaning("The aggregation rule has no such option", "Its documentation lists them."),
    "bad-amount": Meaning("Not an amount of a charge", "Give a finite number below a thousand million."),
    "bad-bill": Meaning("The bill is not in the FOCUS format", "The entries of `errors` name rows and columns."),
    "bad-credentials": Meaning("The credentials are not complete", "The message names what is missing or unknown."),
    "bad-cursor": Meaning("The cursor is none of this list's", "Follow the `next` links, or start without one."),
    "bad-delivered": Meaning("The bill is from the future", "Set the clock right."),
    "bad-document": Meaning("Not a signed document", _DOCUMENT),
    "bad-endpoint": Meaning(
        "The cloud's address cannot be used", "The operator of the API gives an https:// address.", 500
    ),
    "bad-enrolment": Meaning(
        "The enrolment secret is not known",
        "Ask whoever has invited the node whether that was approved; launch a machine anew.",
    ),
    "bad-holders": Meaning("Not the holders of a domain key", _DOCUMENT),
    "bad-idempotency-key": Meaning("The idempotency key cannot be used", "Send 1 to 200 printable ASCII characters."),
    "bad-membership": Meaning("Not a membership", _DOCUMENT),
    "bad-network": Meaning("Not a network document", _DOCUMENT),
    "bad-need": Meaning("Nothing can need this", "The message names the figure and what is allowed."),
    "bad-node-id": Meaning("Not a node id", "Give 64 lower-case hex digits."),
    "bad-overlay": Meaning("Not a percentage off list prices", "Give a percentage above -100 and at most 100."),
    "bad-privacy": Meaning("These settings of differential privacy are none", "The message names the setting."),
    "bad-record": Meaning("Not a directory record", _DOCUMENT),
    "bad-relay-url": Meaning("Not the URL of a relay", "Give https://host[:port], without a path."),
    "bad-request": Meaning(
        "The question cannot be asked like this", "The message names the field and what is allowed."
    ),
    "bad-secrets-key": Meaning("The API's secret key cannot be used", "Its operator restores it from a backup.", 500),
    "bad-revocation": Meaning("Not a revocation", _DOCUMENT),
    "bad-rotation": Meaning("Not a statement about a new key", _DOCUMENT),
    "bad-signature": Meaning("The signature does not verify", _SIGN),
    "bad-source": Meaning("A machine cannot get at the data", "Give an https:// address."),
    "bad-tag": Meaning("Not a tag in every cloud", "Use lower-case letters, digits and '-', a letter first."),
    "bad-template": Meaning("Not a template", "The message names the field and what is allowed."),
    "bad-token": Meaning("The token is not known", _NEW_TOKEN),
    "bad-upload-key": Meaning("Not the statement of an upload key", _DOCUMENT),
    "bad-window": Meaning("No window of days", "Give from before to, and fewer days."),
    "bill-too-long": Meaning("The bill has too many rows", "Fetch fewer days at a time, or import export files."),
    "body-too-large": Meaning("The body is too large", "Send less: weights and data never go through this API.", 413),
    "clock-skew": Meaning("The node's clock is off", "Set the clock right; both times are in the answer."),
    "cloud-credentials-refused": Meaning(
        "The cloud refuses the credentials", "Make new ones in the cloud's console and enter them.", 422
    ),
    "cloud-permission-missing": Meaning(
        "A permission is missing in the cloud", "Grant the permission named, then check again.", 422
    ),
    "cloud-quota": Meaning(
        "The cloud account's own limit is reached", "Ask the cloud for a higher quota, or choose another."
    ),
    "cloud-throttled": Meaning("The cloud asks to come back later", "Wait as long as `retry_after` says."),
    "cloud-unreachable": Meaning("The cloud does not answer", "Try again later."),
    "conflict": Meaning("The present state does not permit it", "Read the resource again."),
    "credentials-unreadable": Meaning(
        "The stored credentials cannot be read", "Restore the secret key, or enter the account again."
    ),
    "database-unavailable": Meaning("The data base is away for the moment", "Try again in a second.", 503),
    "domain-key-changed": Meaning("The project has another domain key", "Ask its administrator over another channel."),
    "duplicate-nodes": Meaning("Two nodes have one name", "Give each a name of its own."),
    "enrolment-expired": Meaning("The enrolment secret has expired", "Launch anew."),
    "enrolment-used": Meaning(
        "The enrolment secret was used by another key", "If it was not your machine, end the launch."
    ),
    "forbidden-transition": Meaning("The run cannot go into this state", "Read the run and go on from its state."),
    "idempotency-mismatch": Meaning("The key was used for another request", "Use a new key for each new request."),
    "if-match-required": Meaning("The change needs If-Match", _READ_AGAIN, 428),
    "internal": Meaning("The API failed", "Its operator finds the reason in the log.", 500),
    "invalid-input": Meaning("The request is not acceptable as it is", "The entries of `errors` say what is wrong."),
    "key-not-yours": Meaning(
        "The key is another organisation's", "Use the key that your organisation's membership was signed for."
    ),
    "launch-not-stuck": Meaning("The launch cannot be resumed", "Launch anew."),
    "launch-over": Meaning("The launch is to end", "Launch anew."),
    "local-not-permitted": Meaning(
        "Nothing is launched on the API's machine", "Its operator permits it by FLAAS_LOCAL_MACHINES."
    ),
    "machine-not-offered": Meaning("The cloud does not offer this machine", "Choose another machine or region."),
    "membership-revoked": Meaning(
        "The key was taken out of the project", "If it was a mistake, whoever holds the domain key signs for it anew."
    ),
    "method-not-allowed": Meaning("The method is not possible here", "The Allow header lists those that are.", 405),
    "no-cloud-account": Meaning("There is no cloud account", "Enter one with `flaas costs account add`."),
    "no-id-column": Meaning(
        "The data set does not name its rows by this column", "Its owner registers it with `flaas dataset add … --id`."
    ),
    "no-network": Meaning(
        "The project has no network document", "Whoever holds the domain key signs one with `flaas domain network`."
    ),
    "no-rotation": Meaning("The node goes over to no other key", "It begins with `flaas node rotate`."),
    "no-target": Meaning(
        "The data set has not this target", "Its owner registers it with `flaas dataset add … --target`."
    ),
    "node-busy": Meaning("The node takes part in a run", "Wait for the run's end."),
    "node-exists": Meaning("Such a node is registered already", "Choose another name, or make a new key."),
    "node-not-a-member": Meaning(
        "The node is no member of the project now", "Whoever holds the domain key signs its membership anew."
    ),
    "node-offline": Meaning("The node is offline", "Wait until it is online, or choose another."),
    "node-removed": Meaning("The node was removed", "Register it again, then start a new run."),
    "no-upload-key": Meaning(
        "The node takes no uploads", "Its owner allows them with `uploads` in its node.toml; choose another node."
    ),
    "not-allowed": Meaning("The caller may not do this", "Ask somebody with one of the roles named."),
    "not-authenticated": Meaning("Nobody was recognised", "Send `Authorization: Bearer <token>`."),
    "not-found": Meaning("There is no such thing, or none that the caller may see", _LOOK),
    "not-the-aggregator": Meaning("Only the run's aggregator may do this", "Read the run: it names its aggregator."),
    "organisation-exists": Meaning("There is such an organisation already", "Choose another id."),
    "organisation-in-use": Meaning("The organisation is in use", "Remove its nodes, projects and tokens first."),
    "over-budget": Meaning("The launch would exceed the budget", "Choose less, or have the budget raised."),
    "price-changed": Meaning(
        "The machines cost more than was accepted", "Ask for the recommendation again, and accept its total."
    ),
    "price-unknown": Meaning("There is no price for the machine", "Choose another, or have the prices fetched anew."),
    "privacy-needs-secure-aggregation": Meaning(
        "Distributed privacy takes secure aggregation", "Switch secure aggregation on, or choose local privacy."
    ),
    "public-url-needed": Meaning(
        "Machines in a cloud could not find this API", "Its operator sets FLAAS_PUBLIC_URL to its public address."
    ),
    "privacy-budget": Meaning(
        "The run would spend more than its privacy budget", "Plan fewer rounds, more noise, or a larger epsilon."
    ),
    "project-exists": Meaning("There is such a project already", "Choose another id."),
    "project-in-use": Meaning("Runs of the project are open", "Cancel them, or wait for their end."),
    "record-expired": Meaning("The record is out of date", "Sign a new one; set the clock right."),
    "record-missing": Meaning(
        "A person's key must show whose it is", "Send its directory record for this project, signed with the key."
    ),
    "refresh-running": Meaning("Prices are being fetched already", "Look again in a minute."),
    "replayed": Meaning("The signed request was made before", _SIGN),
    "rotation-not-signed": Meaning(
        "Nobody has signed for the node's new key", "An administrator does with `flaas domain renew`."
    ),
    "round-conflict": Meaning("The round was reported otherwise", "Read the round; a report is not changed."),
    "run-ended": Meaning("The run has ended", "Start a new one."),
    "run-not-started": Meaning("The run has no aggregator yet", "Wait for the run.aggregator event."),
    "schema-mismatch": Meaning("The nodes describe the data set differently", "Their owners agree on the columns."),
    "secagg-not-sharded": Meaning(
        "The run cannot be sharded", "Leave `sharded` out, or choose a rule that needs the sum only."
    ),
    "secagg-too-few-nodes": Meaning(
        "Too few nodes for secure aggregation", "At least 3 nodes must hold the data set; or switch it off."
    ),
    "signatures-missing": Meaning(
        "More holders of the domain key must sign it", "Hand it in as pending; they sign with `flaas domain cosign`."
    ),
    "stale-etag": Meaning("The resource has changed meanwhile", _READ_AGAIN, 412),
    "stale-membership": Meaning("A newer membership is known", "Sign one with a higher serial."),
    "stale-network": Meaning("A newer network document is known", "Sign one with a higher serial."),
    "stale-revocation": Meaning("A newer membership or revocation is known", "Sign one with a higher serial."),
    "stale-record": Meaning("A newer record is known", "Sign one with a higher sequence."),
    "stale-term": Meaning("The run has another aggregator by now", "Read the run and follow the new one."),
    "template-exists": Meaning(
        "The organisation has a template of this name", "Remove it first, or choose another name."
    ),
    "token-expired": Meaning("The token has expired", _NEW_TOKEN),
    "too-few-clients": Meaning("Too few nodes for the aggregation rule", "Use more nodes, or another rule."),
    "too-many-dials": Meaning("Peers were asked to connect back too often", "Wait as long as Retry-After says.", 429),
    "too-many-pending": Meaning("Too many documents wait for signatures", "Sign or withdraw some of them."),
    "too-many-uploads": Meaning("Too many uploads are open", "Finish or abort some of them."),
    "unknown-account": Meaning("No such cloud account", "List them with `flaas costs account list`."),
    "unknown-aggregation": Meaning("There is no such aggregation rule", "Choose one of those named."),
    "unknown-area": Meaning("Nobody knows this area", "Give EU, EEA, Europe, all, countries or regions."),
    "unknown-dataset": Meaning("No node of the project holds this data set", "Choose one of those named."),
    "unknown-launch": Meaning("No such launch", "List the launches of the project."),
    "unknown-node": Meaning("No such node", "Register it with `flaas node join`."),
    "unknown-organisation": Meaning("No such organisation", _LOOK),
    "unknown-pending": Meaning("No such document waits for signatures", _LOOK),
    "unknown-project": Meaning("No such project", _LOOK),
    "unknown-peer": Meaning("The key is no member of the project now", "Whoever holds the domain key signs for it."),
    "unknown-provider": Meaning("There is no driver for this provider", "Choose one of those named."),
    "unknown-query": Meaning("No such query", _LOOK),
    "unknown-recipe": Meaning("No such recipe", _LOOK),
    "unknown-run": Meaning("No such run", _LOOK),
    "unknown-scheme": Meaning("This way of signing in is not known", "Send `Authorization: Bearer <token>`."),
    "unknown-upload": Meaning("No such upload", _LOOK),
    "unknown-template": Meaning("There is no such template", "List them; those of other organisations are not shown."),
    "unknown-token": Meaning("No such token", _LOOK),
    "unsupported-media-type": Meaning("Only JSON is accepted", "Send `Content-Type: application/json`.", 415),
    "upload-closed": Meaning("The upload is over", "Choose the file again, and start anew."),
    "upload-exists": Meaning("The id is another upload's", "Start anew, with another id."),
    "user-data-too-large": Meaning("The machine's set-up is too large", "Shorten the data set's address."),
    "vertical-parties": Meaning("This is no vertical run", "The message says what is missing or does not go with it."),
    "wrong-domain": Meaning("The document is for another project or node", "Sign it for this one."),
    "wrong-request": Meaning("The signature is for another request", _SIGN),
}  # fmt: skip
