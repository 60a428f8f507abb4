//! Where a request comes from, as far as it can be believed.

use crate::settings::{AuthSettings, ForwardedHeader};
use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::Ipv6Net;
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies that are looked back through, in number: nobody has more, and a header may name hundreds.
const HOPS_MAX: usize = 16;
/// The part of an IPv6 address that one household or server has to itself (RFC 6177): whoever has it has all
/// addresses in it.
const IPV6_PREFIX_LEN: u8 = 64;

/// The address of the client: that of the socket, or what trusted proxies say of it.
///
/// Every proxy adds at the end whom it heard from. So from the end back, as long as those are trusted, each entry is
/// true; the first address that is not a trusted proxy's is the client's, and whatever stands before it is only what
/// the client wrote.
pub(crate) fn client_address(settings: &AuthSettings, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let is_trusted = |address: IpAddr| settings.trusted_proxies.iter().any(|network| network.contains(&address));
    let mut known = peer.to_canonical();
    if !is_trusted(known) {
        return known;
    }
    let name = match settings.forwarded_header {
        ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => &FORWARDED,
    };
    for value in headers.get_all(name).iter().rev() {
        // What cannot be read hides everything before it.
        let Ok(value) = value.to_str() else { return known };
        for entry in value.rsplit(',').take(HOPS_MAX) {
            let address = match settings.forwarded_header {
                ForwardedHeader::XForwardedFor => address(entry.trim()),
                ForwardedHeader::Forwarded => forwarded_for(entry),
            };
            let Some(address) = address else { return known };
            known = address;
            if !is_trusted(known) {
                return known;
            }
        }
    }
    known
}

/// What an address is counted as: itself, or the /64 that an IPv6 address is in.
pub(crate) fn bucket(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Net::new(address, IPV6_PREFIX_LEN).map(|network| network.trunc());
            network.map_or_else(|_| address.to_string(), |network| network.to_string())
        }
    }
}

/// The `for` of one hop (RFC 7239, 4).
fn forwarded_for(entry: &str) -> Option<IpAddr> {
    let node = entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    text.parse().ok().or_else(bare).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn settings(header: ForwardedHeader) -> AuthSettings {
        let mut settings = Settings::for_tests("", "s").auth;
        settings.trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        settings.forwarded_header = header;
        settings
    }

    fn told(header: ForwardedHeader, peer: &str, lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        client_address(&settings(header), &headers, peer.parse().unwrap()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_the_last_untrusted_hop_counts() {
        const NAME: &str = "x-forwarded-for";
        for (expected, peer, lines) in [
            ("203.0.113.9", "203.0.113.9", &[(NAME, "1.2.3.4")][..]),
            ("203.0.113.9", "::ffff:203.0.113.9", &[(NAME, "1.2.3.4")]),
            ("10.0.0.1", "10.0.0.1", &[]),
            ("1.2.3.4", "10.0.0.1", &[(NAME, "1.2.3.4")]),
            ("1.2.3.4", "::ffff:10.0.0.1", &[(NAME, "1.2.3.4")]),
            ("1.2.3.4", "10.0.0.1", &[(NAME, "6.6.6.6, 1.2.3.4")]),
            ("1.2.3.4", "10.0.0.1", &[(NAME, "6.6.6.6,1.2.3.4 , 10.0.0.7")]),
            ("1.2.3.4", "10.0.0.1", &[(NAME, "6.6.6.6"), (NAME, "1.2.3.4")]),
            ("1.2.3.4", "10.0.0.1", &[(NAME, "1.2.3.4:5678")]),
            ("2001:db8::1", "fd00::1", &[(NAME, "2001:db8::1")]),
            ("2001:db8::1", "fd00::1", &[(NAME, "[2001:db8::1]:443")]),
            ("10.0.0.2", "10.0.0.1", &[(NAME, "10.0.0.2")]),
            // What nobody can read hides what stands before it.
            ("10.0.0.1", "10.0.0.1", &[(NAME, "1.2.3.4, unknown")]),
            ("10.0.0.7", "10.0.0.1", &[(NAME, "1.2.3.4, , 10.0.0.7")]),
            ("10.0.0.1", "10.0.0.1", &[("forwarded", "for=1.2.3.4")]),
        ] {
            assert_eq!(told(ForwardedHeader::XForwardedFor, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_chosen() {
        const NAME: &str = "forwarded";
        for (expected, lines) in [
            ("1.2.3.4", &[(NAME, "for=1.2.3.4")][..]),
            ("1.2.3.4", &[(NAME, "for=6.6.6.6, For=\"1.2.3.4:80\";proto=https;by=10.0.0.1")]),
            ("2001:db8::1", &[(NAME, "for=\"[2001:db8::1]:4711\"")]),
            ("10.0.0.1", &[(NAME, "for=unknown")]),
            ("10.0.0.1", &[(NAME, "for=_hidden, proto=https")]),
            ("10.0.0.1", &[("x-forwarded-for", "1.2.3.4")]),
        ] {
            assert_eq!(told(ForwardedHeader::Forwarded, "10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn addresses_of_one_household_are_counted_together() {
        let of = |text: &str| bucket(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!((of("203.0.113.9"), of("::ffff:203.0.113.9")), ("203.0.113.9".into(), "203.0.113.9".into()));
    }
}
