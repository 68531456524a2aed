"""Looking: a page that asks first, one that has a picture for seconds, the picture, and how many a day.

Nothing here is bound to a key, nothing is loaded ahead, and no page has more than one picture.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from fedi_safety.app.viewing import Missing, ViewError
from fedi_safety.core.errors import printable
from fedi_safety.review.looking import SHOWN_S
from fedi_safety.review.pages.entry import sha256_of
from fedi_safety.review.pages.queues import narrowed, number
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

MOST_A_DAY = 1_000
WITH_PICTURE = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; " \
    "base-uri 'none'; frame-ancestors 'none'"  # fmt: skip
"""The policy of the one page that has a picture."""
WHAT = {
    Missing.NOWHERE: "No store has it any more: it was removed, or is gone.",
    Missing.UNREACHABLE: "Its store could not be reached, or did not give it. Try again later.",
    Missing.CHANGED: "What lies in its place is not what was judged. The next scan judges that.",
    Missing.UNDECODED: "Nothing in it could be decoded this time.",
}
_STATUS = {Missing.NOWHERE: 410, Missing.UNREACHABLE: 503, Missing.CHANGED: 409, Missing.UNDECODED: 422}
_AHEAD = ("sec-purpose", "purpose", "x-moz")  # by which browsers say that they load something before it is asked for


def ask(visit: Visit) -> Response:
    """Say what is known and what would be shown. Nothing is fetched yet, and the way back has the focus."""
    sha256 = sha256_of(visit.request.path_params["sha256"])
    found = visit.pages.ledger.show(sha256)
    if found is None or not found.judgements:
        raise Refused(404, "The ledger has no such content", "It may be in another ledger.")
    looking, person = visit.pages.looking, visit.who.person.name
    most, had = looking.limit_of(person), looking.counts().get(printable(person), 0)
    return visit.page(
        "look.html", sha256=sha256, found=found, last=found.judgements[-1].judgement, most=most, had=had,
        size=looking.next_size(person, sha256), word=looking.ask(visit.who, sha256), context=_context(visit.query),
    )  # fmt: skip


def look(visit: Visit) -> Response:
    """Make the picture, and go to the page that has it."""
    form = visit.form
    sha256, pixels = sha256_of(form.get("sha256", "")), number(form.get("pixels"))
    looking, person = visit.pages.looking, visit.who.person.name
    if pixels is None or pixels != looking.next_size(person, sha256):
        raise Refused(400, "Not at this size", "The smallest is asked for first, and each larger one by itself.")
    if not looking.take_ask(visit.who, sha256, form.get("word", "")):
        raise Refused(410, "This was asked already", "Each form asks once. Go back to the content, and ask anew.")
    if looking.counts().get(printable(person), 0) >= looking.limit_of(person):
        raise _enough()
    try:
        word = looking.prepare(visit.who, sha256, pixels)
        if word is None:
            raise Refused(503, "Somebody else is looking just now", "One picture is made at a time. Ask again.")
    except ViewError as error:
        return visit.page("unseen.html", _STATUS[error.why], sha256=sha256, what=WHAT[error.why], cause=error.cause)
    return visit.go("shown", word, **_context(form))


def shown(visit: Visit) -> Response:
    """Give the page with the picture, once; after ten seconds it leads away by itself."""
    word = visit.request.path_params["word"]
    if _ahead(visit) or (held := visit.pages.looking.page(visit.who, word)) is None:
        raise _gone()
    context = _context(visit.query)
    answer = visit.page("shown.html", held=held, word=word, seconds=SHOWN_S, context=context)
    answer.headers["Content-Security-Policy"] = WITH_PICTURE
    answer.headers["Refresh"] = f"{SHOWN_S}; url={visit.path('object', held.sha256.hex(), **context)}"
    return answer


def picture(visit: Visit) -> Response:
    """Give the picture, once: it is on record before its first byte leaves."""
    if _ahead(visit) or visit.request.headers.get("sec-fetch-dest", "image") != "image":
        raise _gone()
    held = visit.pages.looking.picture(visit.who, visit.request.path_params["word"])
    if held is None:
        raise _gone()
    if not visit.pages.looking.record(held):
        raise _enough()
    return Response(held.still.picture.png, media_type="image/png")


def views(visit: Visit) -> Response:
    """Show who looked how often today, and may how often."""
    looking = visit.pages.looking
    limits, counts = visit.pages.ledger.view_limits(), looking.counts()
    lookers = {name for name, person in visit.pages.people.known.items() if Right.LOOK in person.rights}
    names = sorted(lookers | limits.keys() | counts.keys())
    rows = []
    for name in names:
        limit = limits.get(printable(name))
        most = looking.settings.review.views_per_day if limit is None else limit.most
        rows.append((name, counts.get(printable(name), 0), most, limit))
    return visit.page("views.html", rows=rows, own=visit.who.person.name)


def lower(visit: Visit) -> Response:
    """Let somebody have fewer views a day from now on."""
    person, most = visit.who.person.name, _most(visit.form)
    if most > visit.pages.looking.limit_of(person):
        raise Refused(403, "Only an admin can raise it", "You can lower it yourself at any time.", way="views")
    visit.pages.ledger.set_view_limit(person, most, person)
    return visit.go("views")


def set_for(visit: Visit) -> Response:
    """Set somebody's views a day, by an admin."""
    person = visit.form.get("person", "")
    if person not in visit.pages.people.known:
        raise Refused(404, "There is no such person", "Who may come in stands in the configuration.", way="views")
    visit.pages.ledger.set_view_limit(person, _most(visit.form), visit.who.person.name)
    return visit.go("views")


def _most(form: Mapping[str, str]) -> int:
    most = number(form.get("most"))
    if most is None or most > MOST_A_DAY:
        raise Refused(400, "How many?", "A number from 0 to 1000.", way="views")
    return most


def _context(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in ("queue", "place") if given.get(name)} | narrowed(given)


def _ahead(visit: Visit) -> bool:
    """Whether nobody is there to see it: a browser loads ahead, or only the head is asked for. Nothing is used up."""
    asked = visit.request
    return asked.method == "HEAD" or any("prefetch" in asked.headers.get(name, "") for name in _AHEAD)


def _gone() -> Refused:
    return Refused(410, "This was shown already", "A picture is given once, and only for twenty seconds. Ask again if "
                   "you have to.")  # fmt: skip


def _enough() -> Refused:
    return Refused(429, "Enough for today", "You had as many views within a day as you may. An admin can raise that.",
                   way="views", retry_s=3600.0)  # fmt: skip


RULES = (
    Rule("/look/{sha256}", "GET", Right.LOOK, ask),
    Rule("/look", "POST", Right.LOOK, look),
    Rule("/shown/{word}", "GET", Right.LOOK, shown),
    Rule("/picture/{word}", "GET", Right.LOOK, picture),
    Rule("/views", "GET", Right.SEE, views),
    Rule("/views/lower", "POST", Right.LOOK, lower),
    Rule("/views/set", "POST", Right.RUN, set_for),
)
