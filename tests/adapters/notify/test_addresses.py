"""Of an address no more than scheme and host is ever shown, whatever stands where."""

from __future__ import annotations

import pytest

from fedi_safety.notify.addresses import names, shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ntfys://user:word@ntfy.example:8443/topic?priority=high", "ntfys://ntfy.example"),
        ("ntfys://a-secret-topic", "ntfys://"),
        ("ntfy://a.secret.topic", "ntfy://"),
        ("mailtos://user:word@mail.example?to=admin@mail.example", "mailtos://mail.example"),
        ("matrixs://user:word@matrix.example/#room", "matrixs://matrix.example"),
        ("json://[::1]:8080/path", "json://::1"),
        ("JSON://localhost/path", "json://localhost"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord://"),
        ("pbul://o.gn5kj6nfhv736I7jC3cj3QLRiyhgl98b", "pbul://"),
        ("tgram://123456789:AbCdEf/98765", "tgram://"),
        ("sendgrid://SG.abc.def:from@mail.example", "sendgrid://"),
        ("json://[broken/path", "json://"),
    ],
)
def test_no_more_than_scheme_and_host_is_shown(url: str, said: str) -> None:
    assert shown(url) == said


def test_names_differ_and_do_not_follow_a_password() -> None:
    before = ["json://a:1@h.example/x", "json://a:2@h.example/y", "xml://h.example"]
    after = [url.replace(":1@", ":3@") for url in before]
    assert names(before) == names(after) == ["json://h.example", "json://h.example (2)", "xml://h.example"]
