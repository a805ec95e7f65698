"""`unbroken import` guesses nothing of a file: columns, quotes, delimiters, encodings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Account
from tests.integration.importing import Importing, day, importing
from tests.pipeline import Pipeline

HEAD = "participant_id,streak_code,timestamp"


@pytest.fixture
def place(app: Flask, account: Account, pipeline: Pipeline, tmp_path: Path) -> Iterator[Importing]:
    """An API that listens, and a folder."""
    with importing(app, account, pipeline, tmp_path) as made:
        yield made


def rows(*lines: str, head: str = HEAD, end: str = "\n") -> str:
    """A CSV."""
    return end.join([head, *lines]) + end


# -- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["date", "when", "created_at", "time stamp", "timestmp"])
def test_a_file_without_a_timestamp_column_is_refused_before_anything_is_sent(
    place: Importing, column: str
) -> None:
    head = f"participant_id,streak_code,{column}"
    path = place.write("t.csv", rows(f"a,daily_login,{day(3)}", head=head))
    for options in ((), ("--dry-run",)):
        done = place.run(path, *options)
        assert done.exit_code == 1, done.output
        assert "no column for timestamp" in done.stderr
        assert f"is it {column!r}? Then give --map timestamp=" in done.stderr
    assert place.sent() == 0
    assert not Path(f"{path}.import.json").exists()
    mapped = place.run(path, "--map", f"timestamp={column}")
    assert (mapped.exit_code, place.sent()) == (0, 1), mapped.output


@pytest.mark.parametrize("column", ["Timestamp", " timestamp", "TIMESTAMP ", "\ufefftimestamp"])
def test_names_of_columns_are_compared_without_case_and_outer_spaces(
    place: Importing, column: str
) -> None:
    head = f"{column},Participant_ID , streak_code"
    place.run(place.write("t.csv", rows(f"{day(3)},a,daily_login", head=head)))
    line = f'{{" TimeStamp": "{day(4)}", "PARTICIPANT_ID": "b", "streak_code": "daily_login"}}\n'
    place.run(place.write("t.ndjson", line))
    assert place.recorded() == {
        "a daily_login": [[day(3), day(3)]],
        "b daily_login": [[day(4), day(4)]],
    }


def test_unknown_columns_are_refused_unless_they_are_left_out_by_name(place: Importing) -> None:
    path = place.write("t.csv", rows(f"a,daily_login,{day(3)},x,y", head=f"{HEAD},total,time_zone"))
    done = place.run(path)
    assert done.exit_code == 1
    assert "'total', 'time_zone': unknown" in done.stderr
    assert "--ignore total --ignore time_zone" in done.stderr
    assert place.run(path, "--ignore", "total").exit_code == 1
    assert place.sent() == 0
    assert place.run(path, "--ignore", "Total", "--ignore", "time_zone").exit_code == 0
    assert place.run(path, "--ignore", "*", "--afresh").exit_code == 0
    assert place.sent() == 2


def test_a_column_named_twice_is_refused(place: Importing) -> None:
    path = place.write("t.csv", rows(f"a,daily_login,{day(3)},b", head=f"{HEAD}, Participant_id"))
    done = place.run(path)
    assert done.exit_code == 1
    assert "columns 1 and 4 are both named 'participant_id'" in done.stderr.lower()
    assert place.sent() == 0


def test_a_column_that_is_not_used_because_of_a_mapping_is_not_passed_over(
    place: Importing,
) -> None:
    path = place.write("t.csv", rows(f"a,daily_login,{day(3)},{day(9)}", head=f"{HEAD},when"))
    done = place.run(path, "--map", "timestamp=when")
    assert (done.exit_code, "'timestamp': unknown" in done.stderr) == (1, True)
    assert place.run(path, "--map", "timestamp=when", "--map", "timestamp=x").exit_code == 2


def test_an_option_that_the_kind_has_no_field_for_is_refused(place: Importing) -> None:
    path = place.write("t.csv", rows("a,power_user", head="participant_id,badge_code"))
    done = place.run(path, "--kind", "awards", "--streak", "daily_login")
    assert (done.exit_code, "--streak does not apply to awards" in done.stderr) == (2, True)


# -- quotes and shapes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([f"a,daily_login,{day(3)}", f'b,daily_login,"{day(3)}', f"c,daily_login,{day(3)}"], 3),
        ([f'a,daily_login,"{day(3)}', f'"b",daily_login,{day(3)}'], 2),
        ([f'"a","daily_login","{day(3)}', "", "x", f'"b","daily_login,{day(3)}'], 2),
        ([f'"a\nb",daily_login,"{day(3)}', f"c,daily_login,{day(3)}"], 3),
        ([f'"a"x,daily_login,{day(3)}'], 2),
    ],
)
def test_a_quote_that_is_not_closed_ends_it_with_the_line_before_anything_is_sent(
    place: Importing, lines: list[str], line: int
) -> None:
    path = place.write("t.csv", rows(*lines))
    for options in (("--dry-run",), ()):
        done = place.run(path, *options)
        assert done.exit_code == 1, done.output
        assert f"line {line}: a quote opens here" in done.stderr
    assert place.sent() == 0


def test_a_quote_that_swallows_a_large_file_is_found_too(place: Importing) -> None:
    good = [f"a{nth},daily_login,{day(3)}" for nth in range(20_000)]
    path = place.write("t.csv", rows(*good[:5_000], f'"b,daily_login,{day(3)}', *good[5_000:]))
    done = place.run(path)
    assert (done.exit_code, "line 5002: a quote opens here" in done.stderr) == (1, True)
    assert place.sent() == 0


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("t.csv", "a,daily_login,", "timestamp: empty"),
        ("t.csv", "a,daily_login,  ", "timestamp: empty"),
        ("t.csv", "a,daily_login", "the row has 2 cells, the head 3"),
        ("t.csv", f"a,daily_login,{day(3)},more", "the row has 4 cells, the head 3"),
        ("t.csv", f",daily_login,{day(3)}", "participant_id: empty"),
        ("t.csv", f"\ufeffa,daily_login,{day(3)}", "byte order mark"),
        ("t.csv", "a,daily_login,46162", "neither an ISO 8601 date nor seconds"),
        ("t.csv", "a,daily_login,05/06/2026", "neither an ISO 8601 date nor seconds"),
        ("t.ndjson", '{"participant_id":"a","streak_code":"daily_login"}', "no column for timest"),
        ("t.ndjson", '{"participant_id":"a","streak_code":"x","timestamp":null}', "timestamp: em"),
        ("t.ndjson", '{"participant_id":"a","streak_code":"x","timestamp":""}', "timestamp: empty"),
        ("t.ndjson", '{"participant_id":["a"],"streak_code":"x","timestamp":1}', "must be text"),
        ("t.ndjson", '{"participant_id":1.0,"streak_code":"x","timestamp":1}', "must be text"),
        ("t.ndjson", '{"participant_id":"a","streak_code":"x","timestamp":true}', "neither an ISO"),
        ("t.ndjson", '{"participant_id":"a","streak_code":"x","timestamp":1,"x":1}', "'x': unkno"),
        ("t.ndjson", '{"participant_id":"a","participant_id":"b"}', "twice in one object"),
        ("t.ndjson", '["a"]', "the line is no JSON object"),
        ("t.ndjson", "null", "the line is no JSON object"),
        ("t.ndjson", '{"participant_id":"a"', "the line is no JSON object"),
        ("t.ndjson", '\ufeff{"participant_id":"a"}', "byte order mark"),
        ("t.ndjson", '{"participant_id":NaN}', "NaN, which is no JSON"),
        ("t.ndjson", '{"m":' * 5_000, "the line is no JSON object"),
    ],
)
def test_a_row_that_is_not_understood_is_refused_with_its_line_and_spoils_no_other(
    place: Importing, name: str, line: str, why: str
) -> None:
    good = f"a,daily_login,{day(3)}"
    if name.endswith("ndjson"):
        good = f'{{"participant_id":"a","streak_code":"daily_login","timestamp":"{day(3)}"}}'
    head = [] if name.endswith("ndjson") else [HEAD]
    path = place.write(name, "\n".join([*head, good, "", line, good]) + "\n")
    done = place.run(path)
    number = len(head) + 3
    assert done.exit_code == 1
    assert f"line {number}: " in done.stderr
    assert why in done.stderr
    assert place.sent() == 2


# -- line ends, delimiters, encodings ------------------------------------------------------------


def test_line_ends_delimiters_and_a_byte_order_mark_of_any_system_are_read(
    place: Importing,
) -> None:
    for end, delimiter, bom in product(("\n", "\r\n", "\r"), ",;\t|", ("", "\ufeff")):
        lines = [f'"a{delimiter}{end}b",daily_login,{day(3)}', f"c,daily_login,{day(2)}"]
        text = rows(*(line.replace(",", delimiter) for line in lines),
                    head=bom + HEAD.replace(",", delimiter), end=end)  # fmt: skip
        # A cell with the delimiter and a line end in it stays one cell.
        told = place.told(place.write("t.CSV", text), "--dry-run")
        assert told["first"][0]["participant_id"] == f"a{delimiter}{end}b"
        assert (told["rows"], told["refused"]) == (2, 0)


def test_line_ends_are_found_wherever_a_block_of_the_file_ends(place: Importing) -> None:
    for end in ("\r\n", "\r"):
        count = 9_000
        lines = [f"a{nth % 97:0{nth % 13 + 2}},daily_login,{day(3)}" for nth in range(count)]
        told = place.told(place.write("t.csv", rows(*lines, end=end)), "--dry-run")
        assert (told["rows"], told["refused"]) == (count, 0)


def test_a_delimiter_that_the_head_does_not_tell_is_asked_for(place: Importing) -> None:
    head = "participant_id;streak_code,timestamp"
    path = place.write("t.csv", rows(f"a;daily_login,{day(3)}", head=head))
    done = place.run(path)
    assert (done.exit_code, place.sent()) == (1, 0)
    other = place.write("o.csv", rows(f"a:daily_login:{day(3)}", head=HEAD.replace(",", ":")))
    assert place.run(other).exit_code == 1
    assert place.run(other, "--delimiter", ":").exit_code == 0
    assert place.run(other, "--delimiter", "::").exit_code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (rows(f"a,daily_login,{day(3)}").encode("utf-16"), "the file is UTF-16"),
        (rows(f"a,daily_login,{day(3)}").encode("utf-16-le"), "UTF-16LE"),
        (rows(f"a,daily_login,{day(3)}").encode("utf-16-be"), "UTF-16BE"),
        (rows(f"a,daily_login,{day(3)}").encode("utf-32"), "the file is UTF-32"),
        (
            rows(f"a,daily_login,{day(3)}", "Zoë,x,y").encode("cp1252"),
            "line 3 is not UTF-8 (byte 0",
        ),
        (b"\x1f\x8b\x08\x00\x00", "compressed with gzip"),
        (b"PK\x03\x04\x14\x00", "a workbook or a zip archive"),
        (b"", "the file has no head"),
        (b"\n\n", "the file has no head"),
        (b"a" * 1_100_000, "line 1 is longer than 1 MB"),
    ],
)
def test_what_is_no_text_in_utf_8_is_refused_by_its_name(
    place: Importing, content: bytes, said: str
) -> None:
    done = place.run(place.write("t.csv", content))
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert place.sent() == 0


def test_a_file_whose_ending_says_nothing_is_not_guessed_at(place: Importing) -> None:
    path = place.write("history", rows(f"a,daily_login,{day(3)}"))
    assert (place.run(path).exit_code, place.sent()) == (2, 0)
    assert place.run(path, "--format", "csv").exit_code == 0


_PIECES = st.sampled_from(
    ["participant_id", "streak_code", "timestamp", "timezone", "metadata", "a", "daily_login",
     day(3), "{}", '{"participant_id":"a"}', ",", ";", "\t", '"', '""', "\n", "\r", "\r\n", " ",
     "\ufeff", "\x00", "null", "[", "\\", "ä", "\u2028"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=40), st.sampled_from(["csv", "ndjson"]), st.binary(max_size=3))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_file_holds_it_is_read_or_refused_and_never_a_fault_of_ours(
    place: Importing, pieces: list[str], file_format: str, tail: bytes
) -> None:
    path = place.write("t", "".join(pieces).encode() + tail)
    done = place.run(path, "--format", file_format, "--dry-run")
    assert done.exit_code in (0, 1)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ('{"a": NaN}', "NaN, which is no JSON"),
        ('{"a": 1e999}', "finite numbers only"),
        ('{"a": 1, "a": 2}', "'a' twice in one object"),
        ('{"a": ' * 500 + "1" + "}" * 500, "at most 20 levels deep"),
        ('{"a": "' + "ä" * 900_000 + '"}', "longer than 1 MB"),
        ('{"a": "' + "ä" * 300_000 + '"}', "larger than a request may be"),
        ('["a"]', "metadata must be a JSON object"),
    ],
)
def test_a_row_that_no_request_could_hold_spoils_no_other(
    place: Importing, metadata: str, why: str
) -> None:
    start = f'{{"participant_id":"a","streak_code":"daily_login","timestamp":"{day(3)}"'
    lines = [f"{start}}}\n", f'{start},"metadata":{metadata}}}\n', f"{start}}}\n"]
    done = place.run(place.write("t.ndjson", "".join(lines)))
    assert done.exit_code == 1, done.output
    assert why in done.stderr
    if "1 MB" in why:
        return
    assert place.sent() == 2
    cell = metadata.replace('"', '""')
    text = rows(
        f"a,daily_login,{day(3)},", f'a,daily_login,{day(3)},"{cell}"', head=f"{HEAD},metadata"
    )
    csv = place.run(place.write("t.csv", text))
    assert csv.exit_code == 1, csv.output
    if len(metadata) < 100_000:
        assert (why in csv.stderr, place.sent()) == (True, 3)
