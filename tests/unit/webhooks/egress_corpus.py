"""What may not be called, row by row from the standards, and how it may be spelled.

The rows are those of IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and what
came after), of the multicast and unallocated space, and of what clouds keep on public addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from webhooks.ip_ranges import Address

OPEN, CLOSED, NONE = "open", "closed", "none"  # none: there is no such address


@dataclass(frozen=True)
class Block:
    """A block that is closed, and what its neighbours are."""

    cidr: str
    below: str  # the address just before its first
    above: str  # the address just behind its last
    entry: str

    @property
    def first(self) -> Address:
        """Its first address."""
        return ip_network(self.cidr)[0]

    @property
    def last(self) -> Address:
        """Its last address."""
        return ip_network(self.cidr)[-1]


BLOCKS = (
    Block("0.0.0.0/8", NONE, OPEN, "This network (RFC 791)"),
    Block("0.0.0.0/32", NONE, CLOSED, "This host on this network (RFC 1122)"),
    Block("10.0.0.0/8", OPEN, OPEN, "Private-Use (RFC 1918)"),
    Block("100.64.0.0/10", OPEN, OPEN, "Shared Address Space (RFC 6598)"),
    Block("127.0.0.0/8", OPEN, OPEN, "Loopback (RFC 1122)"),
    Block("168.63.129.16/32", OPEN, OPEN, "Azure's host agent, on a public address"),
    Block("169.254.0.0/16", OPEN, OPEN, "Link Local (RFC 3927)"),
    Block("172.16.0.0/12", OPEN, OPEN, "Private-Use (RFC 1918)"),
    Block("192.0.0.0/24", OPEN, OPEN, "IETF Protocol Assignments (RFC 6890)"),
    Block("192.0.0.0/29", OPEN, CLOSED, "IPv4 Service Continuity Prefix (RFC 7335)"),
    Block("192.0.0.8/32", CLOSED, CLOSED, "IPv4 dummy address (RFC 7600)"),
    Block("192.0.0.9/32", CLOSED, CLOSED, "Port Control Protocol Anycast (RFC 7723)"),
    Block("192.0.0.10/32", CLOSED, CLOSED, "TURN Anycast (RFC 8155)"),
    Block("192.0.0.170/31", CLOSED, CLOSED, "NAT64/DNS64 Discovery (RFC 8880)"),
    Block("192.0.2.0/24", OPEN, OPEN, "Documentation TEST-NET-1 (RFC 5737)"),
    Block("192.31.196.0/24", OPEN, OPEN, "AS112-v4 (RFC 7535)"),
    Block("192.52.193.0/24", OPEN, OPEN, "AMT (RFC 7450)"),
    Block("192.88.99.0/24", OPEN, OPEN, "Deprecated 6to4 Relay Anycast (RFC 7526)"),
    Block("192.88.99.2/32", CLOSED, CLOSED, "6a44-relay anycast (RFC 6751)"),
    Block("192.168.0.0/16", OPEN, OPEN, "Private-Use (RFC 1918)"),
    Block("192.175.48.0/24", OPEN, OPEN, "Direct Delegation AS112 Service (RFC 7534)"),
    Block("198.18.0.0/15", OPEN, OPEN, "Benchmarking (RFC 2544)"),
    Block("198.51.100.0/24", OPEN, OPEN, "Documentation TEST-NET-2 (RFC 5737)"),
    Block("203.0.113.0/24", OPEN, OPEN, "Documentation TEST-NET-3 (RFC 5737)"),
    Block("224.0.0.0/4", OPEN, CLOSED, "Multicast (RFC 5771)"),
    Block("240.0.0.0/4", CLOSED, NONE, "Reserved (RFC 1112)"),
    Block("255.255.255.255/32", CLOSED, NONE, "Limited Broadcast (RFC 919)"),
    Block("::/128", NONE, CLOSED, "Unspecified Address (RFC 4291)"),
    Block("::1/128", CLOSED, CLOSED, "Loopback Address (RFC 4291)"),
    Block("::/96", NONE, CLOSED, "IPv4-compatible, deprecated (RFC 4291)"),
    Block("::ffff:0:0/96", CLOSED, CLOSED, "IPv4-mapped Address (RFC 4291)"),
    Block("::ffff:0:0:0/96", CLOSED, CLOSED, "IPv4-translated, deprecated (RFC 2765)"),
    Block("64:ff9b::/96", CLOSED, CLOSED, "IPv4-IPv6 Translation, NAT64 (RFC 6052)"),
    Block("64:ff9b:1::/48", CLOSED, CLOSED, "Local-use IPv4-IPv6 Translation (RFC 8215)"),
    Block("100::/64", CLOSED, CLOSED, "Discard-Only Address Block (RFC 6666)"),
    Block("100:0:0:1::/64", CLOSED, CLOSED, "Dummy IPv6 Prefix (RFC 9780)"),
    Block("::/3", NONE, OPEN, "Everything before global unicast (RFC 4291)"),
    Block("2001::/23", OPEN, OPEN, "IETF Protocol Assignments (RFC 2928)"),
    Block("2001::/32", OPEN, CLOSED, "TEREDO (RFC 4380)"),
    Block("2001:1::1/128", CLOSED, CLOSED, "Port Control Protocol Anycast (RFC 7723)"),
    Block("2001:1::2/128", CLOSED, CLOSED, "TURN Anycast (RFC 8155)"),
    Block("2001:1::3/128", CLOSED, CLOSED, "DNS-SD Service Registration Anycast (RFC 9665)"),
    Block("2001:2::/48", CLOSED, CLOSED, "Benchmarking (RFC 5180)"),
    Block("2001:3::/32", CLOSED, CLOSED, "AMT (RFC 7450)"),
    Block("2001:4:112::/48", CLOSED, CLOSED, "AS112-v6 (RFC 7535)"),
    Block("2001:10::/28", CLOSED, CLOSED, "Deprecated ORCHID (RFC 4843)"),
    Block("2001:20::/28", CLOSED, CLOSED, "ORCHIDv2 (RFC 7343)"),
    Block("2001:30::/28", CLOSED, CLOSED, "Drone Remote ID (RFC 9374)"),
    Block("2001:db8::/32", OPEN, OPEN, "Documentation (RFC 3849)"),
    Block("2002::/16", OPEN, OPEN, "6to4 (RFC 3056)"),
    Block("2620:4f:8000::/48", OPEN, OPEN, "Direct Delegation AS112 Service (RFC 7534)"),
    Block("3ffe::/16", OPEN, CLOSED, "6bone, returned (RFC 3701)"),
    Block("3fff::/20", CLOSED, OPEN, "Documentation (RFC 9637)"),
    Block("4000::/2", OPEN, CLOSED, "Not allocated (RFC 4291)"),
    Block("5f00::/16", CLOSED, CLOSED, "Segment Routing SIDs (RFC 9602)"),
    Block("8000::/1", CLOSED, NONE, "Not allocated, and all below (RFC 4291)"),
    Block("fc00::/7", CLOSED, CLOSED, "Unique-Local (RFC 4193)"),
    Block("fe80::/10", CLOSED, CLOSED, "Link-Local Unicast (RFC 4291)"),
    Block("fec0::/10", CLOSED, CLOSED, "Site-Local, deprecated (RFC 3879)"),
    Block("ff00::/8", CLOSED, NONE, "Multicast (RFC 4291)"),
)  # fmt: skip

METADATA = {
    "169.254.169.254": "AWS, Azure, Google, Oracle, DigitalOcean, OpenStack",
    "169.254.169.253": "AWS's name service",
    "169.254.169.123": "AWS's time",
    "169.254.170.2": "AWS ECS credentials",
    "169.254.170.23": "AWS EKS credentials",
    "169.254.42.42": "Scaleway",
    "169.254.0.23": "Tencent",
    "100.100.100.200": "Alibaba",
    "168.63.129.16": "Azure's host agent",
    "192.0.0.192": "Oracle",
    "fd00:ec2::254": "AWS",
    "fd00:ec2::23": "AWS EKS credentials",
    "fd20:ce::254": "Google",
    "fd00:42::42": "Scaleway",
    "fe80::a9fe:a9fe": "OpenStack",
}

PUBLIC = (
    "1.1.1.1",
    "9.255.255.255",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2400:cb00::1",
    "2606:2800:220:1::1",
    "2a00:1450:4001:800::200e",
    "2a00::5efe:0:0:1",  # one group further left than in an ISATAP address
)


@dataclass(frozen=True)
class Case:
    """An address and what it should be."""

    address: Address
    is_open: bool
    entry: str

    @property
    def host(self) -> str:
        """As it stands in a URL."""
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)

    def __str__(self) -> str:
        return f"{self.address} {'open' if self.is_open else 'closed'}: {self.entry}"


def cases() -> Iterator[Case]:
    """First, last and neighbours of every block, cloud metadata, and public addresses."""
    for block in BLOCKS:
        yield Case(block.first, False, f"first of {block.entry}")
        yield Case(block.last, False, f"last of {block.entry}")
        if block.below != NONE:
            yield Case(block.first - 1, block.below == OPEN, f"just below {block.entry}")
        if block.above != NONE:
            yield Case(block.last + 1, block.above == OPEN, f"just above {block.entry}")
    for text, entry in METADATA.items():
        yield Case(ip_address(text), False, f"metadata: {entry}")
    for text in PUBLIC:
        yield Case(ip_address(text), True, "public")


def disguises(address: IPv4Address) -> dict[str, IPv6Address]:
    """An IPv4 address as IPv6 addresses that may lead to it."""
    number = int(address)
    prefixed = {
        "mapped": "::ffff:0:0",
        "compatible": "::",
        "translated": "::ffff:0:0:0",
        "NAT64": "64:ff9b::",
        "local NAT64": "64:ff9b:1::",
        "ISATAP, private": "2a00:1450::5efe:0:0",
        "ISATAP, public": "2a00:1450::200:5efe:0:0",
    }
    found = {name: IPv6Address(int(IPv6Address(text)) | number) for name, text in prefixed.items()}
    found["6to4"] = IPv6Address((0x2002 << 112) | (number << 80) | 1)
    found["Teredo server"] = IPv6Address((0x2001_0000 << 96) | (number << 64))
    found["Teredo client"] = IPv6Address((0x2001_0000 << 96) | (number ^ 0xFFFF_FFFF))
    return found


# Hosts of URLs that are refused however they would be read; the reasons say what they stand for.
ODD_HOSTS = {
    "2130706433": "127.0.0.1 as one number",
    "017700000001": "as one octal number",
    "0x7f000001": "as one hexadecimal number",
    "0X7F000001": "in capitals",
    "0x7f.1": "hexadecimal, two parts",
    "0x7f.0x0.0x0.0x1": "hexadecimal, four parts",
    "0177.0.0.1": "octal",
    "0177.0x0.0.1": "mixed",
    "127.1": "two parts",
    "127.0.1": "three parts",
    "127.000.000.001": "padded",
    "127.0.0.1.": "a trailing dot",
    "127.0.0.1..": "two of them",
    "93.184.216.34.": "a public one with a trailing dot",
    "1572395042": "a public one as one number",
    "0": "this host as one number",
    "0x": "hexadecimal nothing",
    "256.256.256.256": "out of range",
    "4294967296": "out of range as one number",
    "１２７.0.0.1": "full-width digits",
    "９３.184.216.34": "a public one in full-width digits",
    "①②⑦.⓪.⓪.①": "digits in circles",
    "127。0。0。1": "ideographic full stops",
    "93.184.216。34": "a public one with one of them",
    "127%2E0%2E0%2E1": "percent-encoded dots",
    "%31%32%37.0.0.1": "percent-encoded digits",
    "127.0.0.1%00.example.com": "an encoded NUL",
    "127.0.0\u00ad.1": "a soft hyphen",
    "127.0.0.1\u200b": "a zero-width space",
    "[::1]": "loopback",
    "[0:0:0:0:0:0:0:1]": "loopback at length",
    "[::ffff:127.0.0.1]": "mapped, dotted",
    "[::FFFF:7F00:1]": "mapped, in hexadecimal",
    "[0:0:0:0:0:ffff:7f00:0001]": "mapped, at length",
    "[::127.0.0.1]": "compatible",
    "[::1%25lo]": "a zone",
    "[fe80::1%25eth0]": "link-local with its zone",
    "[2606:2800:220:1::1%25eth0]": "a public one with a zone",
    "[2606:2800:220:1::1%eth0]": "with a bare zone",
    "[v1.x]": "an address of the future",
    "[127.0.0.1]": "IPv4 in brackets",
    "[::1": "an open bracket",
    "::1": "no brackets",
    "a..b": "an empty label",
    ".example.com": "an empty first label",
    "example.com,127.0.0.1": "a list",
    "example.com;x": "a semicolon",
    "exa*mple.com": "an asterisk",
    "a" * 64 + ".example.com": "a label too long",
    ("a" * 50 + ".") * 5 + "com": "a name too long",
}

# What stands between `https://` and the path: credentials and ports.
ODD_AUTHORITIES = {
    "user@example.com": "a user",
    "user:hunter2@example.com": "a password",
    ":@example.com": "empty ones",
    "@example.com": "an empty user",
    "example.com@127.0.0.1": "a host posing as a user",
    "example.com%40127.0.0.1": "the same, encoded",
    "example.com:443@127.0.0.1:443": "with ports",
    "example.com:0": "port zero",
    "example.com:22": "a port that is not allowed",
    "example.com:65536": "a port out of range",
    "example.com:4４3": "a full-width digit in the port",
    "example.com:+443": "a sign before the port",
    "example.com:443:443": "two ports",
    "example.com:x": "no number",
    "": "no host",
    ":443": "a port alone",
}

# Whole texts.
ODD_URLS = {
    "http://example.com/": "not encrypted",
    "ftp://example.com/": "another scheme",
    "file:///etc/passwd": "a file",
    "gopher://127.0.0.1:6379/_FLUSHALL": "another protocol",
    "javascript:alert(1)": "a script",
    "https:example.com": "no authority",
    "https:/example.com/": "one slash",
    "https:///example.com/": "three",
    "//example.com/": "no scheme",
    "example.com": "a name",
    " https://example.com/": "a space before",
    "https://example.com /": "a space in the host",
    "https://example.com\\@127.0.0.1/": "a backslash",
    "https://example.com/\r\nHost: x": "a line break",
    "https://example.com/\t": "a tab",
    "https://example.com/\x00": "a NUL",
    "https://example.com/" + "x" * 2_048: "too long",
}

# What is no trick, however it looks.
PLAIN_URLS = (
    "https://hooks.example.com/x",
    "https://hooks.example.com./x",
    "https://hooks.example.com:8443/x?a=b#c",
    "https://hooks.example.com:/x",
    "https://hooks.example.com?x=@y",
    "https://hooks.example.com/#@127.0.0.1",
    "https://hooks.example.com/http://127.0.0.1/",
    "https://under_score.example.com/",
    "https://xn--bcher-kva.example/",
    "https://bücher.example/ü",
    "https://1password.com/",
    "https://0xide.computer/",
    "https://127.0.0.1.example.com/",
    "https://93.184.216.34/",
    "https://[2606:2800:220:1::1]/",
    "https://[2606:2800:220:1:0:0:0:1]:443/",
    "HTTPS://EXAMPLE.COM",
)


def refused_urls() -> dict[str, str]:
    """Every URL of the corpus that must be refused where only the public Internet is open."""
    closed = {f"https://{one.host}/": one.entry for one in cases() if not one.is_open}
    hosts = {f"https://{host}/": entry for host, entry in ODD_HOSTS.items()}
    authorities = {f"https://{text}/": entry for text, entry in ODD_AUTHORITIES.items()}
    return closed | hosts | authorities | ODD_URLS
