"""What help on the whole says of every command: what each says of itself first, so that none has to be loaded for it.

A test holds this to the commands, and prints what it should be.
"""

from __future__ import annotations

COMMANDS = {
    "init": ("Ask four questions, try the answers, and write a configuration. Overwrites nothing, removes nothing."),
    "gate-config": (
        "Print what nginx, Caddy or Apache is told, so that uploads, and nothing else, go through the gate."
    ),
    "scan": "Judge everything that a store holds, and act on what the policy condemns.",
    "apply": (
        "Name what dry runs planned for a store and nobody dismissed, and do it. Opens no picture but what it removes."
    ),
    "watch": "Run until stopped: judge what is new in every store, and act on what the policy condemns.",
    "worker": ("Run until stopped: fetch uploads from gates elsewhere, judge them here, and bring the verdicts back."),
    "serve": (
        "Run until stopped: judge uploads before they are published, for pict-rs and as a proxy before other servers."
    ),
    "report": (
        "Show totals, coverage and its gaps, verdicts, actions and the last runs. Changes nothing, opens no media."
    ),
    "history": (
        "Show by day how many runs began, and what was judged, condemned, removed and dismissed. Changes nothing."
    ),
    "list": (
        "List objects with times, verdicts, reasons and actions: time, key, verdict, reasons, store, with tabs between."
    ),
    "show": "Show all that is known of one object: verdicts, scores, detectors, plans, actions and events.",
    "try": ("Judge one file, and show every signal, factor and rule. It is not shown; nothing is written or removed."),
    "trace": ("Find out who put an object there: person, instance and post, as far as the server tells. It is kept."),
    "review": ("Open the review pages on this machine: decide without looking. The link that it prints is good once."),
    "confirm": "Confirm a verdict by a person's word; what was sent to review is condemned by that.",
    "dismiss": (
        "Clear a content by its hash: everywhere, for good, whatever a policy says. Its waiting plans are dropped."
    ),
    "restore": "Put a removed object back as it was, and dismiss its verdict. To be run where the secret key is.",
    "unseal": (
        "Open a sealed copy into a file, in the clear, for whoever may have it. The ledger remembers that it "
        "was opened."
    ),
    "hold": "Keep a sealed copy whatever its time is, until `release`.",
    "release": "Let a sealed copy that was held end by itself again, when its time is over.",
    "filed": (
        "Record that a content was reported to an authority. Under `report-and-preserve` its year counts from that day."
    ),
    "evidence": (
        "Write a folder for an authority: what, when, where and who, hashes, and drafts. The picture is never in it."
    ),
    "calibrate": (
        "Score a sample of a store that you believe is clean, and show what each threshold would condemn of it."
    ),
    "import-ledger": (
        "Take over a predecessor's database: what it condemned becomes visible history, the rest is judged again."
    ),
    "doctor": (
        "Check configuration, policy, ledger, store, tracing, models, device and decoders, and say what is wrong."
    ),
    "self-test": (
        "Scan, plan, remove and verify a harmless test card in a directory of its own, with the configured detectors."
    ),
    "completion": "Print what a shell is to read so that it completes commands and options.",
}
"""By name, but for hidden ones."""

GROUPS = {
    "notify": "Who is told when something happens, and what waits to be told.",
    "policy": "Check, preview and show policies.",
    "concepts": "List, check, try and learn: what the detector `clip` looks for.",
    "ledger": "Look after the ledger.",
    "hashes": "Lists of known images: import, show, match, pass on.",
    "models": "Fetch, import, check and speed up the models of the detector `clip`.",
}
"""What has commands of its own."""
