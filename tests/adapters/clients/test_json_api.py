"""One bounded question to a JSON API: what comes back, what each failure says, and that no message has the token."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from fedi_safety.clients.json_api import MAX_BYTES, ApiError, JsonApi

TOKEN = "t0ken-never-shown"


def api(answer: Callable[[httpx.Request], httpx.Response]) -> JsonApi:
    return JsonApi("https://social.example", "Server", TOKEN, transport=httpx.MockTransport(answer))


def test_a_question_carries_token_and_body_and_gives_what_the_answer_has() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"a": [1]})

    assert api(answer).ask("POST", "/x/y", within_s=5, params={"q": 1}, body={"b": "ä"}) == {"a": [1]}
    (request,) = asked
    assert str(request.url) == "https://social.example/x/y?q=1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.content == '{"b":"ä"}'.encode()
    assert api(lambda _: httpx.Response(204)).ask("POST", "/", within_s=5) is None


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError(f"refused {TOKEN}", request=request)


def wait(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout(TOKEN, request=request)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("answer", "status", "code", "line"),
    [
        (httpx.Response(401, json={"error": "Invalid token"}), 401, "Invalid token", "does not accept the token"),
        (httpx.Response(403, text="no"), 403, "", "may not do this"),
        (httpx.Response(404, json={"error": "Record not found"}), 404, "Record not found", "404 (Record not found)"),
        (httpx.Response(400, json={"error": {"code": "NO_SUCH_FILE", "id": "x"}}), 400, "NO_SUCH_FILE", "NO_SUCH_FILE"),
        (httpx.Response(400, json={"error": [1]}), 400, "", "it answered 400"),
        (httpx.Response(429, json={}), 429, "", "too often"),
        (httpx.Response(502, text="<html>"), 502, "", "it answered 502; see its log"),
        (httpx.Response(200, text="<html>", headers={"content-type": "text/html; x"}), 200, "", "with text/html"),
        (httpx.Response(301, headers={"location": "https://elsewhere.example"}), 301, "", "redirects elsewhere"),
        (httpx.Response(200, content=b"[" * 100_000), 200, "", "not answer with JSON"),
        (httpx.Response(200, content=b" " * (MAX_BYTES + 1)), None, "", "more than 8 MiB"),
        (refuse, None, "", "cannot be reached (ConnectError)"),
        (wait, None, "", "no answer within 5 s"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_that_says_why(
    answer: httpx.Response | Callable[[httpx.Request], httpx.Response], status: int | None, code: str, line: str
) -> None:
    asked = api(answer if callable(answer) else lambda _: answer)
    with pytest.raises(ApiError) as caught:
        asked.ask("GET", "/", within_s=5)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert line in caught.value.line()
    assert caught.value.line().startswith("API of Server: ")
    assert TOKEN not in caught.value.line()


def test_an_answer_that_trickles_ends_with_the_time() -> None:
    class Trickle(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield b" "

    with pytest.raises(ApiError, match=r"no answer within 0\.05 s"):
        api(lambda _: httpx.Response(200, stream=Trickle())).ask("GET", "/", within_s=0.05)


@pytest.mark.parametrize("token", ["", "a\nb", "ä"])
def test_a_token_that_no_header_can_carry_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(ApiError, match="no header can carry"):
        JsonApi("https://social.example", "Server", token)
