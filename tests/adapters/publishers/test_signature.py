"""Signatures, by the published example of Standard Webhooks and by a verifier of our own."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intendant.adapters.publishers.signature import keys_of, signatures
from intendant.domain.errors import InvalidValue
from tests.adapters.publishers.receiver import NEXT_SECRET, SECRET, Request, verified

EXAMPLE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification() -> None:
    signed = signatures(keys_of(EXAMPLE), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed(secret: str | list[str], body: bytes) -> Request:
    made = signatures(keys_of(secret), "id-0", 1_000, body)
    return Request("", {"webhook-id": "id-0", "webhook-timestamp": "1000", "webhook-signature": made}, body)


@settings(max_examples=50)
@given(st.binary(max_size=50))
def test_each_of_several_secrets_verifies_and_no_other_does(body: bytes) -> None:
    both = signed([SECRET, NEXT_SECRET], body)
    assert [verified(both, each) for each in (SECRET, NEXT_SECRET, EXAMPLE)] == [True, True, False]
    both.body += b" "
    assert not verified(both, SECRET)


@pytest.mark.parametrize("length", [0, 23, 65])
def test_secrets_that_can_not_be_are_not_shown(length: int) -> None:
    wrong = base64.b64encode(secrets.token_bytes(length)).decode()
    unmarked = base64.b64encode(secrets.token_bytes(32)).decode()
    for secret in (f"whsec_{wrong}", [SECRET, f"whsec_{wrong}"], unmarked, "whsec_ä!", "", []):
        with pytest.raises(InvalidValue, match="secret") as raised:
            keys_of(secret)
        assert not wrong or wrong not in str(raised.value)
        assert unmarked not in str(raised.value)


def test_padding_may_be_left_out() -> None:
    assert keys_of(SECRET.rstrip("=")) == keys_of(SECRET)
