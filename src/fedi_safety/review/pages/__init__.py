"""The pages themselves, one file each. Who may open which their rules say; how a request comes here is `app`'s."""

from fedi_safety.review.pages import audit, breaker, deciding, entry, looking, queues, sealed, signing, uploads

RULES = (
    *(*signing.RULES, *queues.RULES, *entry.RULES, *looking.RULES, *deciding.RULES),
    *(*uploads.RULES, *breaker.RULES, *sealed.RULES, *audit.RULES),
)
"""Every route there is, with the right that it asks for. What is not here does not exist."""
