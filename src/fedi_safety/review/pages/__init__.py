"""The pages themselves, one file each. Who may open which their rules say; how a request comes here is `app`'s."""

from fedi_safety.review.pages import (
    audit,
    breaker,
    coverage,
    deciding,
    entry,
    lists,
    policy,
    queues,
    sealed,
    signing,
    sources,
)

RULES = (
    *signing.RULES,
    *queues.RULES,
    *entry.RULES,
    *deciding.RULES,
    *coverage.RULES,
    *sources.RULES,
    *policy.RULES,
    *lists.RULES,
    *breaker.RULES,
    *sealed.RULES,
    *audit.RULES,
)
"""Every route there is, with the right that it asks for. What is not here does not exist."""
