//! What kind of address an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// The internet.
    Public,
    /// This host or a network behind it: loopback, private, shared (carrier NAT)
    /// and unique-local.
    Private,
    /// The link: among others the metadata services of clouds.
    LinkLocal,
    /// Multicast, documentation, unspecified: nobody serves files there.
    Reserved,
}

/// The class of an address, after the registries of special-purpose addresses
/// (RFC 6890 and its updates). An IPv6 address that carries an IPv4 one is
/// judged by what it carries.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(v4: Ipv4Addr) -> AddressClass {
    match v4.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [0 | 224..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn classify_v6(v6: Ipv6Addr) -> AddressClass {
    let carried = |high: u16, low: u16| classify_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Private,
        // IPv4-compatible (obsolete), which covers the unspecified address.
        [0, 0, 0, 0, 0, 0, ..] => AddressClass::Reserved,
        // IPv4-mapped, IPv4-translated, NAT64.
        [0, 0, 0, 0, 0, 0xffff, h, l] | [0, 0, 0, 0, 0xffff, 0, h, l] | [0x64, 0xff9b, 0, 0, 0, 0, h, l] => {
            carried(h, l)
        }
        // 6to4.
        [0x2002, h, l, ..] => carried(h, l),
        [0x64, 0xff9b, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        // Unique-local, and site-local, which was its predecessor.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        // Protocol assignments with Teredo, documentation, discard, multicast.
        [0x2001, 0..=0x1ff | 0xdb8, ..]
        | [0x100, 0, 0, 0, ..]
        | [0x3fff, 0..=0xfff, ..]
        | [0xff00..=0xffff, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_addresses() {
        let cases = [
            ("8.8.8.8", AddressClass::Public),
            ("172.32.0.1", AddressClass::Public),
            ("172.31.255.255", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("127.8.8.8", AddressClass::Private),
            ("169.254.169.254", AddressClass::LinkLocal),
            ("0.0.0.0", AddressClass::Reserved),
            ("255.255.255.255", AddressClass::Reserved),
            ("2606:4700::1111", AddressClass::Public),
            ("::1", AddressClass::Private),
            ("::", AddressClass::Reserved),
            ("fd00:ec2::254", AddressClass::Private),
            ("fe80::1", AddressClass::LinkLocal),
            ("::ffff:192.168.1.1", AddressClass::Private),
            ("::ffff:8.8.8.8", AddressClass::Public),
            ("64:ff9b::a9fe:a9fe", AddressClass::LinkLocal),
            ("64:ff9b:1::1", AddressClass::Private),
            ("2002:7f00:1::", AddressClass::Private),
            ("2001:0:1::", AddressClass::Reserved),
            ("2001:db8::1", AddressClass::Reserved),
            ("ff02::1", AddressClass::Reserved),
        ];
        for (address, class) in cases {
            assert_eq!(classify(address.parse().unwrap()), class, "{address}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let class = classify(v4.into());
            let private = v4.is_private() || v4.is_loopback();
            prop_assert!(!private || class == AddressClass::Private);
            prop_assert_eq!(v4.is_link_local(), class == AddressClass::LinkLocal);
            let odd = v4.is_multicast() || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            prop_assert!(!odd || class == AddressClass::Reserved);
            prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), class);
        }
    }
}
