"""API keys as text: well formed or refused, hashed, expiring, scoped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.identity import tenants
from models.identity.tenants import ApiKey, Mode

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
# Written down once: a release must go on accepting the keys that the last one gave out.
KNOWN_KEY = "bq_live_0123456789ABCDEFGHIJKLMNOPQRSTUV2mqvEr"


def key(scopes: frozenset[str] = frozenset(), **times: datetime) -> ApiKey:
    """A stored key."""
    return ApiKey(
        1, UUID(int=1), "bq_live_…abcd", scopes, times.get("expires_at"), times.get("revoked_at")
    )


@pytest.mark.parametrize("mode", tenants.MODES)
def test_a_new_key_is_well_formed_and_names_its_mode(mode: Mode) -> None:
    made = tenants.new_key(mode)
    assert made.startswith(f"bq_{mode}_")
    assert tenants.is_well_formed(made)


def test_no_two_keys_are_the_same() -> None:
    assert len({tenants.new_key("live") for _ in range(500)}) == 500


def test_a_key_given_out_by_an_earlier_release_is_still_well_formed() -> None:
    assert tenants.is_well_formed(KNOWN_KEY)


@given(st.integers(0, 45), st.sampled_from("0aZ_-é٣ "))
def test_a_key_with_one_character_mistyped_is_refused(at: int, typed: str) -> None:
    made = tenants.new_key("test")
    mistyped = made[:at] + typed + made[at + 1 :]
    assert tenants.is_well_formed(mistyped) == (mistyped == made)


@given(st.integers(8, 44))
def test_a_key_with_two_neighbours_swapped_is_refused(at: int) -> None:
    made = tenants.new_key("live")
    swapped = made[:at] + made[at + 1] + made[at] + made[at + 2 :]
    assert tenants.is_well_formed(swapped) == (swapped == made)


@given(st.text(max_size=60))
def test_no_text_is_too_odd_to_be_refused(text: str) -> None:
    assert not tenants.is_well_formed(text)
    assert not tenants.is_well_formed("bq_live_" + text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bq_live_",
        KNOWN_KEY + "0",
        KNOWN_KEY[:-1],
        " " + KNOWN_KEY,
        KNOWN_KEY + "\n",
        KNOWN_KEY.replace("live", "test"),
        KNOWN_KEY.replace("bq_", "BQ_"),
        "bq_prod_" + KNOWN_KEY[8:],
        "\ud800" * len(KNOWN_KEY),
        "bq_live_" + "\ud800" * 38,
    ],
)
def test_what_is_not_a_key_is_refused(text: str) -> None:
    assert not tenants.is_well_formed(text)


def test_only_the_hash_of_a_key_is_stored() -> None:
    """FIPS 180-2: the SHA-256 of "abc"."""
    assert tenants.hash_key("abc").hex() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_key_is_valid_until_the_instant_it_expires() -> None:
    assert key().is_valid_at(NOW)
    expiring = key(expires_at=NOW)
    assert expiring.is_valid_at(NOW - timedelta(microseconds=1))
    assert not expiring.is_valid_at(NOW)


def test_a_revoked_key_is_never_valid() -> None:
    assert not key(revoked_at=NOW).is_valid_at(NOW - timedelta(days=1))
    assert not key(revoked_at=NOW, expires_at=NOW + timedelta(days=1)).is_valid_at(NOW)


@pytest.mark.parametrize(
    ("scopes", "is_admin"),
    [((), False), (("admin",), True), (("gamify:admin",), True), (("Admin", "gamify"), False)],
)
def test_either_admin_scope_makes_an_admin_key(scopes: tuple[str, ...], is_admin: bool) -> None:
    """Seed 001: `admin` or `gamify:admin`."""
    assert key(frozenset(scopes)).is_admin == is_admin
