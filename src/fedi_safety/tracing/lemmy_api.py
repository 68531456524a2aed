"""Who put a picture there, by Lemmy's HTTP API and the token of an admin: less than its database tells."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from fedi_safety.clients.lemmy import MOST_PAGES, PAGE, LemmyClient, Media, Person, Shown, Version
from fedi_safety.core.errors import ApiError
from fedi_safety.core.sightings import Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.lemmy_names import UNNAMED, Question, host_of, names_of, questions

_MOST_NAMES = 8  # that are searched for one by one
_SEARCH_SHARE = 0.5  # of the time, so that uploads are looked through too


class LemmyApi:
    """Searches posts and comments, and looks through the uploads as far as the API lists them."""

    def __init__(self, client: LemmyClient) -> None:
        """Ask through `client`."""
        self._client = client

    def trace(self, subject: Subject, within_s: float) -> Traced:
        """Return where the picture is in use; see `Way.ask`."""
        names = names_of(subject)
        if not names:
            return Traced(unknown=UNNAMED)
        began = time.monotonic()
        version = self._client.version(within_s=within_s)
        found: dict[Sighting, None] = {}
        left_out: list[str] = []
        asked = questions(names, [self._client.root])
        half = began + within_s * _SEARCH_SHARE
        searches = [self._searched(question, version, half, left_out) for question in asked]
        if names.aliases:
            searches.append(self._uploads(asked[0], version, began + within_s, left_out))
        try:
            for sighting in chain.from_iterable(searches):  # what was found before one fails counts
                found[sighting] = None
        except ApiError as error:
            if not found:
                raise
            return Traced(tuple(found), "; ".join(dict.fromkeys(left_out)), (error.line(),))
        return Traced(tuple(found), "; ".join(dict.fromkeys(left_out)))

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._client.close()

    def _searched(self, question: Question, version: Version, until: float, left_out: list[str]) -> Iterator[Sighting]:
        names = question.aliases or question.origins
        if question.origins and version is Version.V1_0:
            left_out.append("posts were not searched for the origin's address: Lemmy 1.0 would fetch it")
            return
        if len(names) > _MOST_NAMES:
            left_out.append(f"posts were searched for {_MOST_NAMES} of {len(names)} names")
        for name in names[:_MOST_NAMES]:
            if _left(until) <= 0:
                left_out.append("there was no time to search all posts and comments")
                return
            posts = self._client.posts_saying(version, name, within_s=_left(until))
            if version is Version.V0_19:
                link = name if question.origins else f"{self._client.root}/pictrs/image/{name}"
                posts += self._client.posts_linking(link, within_s=_left(until))
            for post in posts:
                if post.url in question.addresses or _says(post, question):
                    yield _shown(SightingKind.POST, post, question)
                if post.thumbnail in question.addresses:
                    yield _shown(SightingKind.LINK_PREVIEW, post, question)
            for comment in self._client.comments_saying(version, name, within_s=_left(until)):
                if _says(comment, question):
                    yield _shown(SightingKind.COMMENT, comment, question)

    def _uploads(self, question: Question, version: Version, until: float, left_out: list[str]) -> Iterator[Sighting]:
        """Look through the uploads until each alias is found, or there are no more, or no time is left."""
        wanted = set(question.aliases)
        cursor: str | None = None
        seen = 0
        while wanted:
            if _left(until) <= 0:
                left_out.append(f"there was no time to look through more than {seen} uploads")
                return
            page = self._client.media_page(version, cursor, within_s=_left(until))
            seen += len(page.media)
            for media in page.media:
                if media.alias in wanted:
                    wanted.discard(media.alias)
                    yield from _uploaded(media, question)
            cursor = page.next
            if cursor is None:
                break
        if wanted and seen >= PAGE * MOST_PAGES and version is Version.V0_19:
            left_out.append(f"Lemmy 0.19 lists no more than its newest {seen} uploads")


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


def _uploaded(media: Media, question: Question) -> Iterator[Sighting]:
    post = media.preview_of
    kind = SightingKind.UPLOAD if post is None else SightingKind.LINK_PREVIEW
    found = _of(media.person, kind, question, f"local_image/{media.alias}")
    if post is not None:
        found = replace(found, url=post.address, post_id=str(post.id))
    yield replace(found, at=media.at)
    for kind, address in ((SightingKind.AVATAR, media.person.avatar), (SightingKind.BANNER, media.person.banner)):
        if address in question.addresses:
            shown = _of(media.person, kind, question, f"person/{media.person.id}")
            yield replace(shown, url=media.person.address)


def _shown(kind: SightingKind, shown: Shown, question: Question) -> Sighting:
    table = "comment" if kind is SightingKind.COMMENT else "post"
    found = _of(shown.creator, kind, question, f"{table}/{shown.id}")
    return replace(found, url=shown.address, at=shown.at, post_id=str(shown.id))


def _of(person: Person, kind: SightingKind, question: Question, record: str) -> Sighting:
    return Sighting(
        kind=kind,
        way=SightingWay.API,
        certainty=question.certainty,
        person=person.address,
        instance=host_of(person.address),
        local=person.local,
        record=record,
        person_id=str(person.id),
    )


def _says(shown: Shown, question: Question) -> bool:
    ends = "|".join(map(re.escape, question.texts))
    return re.search(f"(?:{ends}){question.end}", shown.text) is not None
