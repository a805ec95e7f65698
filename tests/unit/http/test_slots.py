"""What bounds slow requests belongs to an application, not to a module."""

from __future__ import annotations

from api.http.request_context import Slots


def test_two_applications_of_one_process_share_no_slots() -> None:
    first, second = Slots(), Slots()
    with first.exports.slot() as one, first.exports.slot() as two, first.exports.slot() as three:
        assert (one, two, three) == (True, True, False)
        with second.exports.slot() as theirs:
            assert theirs
