"""The lines of a file. Text that is not UTF-8 is refused with the name of its encoding."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from api.cli.errors import CannotRun
from api.cli.importing.errors import BadFile

STDIN = "-"
LINE_BYTES_MAX = 1_000_000  # no write is larger than a request body
BLOCK_BYTES = 65_536
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_ICONV = "convert it first: iconv -f {0} -t UTF-8"
# The first bytes of other file types, with advice. Longer prefixes first.
_OTHER_KINDS = (
    (b"\xff\xfe\x00\x00", "is UTF-32: " + _ICONV.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "is UTF-32: " + _ICONV.format("UTF-32")),
    (b"\xff\xfe", "is UTF-16: " + _ICONV.format("UTF-16")),
    (b"\xfe\xff", "is UTF-16: " + _ICONV.format("UTF-16")),
    (b"\x1f\x8b", "is compressed with gzip: zcat FILE | unbroken import -"),
    (b"PK\x03\x04", "is a workbook or a zip archive: save it as CSV (UTF-8) first"),
    (b"\xd0\xcf\x11\xe0", "is a workbook: save it as CSV (UTF-8) first"),
)


@contextmanager
def opened(source: str) -> Iterator[IO[bytes]]:
    """The bytes of a file or of stdin; raises CannotRun if it cannot be read."""
    with ExitStack() as exits:
        try:
            yield (
                sys.stdin.buffer if source == STDIN
                else exits.enter_context(Path(source).open("rb"))
            )  # fmt: skip
        except OSError as error:
            raise CannotRun(f"{source}: {error.strerror}") from None


def lines(stream: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[str]:
    """Lines with their ends (LF, CR LF or CR), of limited length; raises BadFile."""
    for number, raw in enumerate(_split(_blocks(stream, on_bytes)), 1):
        if len(raw) > LINE_BYTES_MAX:
            raise BadFile(
                f"line {number} is longer than 1 MB: is that the right file and --format?"
            )
        text = _decoded(raw, number)
        yield text.removeprefix(BOM) if number == 1 else text


def _blocks(stream: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    is_first = True
    while block := stream.read(BLOCK_BYTES):
        if is_first:
            _refuse_other_kinds(block)
        is_first = False
        on_bytes(len(block))
        yield block


def _split(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines. A block's last line waits for the next block: an LF may follow its CR."""
    rest = b""
    for block in blocks:
        pieces = (rest + block).splitlines(keepends=True)
        rest = b"" if pieces[-1].endswith(b"\n") else pieces.pop()
        yield from pieces
        if len(rest) > LINE_BYTES_MAX:
            break
    if rest:
        yield rest


def _refuse_other_kinds(head: bytes) -> None:
    for beginning, why in _OTHER_KINDS:
        if head.startswith(beginning):
            raise BadFile(f"the file {why}")
    if b"\x00" in head:
        # In UTF-16, ASCII text has a zero byte before or after each character.
        name = "UTF-16BE" if head.find(b"\x00") % 2 == 0 else "UTF-16LE"
        raise BadFile(f"the file holds zero bytes: if it is text in {name}, {_ICONV.format(name)}")


def _decoded(raw: bytes, number: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise BadFile(
            f"line {number} is not UTF-8 (byte 0x{byte:02X}): if the file is Windows-1252 or"
            f" Latin-1, {_ICONV.format('WINDOWS-1252')}"
        ) from None
