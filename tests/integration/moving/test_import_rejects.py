"""`unbroken import`: refused rows that can be mended, what --dry-run foretells, what is resumed."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api.cli.importing import checkpoint
from api.cli.importing.source_rows import Raw
from tests.calls import client_of, make_badge, make_key, make_streak
from tests.conftest import BASE, Account
from tests.integration.importing import Importing, day, importing
from tests.pipeline import Pipeline

HEAD = "User,streak_code,timestamp,note"
MAPPED = ("--map", "participant_id=user", "--ignore", "note")


@pytest.fixture
def place(app: Flask, account: Account, pipeline: Pipeline, tmp_path: Path) -> Iterator[Importing]:
    """An API that listens, and a folder."""
    with importing(app, account, pipeline, tmp_path) as made:
        yield made


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_refused_rows_of_a_csv_are_read_again_once_they_are_mended(place: Importing) -> None:
    rejects = place.folder / "rejects.csv"
    path = place.write("t.csv", "\n".join([
        HEAD.replace(",", ";"), f"a;daily_login;{day(3)};x", "b;daily_login;;x",
        f"c;nope;{day(3)};say \"Zoë\"", "d;daily_login", f"e;daily_login;{day(3)};x;y",
    ]) + "\n")  # fmt: skip
    done = place.told(path, *MAPPED, "--rejects", str(rejects))
    assert (done["accepted"], done["refused"]) == (1, 4)
    with rejects.open(encoding="utf-8", newline="") as stream:
        kept = list(csv.reader(stream, delimiter=";"))
    assert kept[0] == ["reject_line", "reject_reason", *HEAD.split(",")]
    assert [row[0] for row in kept[1:]] == ["3", "4", "5", "6"]
    assert [row[1] for row in kept[1:]] == [
        "timestamp: empty", "Streak 'nope' not found (streak_not_found)",
        "the row has 2 cells, the head 4", "the row has 5 cells, the head 4",
    ]  # fmt: skip
    assert [row[2:] for row in kept[1:]] == [
        ["b", "daily_login", "", "x"], ["c", "nope", day(3), 'say "Zoë"'],
        ["d", "daily_login"], ["e", "daily_login", day(3), "x", "y"],
    ]  # fmt: skip
    mended = [kept[0], *([*row[:3], "daily_login", day(4), "x"] for row in kept[1:])]
    again = place.write("mended.csv", "\n".join(";".join(row) for row in mended) + "\n")
    assert place.run(again, *MAPPED).exit_code == 0
    found = place.recorded()
    assert sorted(found) == [f"{name} daily_login" for name in "abcde"]


def test_refused_rows_of_ndjson_are_read_again_once_they_are_mended(place: Importing) -> None:
    rejects = place.folder / "rejects.ndjson"
    good: dict[str, object] = {
        "participant_id": "ä",
        "streak_code": "daily_login",
        "timestamp": day(3),
    }
    bad: list[dict[str, object]] = [
        good | {"timestamp": None},
        good | {"streak_code": "nope"},
        good | {"more": [1]},
    ]
    texts = [json.dumps(one) for one in (good, *bad)] + ['{"participant_id": ']
    done = place.told(place.write("t.ndjson", "\n".join(texts)), "--rejects", str(rejects))
    assert (done["accepted"], done["refused"]) == (1, 4)
    kept = [json.loads(line) for line in lines_of(rejects)]
    assert [one["reject_line"] for one in kept] == [2, 3, 4, 5]
    assert [{**one, "reject_line": 0, "reject_reason": ""} for one in kept[:3]] == [
        {"reject_line": 0, "reject_reason": "", **one} for one in bad
    ]
    assert kept[3]["reject_text"] == '{"participant_id": '
    unmended = place.told(rejects)
    assert (unmended["accepted"], unmended["refused"]) == (0, 4)
    mended = [
        {key: value for key, value in one.items() if key not in ("more", "reject_text")}
        | {"participant_id": name, "streak_code": "daily_login", "timestamp": day(4)}
        for name, one in zip("bcde", kept, strict=True)
    ]
    again = place.write("mended.ndjson", "\n".join(json.dumps(one) for one in mended))
    assert place.run(again).exit_code == 0
    assert len(place.recorded()) == 5


def test_rows_refused_twice_keep_one_reason(place: Importing) -> None:
    first, second = place.folder / "1.csv", place.folder / "2.csv"
    path = place.write("t.csv", f"{HEAD}\na,nope,{day(3)},x\n")
    assert place.run(path, *MAPPED, "--rejects", str(first)).exit_code == 1
    assert place.run(first, *MAPPED, "--rejects", str(second)).exit_code == 1
    assert lines_of(second) == lines_of(first)


def test_rejects_go_into_a_file_of_their_own(place: Importing) -> None:
    path = place.write("t.csv", f"{HEAD}\na,nope,{day(3)},x\n")
    before = path.read_bytes()
    done = place.run(path, *MAPPED, "--rejects", str(path))
    assert (done.exit_code, "is there already" in done.stderr) == (2, True)
    assert path.read_bytes() == before


def test_a_window_that_is_sent_again_leaves_its_refused_rows_once(place: Importing) -> None:
    path, rejects = place.folder / "t.csv", place.folder / "rejects.csv"
    rows = [
        f"a{nth},{'nope' if nth % 500 == 0 else 'daily_login'},{day(3)},x" for nth in range(3_000)
    ]
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    assert place.run(path, *MAPPED, "--rejects", str(rejects)).exit_code == 1
    whole, kept = rejects.read_text(), Path(f"{path}.import.json")
    state = json.loads(kept.read_text())
    first = checkpoint.Checkpoint(state["digest"], state["run"])
    first.advance([Raw(0, row.split(",")) for row in rows[:1_000]])
    header_and_two = sum(len(line) + 2 for line in lines_of(rejects)[:3])
    # As a kill leaves it after the rejects of the second window and before its checkpoint.
    kept.write_text(json.dumps(state | {
        "rows": 1_000, "accepted": 998, "refused": 2, "is_done": False,
        "rejects_bytes": header_and_two, "settled": first.settled,
    }))  # fmt: skip
    done = place.told(path, *MAPPED, "--rejects", str(rejects))
    assert (done["rows"], done["refused"], done["resumed_at"]) == (3_000, 6, 1_000)
    assert rejects.read_text() == whole
    assert checkpoint.load(kept, state["digest"]) is not None
    place.recorded()


# -- --dry-run ---------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_count_for_which_day(place: Importing, account: Account) -> None:
    client = client_of(place.service.app, account.keys["live"])
    make_streak(client, "own_day", boundary="participant")
    make_streak(client, "paused", is_active=False)
    east = {"participant_id": "east", "timezone": "Pacific/Kiritimati"}
    assert client.post(f"{BASE}/participants", json=east).status_code == 201
    path = place.write("t.csv", "\n".join([
        "participant_id,streak_code,timestamp,timezone",
        f"a,daily_login,{day(40)},", f"a,daily_login,{day(3)}T23:30:00Z,Pacific/Kiritimati",
        f"east,daily_login,{day(5)}T23:30:00Z,", f"east,own_day,{day(5)}T23:30:00Z,",
        f"new,own_day,{day(5)}T23:30:00Z,", f"a,nope,{day(3)},", f"a,paused,{day(3)},",
        f"a,daily_login,{day(3)},Mars/Base",
    ]) + "\n")  # fmt: skip
    done = place.run(path, "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (told["rows"], told["refused"], told["codes_checked"]) == (8, 3, True)
    assert "line 7: Streak 'nope' not found" in done.stderr
    assert "line 8: Streak 'paused' not found" in done.stderr
    assert "line 9: timezone 'Mars/Base'" in done.stderr
    daily, own = told["codes"]["daily_login"], told["codes"]["own_day"]
    assert (daily["rows"], daily["first"], daily["last"]) == (3, day(40), day(2))
    assert sum(daily["months"].values()) == 3
    assert (own["first"], own["last"], own["day_unknown"]) == (day(5), day(4), 0)
    text = place.run(path, "--dry-run").stdout
    assert f"daily_login: 3 rows, {day(40)} to {day(2)}" in text
    assert f"  {day(40)[:7]}: " in text
    assert place.sent() == 0
    assert place.run(path).exit_code == 1  # and what it foretold happens
    found = place.recorded()
    assert found["a daily_login"] == [[day(40), day(40)], [day(2), day(2)]]
    assert found["east own_day"] == [[day(4), day(4)]]
    assert found["new own_day"] == [[day(5), day(5)]]


def test_a_dry_run_knows_unknown_badges(place: Importing, account: Account) -> None:
    make_badge(client_of(place.service.app, account.keys["live"]))
    path = place.write("t.csv", "participant_id,badge_code\na,power_user\na,nope\n")
    done = place.run(path, "--kind", "awards", "--dry-run")
    assert done.exit_code == 1
    assert "line 3: Badge 'nope' not found" in done.stderr
    assert "power_user: 1 rows" in done.stdout


def test_a_dry_run_says_what_it_could_not_check(place: Importing, account: Account) -> None:
    path = place.write("t.csv", f"participant_id,streak_code,timestamp\na,nope,{day(3)}\n")
    participants_key = make_key(place.engine, account.live)
    for key in ("", participants_key):
        place.service.key = key
        done = place.run(path, "--dry-run")
        assert (done.exit_code, "codes were not checked" in done.stdout) == (0, True), done.output
        assert place.told(path, "--dry-run")["codes_checked"] is False


# -- what is resumed -----------------------------------------------------------------------------


def ndjson(name: str, count: int) -> str:
    return "".join(
        f'{{"participant_id":"{name}{nth}","streak_code":"daily_login","timestamp":"{day(3)}"}}\n'
        for nth in range(count)
    )


def test_a_pipe_with_other_rows_does_not_go_on_where_the_first_one_stopped(
    place: Importing,
) -> None:
    kept = place.folder / "kept.json"
    piped = ("--checkpoint", str(kept), "--json")

    def run(text: str) -> tuple[int, int]:
        done = place.run("-", *piped, given=text)
        return done.exit_code, place.sent()

    assert run(ndjson("a", 2_500)) == (0, 2_500)
    assert run(ndjson("a", 2_500)) == (0, 2_500)  # the same again: nothing is left to do
    for other in (ndjson("b", 2_500), ndjson("a", 2_501), ndjson("a", 2_499), ""):
        assert run(other) == (2, 2_500), "of another import"
    state = json.loads(kept.read_text())
    second = "x" * 64
    kept.write_text(json.dumps(state | {"rows": 1_000, "is_done": False, "settled": second}))
    assert run(ndjson("a", 2_500)) == (2, 2_500)


def test_a_file_that_was_mended_is_not_taken_for_the_one_that_is_done(place: Importing) -> None:
    text = ndjson("a", 2_000)
    path = place.write("t.ndjson", text.replace("a1999", "b1999"))
    assert place.run(path).exit_code == 0
    place.write("t.ndjson", text)
    done = place.run(path)
    assert (done.exit_code, "of another import" in done.stderr) == (2, True)


def test_a_pipe_under_another_name_loses_no_row(place: Importing) -> None:
    pipe = place.folder / "pipe.ndjson"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(ndjson("a", 3_000)))
    writer.start()
    try:
        told = place.told(pipe)
    finally:
        writer.join()
    assert (told["rows"], told["accepted"], told["refused"]) == (3_000, 3_000, 0)
