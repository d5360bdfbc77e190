//! The rules of the zone by value, as a zone file would print the records.

use super::*;

fn target(node: &str, address: &str) -> Target {
    Target { node: node.to_owned(), address: address.parse().unwrap() }
}

fn service(ttl: Duration, targets: &[(&str, &str)]) -> ServiceRecords {
    let targets = targets.iter().map(|(node, address)| target(node, address)).collect();
    ServiceRecords { ttl, port: 8080, targets }
}

fn zone() -> Zone {
    let mut zone = Zone::new("Prod.Example", "c1").unwrap();
    zone.serial = 42;
    zone.nameservers = [("c1", "10.1.0.9"), ("c2", "10.2.0.9"), ("c2", "fd00::c2")]
        .map(|(label, address)| (label.to_owned(), address.parse().unwrap()))
        .to_vec();
    let dvn = [("a1", "10.1.0.1"), ("b1", "10.2.0.1"), ("b1", "fd00::b1"), ("g1", "10.3.0.1")];
    zone.services.insert("dvn".to_owned(), service(Duration::from_secs(2), &dvn));
    zone.services.insert("idle".to_owned(), service(Duration::from_secs(2), &[]));
    zone
}

fn ask_turned(zone: &Zone, name: &str, kind: RecordType, rotate: usize) -> Answer {
    answer(zone, &Question { name: &Name::from_ascii(name).unwrap(), kind }, rotate)
}

fn ask(name: &str, kind: RecordType) -> Answer {
    ask_turned(&zone(), name, kind, 0)
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

const SOA_LINE: &str =
    "prod.example. 1 IN SOA c1.prod.example. hostmaster.prod.example. 42 60 10 3600 1";

fn assert_positive(answer: &Answer, answers: &[&str], additional: &[&str]) {
    assert_eq!(answer.code, ResponseCode::NoError);
    assert!(answer.authoritative);
    assert_eq!(lines(&answer.answers), answers);
    assert_eq!(lines(&answer.additional), additional);
    assert_eq!(answer.authority, []);
}

fn assert_negative(answer: &Answer, code: ResponseCode, what: &str) {
    assert_eq!(answer.code, code, "{what}");
    assert!(answer.authoritative, "{what}");
    assert_eq!(answer.answers, [], "{what}");
    assert_eq!(lines(&answer.authority), [SOA_LINE], "{what}");
    assert_eq!(answer.additional, [], "{what}");
}

#[test]
fn gives_all_addresses_of_the_family_asked_for() {
    assert_positive(
        &ask("dvn.prod.example.", RecordType::A),
        &[
            "dvn.prod.example. 2 IN A 10.1.0.1",
            "dvn.prod.example. 2 IN A 10.2.0.1",
            "dvn.prod.example. 2 IN A 10.3.0.1",
        ],
        &[],
    );
    assert_positive(
        &ask("dvn.prod.example.", RecordType::AAAA),
        &["dvn.prod.example. 2 IN AAAA fd00::b1"],
        &[],
    );
}

#[test]
fn gives_the_addresses_of_one_node() {
    assert_positive(
        &ask("b1.dvn.prod.example.", RecordType::A),
        &["b1.dvn.prod.example. 2 IN A 10.2.0.1"],
        &[],
    );
    assert_positive(
        &ask("b1.dvn.prod.example.", RecordType::AAAA),
        &["b1.dvn.prod.example. 2 IN AAAA fd00::b1"],
        &[],
    );
}

#[test]
fn gives_srv_at_both_names_with_one_record_per_node_and_the_addresses_beside() {
    for name in ["_dvn._tcp.prod.example.", "dvn.prod.example."] {
        let answers = ["a1", "b1", "g1"]
            .map(|node| format!("{name} 2 IN SRV 0 1 8080 {node}.dvn.prod.example."));
        assert_positive(
            &ask(name, RecordType::SRV),
            &answers.each_ref().map(String::as_str),
            &[
                "a1.dvn.prod.example. 2 IN A 10.1.0.1",
                "b1.dvn.prod.example. 2 IN A 10.2.0.1",
                "b1.dvn.prod.example. 2 IN AAAA fd00::b1",
                "g1.dvn.prod.example. 2 IN A 10.3.0.1",
            ],
        );
    }
}

#[test]
fn gives_soa_and_ns_at_the_apex() {
    assert_positive(
        &ask("prod.example.", RecordType::SOA),
        &["prod.example. 60 IN SOA c1.prod.example. hostmaster.prod.example. 42 60 10 3600 1"],
        &[],
    );
    assert_positive(
        &ask("prod.example.", RecordType::NS),
        &["prod.example. 60 IN NS c1.prod.example.", "prod.example. 60 IN NS c2.prod.example."],
        &[
            "c1.prod.example. 60 IN A 10.1.0.9",
            "c2.prod.example. 60 IN A 10.2.0.9",
            "c2.prod.example. 60 IN AAAA fd00::c2",
        ],
    );
}

#[test]
fn gives_the_addresses_of_name_servers() {
    assert_positive(
        &ask("c2.prod.example.", RecordType::A),
        &["c2.prod.example. 60 IN A 10.2.0.9"],
        &[],
    );
    assert_positive(
        &ask("c2.prod.example.", RecordType::AAAA),
        &["c2.prod.example. 60 IN AAAA fd00::c2"],
        &[],
    );
}

#[test]
fn a_service_wins_the_name_it_shares_with_a_name_server() {
    let mut zone = zone();
    zone.services.insert("c1".to_owned(), service(Duration::ZERO, &[("a1", "10.1.0.1")]));
    let answer = ask_turned(&zone, "c1.prod.example.", RecordType::A, 0);
    assert_positive(&answer, &["c1.prod.example. 0 IN A 10.1.0.1"], &[]);
}

#[test]
fn finds_names_in_any_case_and_answers_in_the_case_of_the_question() {
    assert_positive(
        &ask("B1.dVn.PROD.example.", RecordType::A),
        &["B1.dVn.PROD.example. 2 IN A 10.2.0.1"],
        &[],
    );
    let srv = ask("_DVN._Tcp.prod.EXAMPLE.", RecordType::SRV);
    assert_eq!(
        lines(&srv.answers)[0],
        "_DVN._Tcp.prod.EXAMPLE. 2 IN SRV 0 1 8080 a1.dvn.prod.example."
    );
    let ns = ask("PROD.example.", RecordType::NS);
    assert_eq!(lines(&ns.answers)[0], "PROD.example. 60 IN NS c1.prod.example.");
}

#[test]
fn says_that_a_name_has_no_such_records() {
    for (name, kind) in [
        ("prod.example.", RecordType::A),
        ("prod.example.", RecordType::DS),
        ("dvn.prod.example.", RecordType::TXT),
        ("dvn.prod.example.", RecordType::CNAME),
        ("idle.prod.example.", RecordType::A),
        ("idle.prod.example.", RecordType::SRV),
        ("_idle._tcp.prod.example.", RecordType::SRV),
        ("_dvn._tcp.prod.example.", RecordType::A),
        ("_tcp.prod.example.", RecordType::A),
        ("_tcp.prod.example.", RecordType::SRV),
        ("a1.dvn.prod.example.", RecordType::AAAA),
        ("a1.dvn.prod.example.", RecordType::SRV),
        ("c1.prod.example.", RecordType::AAAA),
        ("c1.prod.example.", RecordType::SRV),
    ] {
        assert_negative(&ask(name, kind), ResponseCode::NoError, &format!("{name} {kind}"));
    }
}

#[test]
fn says_that_a_name_does_not_exist() {
    for name in [
        "nosuch.prod.example.",
        "nosuch.dvn.prod.example.",
        "a1.idle.prod.example.",
        "a1.nosuch.prod.example.",
        "x.a1.dvn.prod.example.",
        "dvn._tcp.prod.example.",
        "_nosuch._tcp.prod.example.",
        "_dvn._udp.prod.example.",
        "_udp.prod.example.",
        "*.prod.example.",
        "x.c1.prod.example.",
    ] {
        for kind in [RecordType::A, RecordType::SRV, RecordType::ANY] {
            assert_negative(&ask(name, kind), ResponseCode::NXDomain, &format!("{name} {kind}"));
        }
    }
}

#[test]
fn a_label_that_is_no_text_does_not_exist() {
    let labels: [&[u8]; 3] = [&[0xff, 0x00, b'.'], b"prod", b"example"];
    let name = Name::from_labels(labels).unwrap();
    let answer = answer(&zone(), &Question { name: &name, kind: RecordType::A }, 0);
    assert_negative(&answer, ResponseCode::NXDomain, "raw bytes");
}

#[test]
fn without_services_nothing_hangs_under_tcp() {
    let zone = Zone { services: BTreeMap::new(), ..zone() };
    let answer = ask_turned(&zone, "_tcp.prod.example.", RecordType::A, 0);
    assert_negative(&answer, ResponseCode::NXDomain, "_tcp");
}

#[test]
fn refuses_names_outside_the_zone_and_transfers() {
    for (name, kind) in [
        (".", RecordType::NS),
        ("example.", RecordType::SOA),
        ("example.com.", RecordType::A),
        ("notprod.example.", RecordType::A),
        ("prod.example.com.", RecordType::A),
        ("prod.example.", RecordType::AXFR),
        ("prod.example.", RecordType::IXFR),
    ] {
        assert_eq!(ask(name, kind), refused(), "{name} {kind}");
    }
    assert_eq!(refused().code, ResponseCode::Refused);
    assert!(!refused().authoritative);
}

#[test]
fn answers_any_with_one_small_record() {
    for name in ["prod.example.", "dvn.prod.example.", "a1.dvn.prod.example.", "_tcp.prod.example."]
    {
        let answer = ask(name, RecordType::ANY);
        assert_eq!(answer.code, ResponseCode::NoError, "{name}");
        let [record] = answer.answers.as_slice() else { panic!("{name}: one record") };
        let hinfo = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
        assert_eq!(record, &Record::from_rdata(Name::from_ascii(name).unwrap(), 1, hinfo));
    }
}

#[test]
fn rotation_gives_each_target_the_first_place() {
    let first = |rotate| {
        let answer = ask_turned(&zone(), "dvn.prod.example.", RecordType::A, rotate);
        assert_eq!(answer.answers.len(), 3);
        answer.answers[0].data.to_string()
    };
    let firsts = [0, 1, 2, 3, usize::MAX].map(first);
    assert_eq!(firsts, ["10.1.0.1", "10.2.0.1", "10.3.0.1", "10.1.0.1", "10.1.0.1"]);

    let srv = ask_turned(&zone(), "dvn.prod.example.", RecordType::SRV, 2);
    assert_eq!(srv.answers[0].data.to_string(), "0 1 8080 g1.dvn.prod.example.");
    assert_eq!(srv.answers.len(), 3);
}

#[test]
fn cuts_parts_of_a_second_off_the_ttl() {
    for (ttl, seconds) in [
        (Duration::ZERO, 0),
        (Duration::from_millis(999), 0),
        (Duration::from_millis(1999), 1),
        (Duration::from_secs(301), 301),
        (Duration::MAX, 2_147_483_647),
    ] {
        assert_eq!(whole_seconds(ttl), seconds);
    }
}

#[test]
fn gives_an_address_of_two_nodes_once() {
    let mut zone = zone();
    let twice = [("a1", "10.1.0.1"), ("a2", "10.1.0.1")];
    zone.services.insert("twin".to_owned(), service(Duration::ZERO, &twice));
    let answer = ask_turned(&zone, "twin.prod.example.", RecordType::A, 0);
    assert_positive(&answer, &["twin.prod.example. 0 IN A 10.1.0.1"], &[]);
}

#[test]
fn gives_a_bounded_window_of_many_targets_and_each_its_turn() {
    let mut zone = zone();
    let count = ANSWERS_MAX * 2;
    let targets = (0..count).map(|i| Target {
        node: format!("n{i}"),
        address: std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(i).unwrap()).into(),
    });
    let many = ServiceRecords { ttl: Duration::ZERO, port: 1, targets: targets.collect() };
    zone.services.insert("many".to_owned(), many);
    let mut seen = BTreeSet::new();
    for rotate in [0, ANSWERS_MAX] {
        let answer = ask_turned(&zone, "many.prod.example.", RecordType::A, rotate);
        assert_eq!(answer.answers.len(), ANSWERS_MAX);
        seen.extend(lines(&answer.answers));
    }
    assert_eq!(seen.len(), count);
    let srv = ask_turned(&zone, "many.prod.example.", RecordType::SRV, 5);
    assert_eq!((srv.answers.len(), srv.additional.len()), (ANSWERS_MAX, ANSWERS_MAX));
}

#[test]
fn tells_what_is_wrong_with_a_domain() {
    let message = |domain: &str| Zone::new(domain, "c1").unwrap_err().to_string();
    assert_eq!(message("a..b"), "dns domain `a..b` is not a domain name");
    assert_eq!(
        message("."),
        "dns domain `.` takes 2 bytes: it must have a label and at most 127, so that node and \
         service names fit in front"
    );
    let label = "x".repeat(63);
    assert!(message(&format!("{label}.{label}")).contains("takes 129 bytes"));
    assert!(Zone::new(&format!("{label}.{}", "y".repeat(61)), "c1").is_ok());
}
