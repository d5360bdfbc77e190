//! Queries as bytes, built by hand where the library would not build them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::dns::zone::{ServiceRecords, Target};

/// A zone with a service `s` on as many nodes as asked for.
fn zone_of(nodes: u8) -> Zone {
    let mut zone = Zone::new("prod.example", "c1").unwrap();
    let targets = (0..nodes).map(|i| Target {
        node: format!("node-{i}"),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, i)),
    });
    let records =
        ServiceRecords { ttl: Duration::from_secs(2), port: 80, targets: targets.collect() };
    zone.services.insert("s".to_owned(), records);
    zone
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

fn reply_to(zone: &Zone, message: &Message, transport: Transport) -> (Message, usize) {
    let reply = respond(zone, &message.to_vec().unwrap(), transport, 0).unwrap();
    let message = Message::from_vec(&reply.bytes).unwrap();
    // By number: 16 is BADVERS and BADSIG, and the library reads it as the latter.
    assert_eq!(u16::from(message.response_code), u16::from(reply.code));
    assert_eq!((message.id, message.message_type), (7, MessageType::Response));
    assert!(!message.recursion_available);
    (message, reply.bytes.len())
}

#[test]
fn replies_with_the_question_as_it_was_asked() {
    let asked = query("S.pRod.Example.", RecordType::A);
    let (reply, _) = reply_to(&zone_of(3), &asked, Transport::Udp);
    assert_eq!(reply.queries[0].name.to_string(), "S.pRod.Example.");
    assert_eq!(reply.answers[0].name.to_string(), "S.pRod.Example.");
    assert_eq!(reply.answers.len(), 3);
    assert!(reply.authoritative && reply.recursion_desired && !reply.truncation);
    assert_eq!(reply.edns, None);
}

#[test]
fn replies_with_edns_to_edns_only() {
    let asked = with_edns(query("s.prod.example.", RecordType::A), 4096);
    let edns = reply_to(&zone_of(1), &asked, Transport::Udp).0.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, UDP_REPLY_MAX));
    assert!(edns.flags().dnssec_ok);
}

#[test]
fn refuses_an_edns_version_from_the_future() {
    let mut asked = with_edns(query("s.prod.example.", RecordType::A), 1232);
    asked.edns.as_mut().unwrap().set_version(1);
    let (reply, _) = reply_to(&zone_of(1), &asked, Transport::Udp);
    assert_eq!(u16::from(reply.response_code), 16);
    assert_eq!(reply.edns.unwrap().version(), 0);
    assert_eq!(reply.answers, []);
}

#[test]
fn udp_replies_keep_to_what_the_client_takes() {
    // One A record takes 16 bytes behind a question of 32: 30 fill 512, 74 fill 1232.
    let plain = query("s.prod.example.", RecordType::A);
    let small = with_edns(plain.clone(), 100);
    let large = with_edns(plain.clone(), 4096);
    for (asked, nodes, whole) in [
        (&plain, 30, true),
        (&plain, 31, false),
        (&small, 28, true),
        (&small, 31, false),
        (&large, 74, true),
        (&large, 75, false),
    ] {
        let (reply, length) = reply_to(&zone_of(nodes), asked, Transport::Udp);
        let limit = if asked.max_payload() == 4096 { 1232 } else { 512 };
        assert!(length <= limit, "{nodes} nodes take {length}");
        assert_eq!(reply.truncation, !whole, "{nodes} nodes");
        assert_eq!(reply.answers.len(), if whole { nodes.into() } else { 0 });
        assert_eq!((reply.queries.len(), reply.authoritative), (1, true));
        assert_eq!(reply.edns.is_some(), asked.edns.is_some());
    }
    let (reply, length) = reply_to(&zone_of(100), &plain, Transport::Tcp);
    assert!(length > 1232 && !reply.truncation);
    assert_eq!(reply.answers.len(), 100);
}

#[test]
fn leaves_out_additional_records_before_it_truncates() {
    let asked = query("_s._tcp.prod.example.", RecordType::SRV);
    let (reply, _) = reply_to(&zone_of(5), &asked, Transport::Udp);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (5, 5));
    let (reply, length) = reply_to(&zone_of(9), &asked, Transport::Udp);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (9, 0));
    assert!(length <= 512 && !reply.truncation);
}

#[test]
fn the_longest_names_fit_tcp() {
    let label = |letter: &str| letter.repeat(63);
    let domain = format!("{}.{}", label("x"), "y".repeat(61));
    let mut zone = Zone::new(&domain, "c1").unwrap();
    let targets = (0..250).map(|i| Target {
        node: format!("{i:063}"),
        address: IpAddr::V6(std::net::Ipv6Addr::from_bits(i)),
    });
    let records = ServiceRecords { ttl: Duration::ZERO, port: 1, targets: targets.collect() };
    zone.services.insert(label("s"), records);
    let asked = query(&format!("{}.{domain}.", label("s")), RecordType::SRV);
    let (reply, _) = reply_to(&zone, &with_edns(asked, 1232), Transport::Tcp);
    assert!(!reply.truncation && reply.edns.is_some());
    let most = crate::dns::zone::ANSWERS_MAX;
    assert_eq!((reply.answers.len(), reply.additionals.len()), (most, most));
}

#[test]
fn refuses_other_classes() {
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY] {
        let mut asked = query("s.prod.example.", RecordType::A);
        asked.queries[0].query_class = class;
        let (reply, _) = reply_to(&zone_of(1), &asked, Transport::Udp);
        assert_eq!(reply.response_code, ResponseCode::Refused);
        assert!(!reply.authoritative);
        assert_eq!(reply.answers, []);
    }
}

#[test]
fn knows_no_operation_but_query() {
    for operation in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(9)] {
        let mut asked = query("s.prod.example.", RecordType::SOA);
        asked.metadata.op_code = operation;
        let (reply, _) = reply_to(&zone_of(1), &asked, Transport::Udp);
        assert_eq!(reply.response_code, ResponseCode::NotImp);
        assert_eq!(reply.op_code, operation);
    }
}

#[test]
fn tells_the_client_that_its_query_is_malformed() {
    let sound = with_edns(query("s.prod.example.", RecordType::A), 1232);
    let bytes = sound.to_vec().unwrap();
    let none = Message::new(7, MessageType::Query, OpCode::Query).to_vec().unwrap();
    let two = {
        let mut asked = query("s.prod.example.", RecordType::A);
        asked.add_query(asked.queries[0].clone());
        asked.to_vec().unwrap()
    };
    let mut counts = bytes.clone();
    counts[6..12].fill(0xff);
    let mut twice_edns = bytes.clone();
    twice_edns[11] = 2;
    twice_edns.extend_from_slice(&bytes[bytes.len() - 11..]);
    for (what, packet) in [
        ("no question", none),
        ("two questions", two),
        ("cut in the question", bytes[..20].to_vec()),
        ("cut in edns", bytes[..bytes.len() - 3].to_vec()),
        ("counts that lie", counts),
        ("two edns records", twice_edns),
    ] {
        let reply = respond(&zone_of(1), &packet, Transport::Udp, 0).unwrap();
        assert_eq!(reply.code, ResponseCode::FormErr, "{what}");
        let reply = Message::from_vec(&reply.bytes).unwrap();
        assert_eq!((reply.id, reply.response_code), (7, ResponseCode::FormErr), "{what}");
    }
}

#[test]
fn is_silent_to_replies_and_scraps() {
    let mut answer = query("s.prod.example.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    let answer = answer.to_vec().unwrap();
    for packet in [&answer[..], &answer[..11], b"", b"GET / HTTP"] {
        assert_eq!(respond(&zone_of(1), packet, Transport::Udp, 0), None);
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_short_reply_or_none(
        mut packet in proptest::collection::vec(any::<u8>(), 0..80),
        sound in any::<bool>(),
    ) {
        // Half of the cases keep a sound header, so that what follows is reached.
        if sound && packet.len() >= 12 {
            packet[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        if let Some(reply) = respond(&zone_of(100), &packet, Transport::Udp, 3) {
            prop_assert!(reply.bytes.len() <= usize::from(UDP_REPLY_MAX));
            prop_assert_eq!(&reply.bytes[..2], &packet[..2]);
            prop_assert_eq!(reply.bytes[2] & 0x80, 0x80);
        }
    }

    #[test]
    fn a_query_with_flipped_bits_never_stops_the_server(
        flips in proptest::collection::vec((12_usize..60, any::<u8>()), 1..4),
    ) {
        let asked = with_edns(query("node-1.s.prod.example.", RecordType::A), 1232);
        let mut packet = asked.to_vec().unwrap();
        for (place, bits) in flips {
            let place = place % packet.len();
            packet[place] ^= bits;
        }
        let _ = respond(&zone_of(3), &packet, Transport::Udp, 0);
    }
}
