"""The addresses of the public Internet: the special-purpose registries of IANA. Pure.

Listed here in full instead of `ip_address.is_global`, which follows the registries of the year of
its Python release, and counts NAT64, 6to4 and multicast as public.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLOSED_V4 = {
    IPv4Network(text): reason
    for text, reason in {
        "0.0.0.0/8": "this network (RFC 791); 0.0.0.0 reaches this machine",
        "10.0.0.0/8": "private (RFC 1918)",
        "100.64.0.0/10": "shared by carriers (RFC 6598); Alibaba's metadata",
        "127.0.0.0/8": "loopback (RFC 1122)",
        "168.63.129.16/32": "Azure's host agent, on a public address",
        "169.254.0.0/16": "link-local (RFC 3927); the metadata of most clouds",
        "172.16.0.0/12": "private (RFC 1918)",
        "192.0.0.0/24": "protocol assignments (RFC 6890); Oracle's metadata",
        "192.0.2.0/24": "documentation (RFC 5737)",
        "192.31.196.0/24": "AS112 (RFC 7535): anycast, may be answered by a local network",
        "192.52.193.0/24": "AMT (RFC 7450): anycast, may be answered by a local network",
        "192.88.99.0/24": "6to4 relays (RFC 7526)",
        "192.168.0.0/16": "private (RFC 1918)",
        "192.175.48.0/24": "AS112 (RFC 7534): anycast, may be answered by a local network",
        "198.18.0.0/15": "benchmarking (RFC 2544)",
        "198.51.100.0/24": "documentation (RFC 5737)",
        "203.0.113.0/24": "documentation (RFC 5737)",
        "224.0.0.0/4": "multicast (RFC 5771)",
        "240.0.0.0/4": "reserved (RFC 1112), including the limited broadcast (RFC 919)",
    }.items()
}

# Global unicast. Outside it are loopback, unique local, link-local, site-local and multicast
# addresses, IPv4-mapped ones, both prefixes of NAT64, discard, dummy and segment routing.
OPEN_V6 = IPv6Network("2000::/3")
CLOSED_V6 = {
    IPv6Network(text): reason
    for text, reason in {
        "2001::/23": "protocol assignments (RFC 2928): Teredo, ORCHID, benchmarking, anycasts",
        "2001:db8::/32": "documentation (RFC 3849)",
        "2002::/16": "6to4 (RFC 3056): embeds an IPv4 address",
        "2620:4f:8000::/48": "AS112 (RFC 7534): anycast, may be answered by a local network",
        "3ffe::/16": "6bone, returned (RFC 3701)",
        "3fff::/20": "documentation (RFC 9637)",
    }.items()
}

# RFC 5214 §6.1: an interface identifier of ISATAP, whose last 32 bits are an IPv4 address. The
# universal/local bit says whether that one is public; a tunnel's end is no receiver either way.
_ISATAP = 0x0000_5EFE
_ISATAP_MASK = 0xFDFF_FFFF


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet, and embeds no other address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in CLOSED_V4)
    if address not in OPEN_V6 or any(address in network for network in CLOSED_V6):
        return False
    return (int(address) >> 32) & _ISATAP_MASK != _ISATAP
