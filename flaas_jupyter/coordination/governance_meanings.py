"""What the codes of governance mean: identity, roles, approvals, isolation, audit and control over runs."""

from __future__ import annotations

from collections.abc import Mapping

from .meaning import Meaning

MEANINGS: Mapping[str, Meaning] = {
    "already-assigned": Meaning("The user has the role there already", "There is nothing to do."),
    "already-decided": Meaning("The person has approved already", "One person counts once; others have to approve."),
    "already-member": Meaning("The role is in the set already", "There is nothing to do."),
    "approval-closed": Meaning("The request is over", "Ask anew, if it is still wanted."),
    "approval-expired": Meaning("The request has expired", "Ask anew."),
    "approval-tampered": Meaning(
        "The request was changed after it was made", "Do not approve it; have the data base examined, and ask anew."
    ),
    "approval-too-long": Meaning("The action's body is too long for approvers to read", "Split it up."),
    "audit-alarm": Meaning(
        "A node has found the audit log changed, and takes no runs",
        "Have the log examined; then the node's operator runs `flaas audit witness --forget`.",
    ),
    "audit-log-changed": Meaning(
        "The audit log was changed past the API",
        "Run `flaas audit verify` with the checkpoints that a node has kept; restore the data base from a backup.",
        500,
    ),
    "audit-not-opaque": Meaning(
        "Something that may be personal or secret was to go into the audit log",
        "Write ids and digests into it, never names, addresses, free text or secrets.",
        500,
    ),
    "audit-not-signed": Meaning("That part of the audit log is not signed yet", "Ask again after the next checkpoint."),
    "bad-approval-id": Meaning("Not the id of a request for approval", "List them with `flaas approvals list`."),
    "bad-approval-signature": Meaning(
        "The signature is not for this decision", "Sign it with your own approval key: `flaas approvals approve`."
    ),
    "bad-cardinality": Meaning("Not a cardinality of this set", "Give at least 2 and at most the number of its roles."),
    "bad-decision": Meaning("Not a decision", "Give approve or deny."),
    "bad-email": Meaning("Not an e-mail address", "Give name@domain, or leave it out."),
    "bad-invitation": Meaning("The invitation is not in force", "Ask whoever invited you for a new one."),
    "bad-kms-command": Meaning(
        "The KMS that keeps the API's keys is not set up", "Its operator corrects FLAAS_KMS_COMMAND.", 500
    ),
    "bad-ledger": Meaning(
        "The node's memory of accepted runs is damaged",
        "Restore requests.json; without it requests could be used again.",
    ),
    "bad-name": Meaning("Nothing can have this name", "Give 1 to 200 characters without control characters."),
    "bad-pins": Meaning("The list of pinned domain keys is damaged", "Restore pinned.json, or remove it."),
    "bad-policy": Meaning("Not a policy of approvals", "The message names what is allowed."),
    "bad-proof-range": Meaning(
        "There is no proof between these numbers", "Give numbers of entries, from 1 on, the smaller one first."
    ),
    "bad-revocations": Meaning(
        "The node's list of revoked models is damaged", "Restore revoked.json, or remove it and the node asks anew."
    ),
    "bad-run-request": Meaning(
        "The signed run request cannot be used", "Use one version of flaas_jupyter in the notebook and at the nodes."
    ),
    "bad-scope": Meaning("Not a scope", "Give platform, organisation:<id>, project:<id> or node:<id>."),
    "bad-user": Meaning("Not the id of a user", "Give 1 to 64 lower-case letters, digits, '.', '_' or '-'."),
    "data-key-unreadable": Meaning(
        "A data key cannot be unwrapped", "The API's operator restores the key that has wrapped it.", 500
    ),
    "database-role-bypasses-isolation": Meaning(
        "The data base's role is not subject to row-level security",
        "The operator of the API runs the statements of the hint, or gives it another role.",
        500,
    ),
    "dsd-set-exists": Meaning("There is such a set already", "Choose another name."),
    "dsd-violated": Meaning(
        "Dynamic separation of duty forbids it", "Drop one of the roles named from the session first."
    ),
    "email-exists": Meaning("Another user has this address", "One address belongs to one user: take another."),
    "field-erased": Meaning("A field was erased with its key", "Nothing brings it back: that is what erasing does."),
    "field-unreadable": Meaning(
        "A sealed field cannot be read", "The API's operator compares the data base with a backup.", 500
    ),
    "foreign-scope": Meaning("The user's organisation has no part there", "Add the organisation to the project first."),
    "founding-closed": Meaning("The founding phase is over", "The policy of approvals is in force."),
    "founding-open": Meaning("Nothing needs approval as yet", "Do the action at once, or close the founding phase."),
    "inheritance-cycle": Meaning("The roles would inherit each other", "Delete one of the inheritances named first."),
    "inheritance-exists": Meaning("The role inherits the other already", "There is nothing to do."),
    "invitation-exists": Meaning("There is an invitation with this secret", "Make a new random secret."),
    "key-in-force": Meaning(
        "The old approval key did not sign for the new one", "Sign with both, or accept a new invitation."
    ),
    "key-not-published": Meaning(
        "The next signing key is not known to callers yet", "Rotate again when the message says."
    ),
    "key-taken": Meaning("The approval key is somebody else's", "Make a key of your own."),
    "kms-unavailable": Meaning(
        "The KMS that keeps the API's keys does not answer", "Try again; the API's log says what is wrong."
    ),
    "may-not-assign": Meaning("Nobody hands out more than they have", "Ask somebody who may change roles."),
    "model-changed": Meaning(
        "The version's weights are others than those approved", "Look at it and ask for the release anew."
    ),
    "model-revoked": Meaning(
        "The model version is revoked", "Start from another version, or from fresh weights; a revocation is for good."
    ),
    "never-by-emergency": Meaning("No emergency opens this action", "Choose one of those named."),
    "no-account": Meaning("The caller is no person with an account", "Sign in as a person with `flaas login`."),
    "no-approval-key": Meaning("The API knows no approval key of yours", "Run `flaas approvals key`."),
    "no-data-key": Meaning("There is no such data key", "An owner is person:<id>, organisation:<id> or installation."),
    "no-executor": Meaning("Nothing carries this action out", "The operator of the API looks into its log.", 500),
    "no-factor": Meaning("None of your active roles is asked for", "Sign in with a role that the request names."),
    "no-inheritance": Meaning(
        "The role does not inherit the other immediately", "Read the role: it names its juniors."
    ),
    "no-such-request": Meaning("No such run waits for the node's owner", "See `flaas node requests`."),
    "node-quarantined": Meaning(
        "The node is in quarantine", "Its organisation's operator lifts the quarantine; then start a new run."
    ),
    "not-a-person": Meaning("Only people approve", "Let a person who has the role approve."),
    "not-active": Meaning("The role is not active in the session", "session_roles lists those that are."),
    "not-assigned": Meaning("The user does not have the role there", "assigned_roles lists those that it has."),
    "not-authorised": Meaning("The user is not authorised for the role", "authorized_roles lists those that it is."),
    "not-granted": Meaning("The role was not itself granted this", "Revoke it where it was granted."),
    "not-in-project": Meaning("The organisation is not in the project", "Choose one of its projects."),
    "not-member": Meaning("The role is not in the set", "Read the set: it names its roles."),
    "not-paused": Meaning("The run is not paused", "Read the run again; only a paused run is resumed."),
    "not-session-owner": Meaning("The session is somebody else's", "Use a session of your own."),
    "not-yours": Meaning(
        "Something that this would change is not there for your organisation",
        "Look the ids up in the lists; what other organisations have is not shown.",
    ),
    "own-request": Meaning("Who asks does not approve", "Let others approve, or withdraw the request."),
    "own-roles": Meaning("Nobody changes their own roles", "Somebody else who administers them does."),
    "owner-did-not-answer": Meaning(
        "The node's owner was asked about the run and did not answer in time", "Ask the owner, then start a new run."
    ),
    "owner-refused": Meaning("The node's owner has refused the run", "Ask the owner; see the node's policy."),
    "paused": Meaning("The run is paused", "Somebody who may pause runs resumes it: POST /v1/runs/{id}/resume."),
    "permission-exists": Meaning("There is such a permission already", "There is nothing to do."),
    "policy-changed": Meaning("The policy has changed meanwhile", "Look at the policy in force, and ask anew."),
    "policy-developers": Meaning(
        "The node does not take part in runs of this developer", "Ask the node's owner to change its node.toml."
    ),
    "policy-organisations": Meaning(
        "The node does not take part in runs of this organisation", "Ask the node's owner to change its node.toml."
    ),
    "policy-unfulfillable": Meaning(
        "Nobody could fulfil the policy", "Give more people the roles that are named, or ask for fewer."
    ),
    "rbac": Meaning("A precondition of role-based access control does not hold", "The message names it.", 409),
    "reason-needed": Meaning("An emergency has a reason", "Say in up to 2000 characters what has happened."),
    "role-exists": Meaning("There is such a role already", "Choose another name."),
    "run-altered": Meaning(
        "The run is told otherwise than its developer has signed it",
        "Start a new run. If nobody changed this one by mistake, have the coordination API examined.",
    ),
    "run-not-signed": Meaning(
        "No developer has signed the run", "Start it from a notebook of this version; nodes take nobody else's word."
    ),
    "run-replayed": Meaning(
        "The signed request was used for another run", "A signed request is good for one run: start a new one."
    ),
    "run-request-expired": Meaning(
        "The signed request is no longer, or not yet, in force", "Start a new run; check the clocks."
    ),
    "session-expired": Meaning("The session has expired", "Sign in again, or create a new one."),
    "session-fixed": Meaning("No role can be added to this session", "Sign in with the roles that you need."),
    "signed-out": Meaning("The sign-in has ended", "Sign in again: run `flaas login`."),
    "ssd-set-exists": Meaning("There is such a set already", "Choose another name."),
    "ssd-violated": Meaning("Static separation of duty forbids it", "Take one of the roles named from the user first."),
    "stale-approval": Meaning("The decision was not signed just now", "Set the clock right and sign again."),
    "too-many-approvals": Meaning("Too many of your requests wait", "Withdraw those that are not wanted any more."),
    "too-many-attempts": Meaning("Too many attempts", "Wait as long as the message says, then try again.", 429),
    "unknown-action": Meaning("There is no such critical action", "GET /v1/policy lists them."),
    "unknown-approval": Meaning("No such request for approval", "List them with `flaas approvals list`."),
    "unknown-dsd-set": Meaning("No such set", "List those that there are."),
    "unknown-function": Meaning("No function that changes roles", "Give one of those named."),
    "unknown-invitation": Meaning("There is no such open invitation", "List the invitations of nodes."),
    "unknown-model": Meaning("There is no such model version", "List the models of the project."),
    "unknown-operation": Meaning("No such operation", "Give one of those named."),
    "unknown-permission": Meaning("No such permission", "List those that there are."),
    "unknown-role": Meaning("No such role", "List those that there are."),
    "unknown-session": Meaning("No such session", "List those that there are."),
    "unknown-ssd-set": Meaning("No such set", "List those that there are."),
    "unknown-user": Meaning("No such user", "List those that there are."),
    "user-exists": Meaning("There is such a user already", "Choose another id."),
    "waits-for-approval": Meaning("Others have to approve first", "Do it again when the request is approved."),
    "weak-password": Meaning(
        "The password is too easily guessed", "Take at least 12 characters: several unrelated words."
    ),
    "wrong-password": Meaning("The old password is wrong", "If it is lost, ask an administrator for an invitation."),
    "wrong-start": Meaning(
        "The run starts from other weights than were signed", "Start a new run; examine the aggregator's node."
    ),
}
