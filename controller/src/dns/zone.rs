//! What the fleet's zone answers to one question: a value in, a value out.
//!
//! Who is in the zone is decided where it is built, from the replicated state; here the list given
//! is the truth. No sockets, no clock, no randomness: the start of the rotation is an argument.
//!
//! ```text
//!   <domain>                     SOA NS
//!   <name server>.<domain>       A AAAA
//!   <service>.<domain>           A AAAA SRV
//!   _<service>._tcp.<domain>     SRV
//!   <node>.<service>.<domain>    A AAAA
//! ```
//!
//! A service that has the name of a name server wins that name, since traffic follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{HINFO, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

#[cfg(test)]
mod tests;

/// Most records in one answer, so that 64 KiB (the limit of TCP) always hold them: an SRV with the
/// longest names and its address take 554 bytes, since SRV names are not compressed. Rotation gives
/// each target its turn.
pub const ANSWERS_MAX: usize = 100;

/// How long "there is no such name" may be kept, in seconds. Short, because the name of a node that
/// is out of traffic is missing, and must be found again as soon as the node is back.
pub const NEGATIVE_TTL: u32 = 1;

/// How long the zone's own records (SOA, NS and name servers' addresses) may be kept, in seconds.
pub const APEX_TTL: u32 = 60;

/// Longest domain on the wire: leaves room for two labels of 63 in a name of at most 255 bytes.
const DOMAIN_LEN_MAX: usize = 255 - 2 * 64;

/// Label under which the SRV names of all services hang.
const TCP_LABEL: &str = "_tcp";

/// Tells why text is not a domain for the fleet.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The characters or a label are off.
    #[error("dns domain `{domain}` is not a domain name")]
    Malformed {
        /// What was given.
        domain: String,
        /// What the parser says.
        #[source]
        source: ProtoError,
    },
    /// Too long for `<node>.<service>.` to go in front, or the root itself.
    #[error(
        "dns domain `{domain}` takes {length} bytes: it must have a label and at most \
         {DOMAIN_LEN_MAX}, so that node and service names fit in front"
    )]
    Length {
        /// What was given.
        domain: String,
        /// Its length on the wire.
        length: usize,
    },
}

/// Everything the built-in DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Domain of the fleet.
    pub origin: Name,
    /// Label of the name server that SOA calls the primary one.
    pub primary: String,
    /// Version of the zone, from the applied index.
    pub serial: u32,
    /// Labels and addresses of the name servers; a label may come once per address.
    pub nameservers: Vec<(String, IpAddr)>,
    /// Records of each service, by its lower-case label.
    pub services: BTreeMap<String, ServiceRecords>,
}

/// What the zone holds about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecords {
    /// How long an answer may be kept. Parts of a second are cut off, never rounded up: a drain
    /// waits this long, so no client may keep an answer longer.
    pub ttl: Duration,
    /// Port in SRV records.
    pub port: u16,
    /// Where clients are sent, in order.
    pub targets: Vec<Target>,
}

/// One address of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Lower-case label of the node.
    pub node: String,
    /// Address of the service there.
    pub address: IpAddr,
}

/// What is asked, in class IN.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Name, in any case.
    pub name: &'a Name,
    /// Type of record.
    pub kind: RecordType,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Response code.
    pub code: ResponseCode,
    /// Whether this zone decides about the name.
    pub authoritative: bool,
    /// Records asked for.
    pub answers: Vec<Record>,
    /// SOA of a negative answer.
    pub authority: Vec<Record>,
    /// Addresses of the names in the answers; may be left out where room is short.
    pub additional: Vec<Record>,
}

/// What a name in the zone stands for.
enum Owner<'z> {
    Apex,
    /// Nothing itself, but names exist below it.
    Hollow,
    Nameserver(&'z str),
    Service(&'z str, &'z ServiceRecords),
    ServiceSrv(&'z str, &'z ServiceRecords),
    Node(&'z ServiceRecords, String),
    Missing,
}

impl Zone {
    /// Makes an empty zone of `domain`.
    pub fn new(domain: &str, primary: &str) -> Result<Self, DomainError> {
        let mut origin = Name::from_ascii(domain)
            .map_err(|source| DomainError::Malformed { domain: domain.to_owned(), source })?
            .to_lowercase();
        origin.set_fqdn(true);
        let length = origin.len() + 1;
        if origin.is_root() || length > DOMAIN_LEN_MAX {
            return Err(DomainError::Length { domain: domain.to_owned(), length });
        }
        Ok(Self {
            origin,
            primary: primary.to_owned(),
            serial: 0,
            nameservers: Vec::new(),
            services: BTreeMap::new(),
        })
    }

    /// Returns the name of `labels` within the zone, or none where one of them is not a label.
    fn name(&self, labels: &[&str]) -> Option<Name> {
        let above = Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?;
        above.append_domain(&self.origin).ok()
    }

    /// Returns what `name` stands for, or none outside the zone.
    fn owner(&self, name: &Name) -> Option<Owner<'_>> {
        if !self.origin.zone_of(name) {
            return None;
        }
        let above = name.iter().len() - self.origin.iter().len();
        let labels: Vec<String> = name
            .iter()
            .take(above)
            .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
            .collect();
        Some(match labels.as_slice() {
            [] => Owner::Apex,
            [one] => self.owner_of_label(one),
            [one, tcp] if tcp == TCP_LABEL => self.owner_of_srv(one),
            [node, service] => self.owner_of_node(node, service),
            _ => Owner::Missing,
        })
    }

    fn owner_of_label(&self, label: &str) -> Owner<'_> {
        if let Some((service, records)) = self.services.get_key_value(label) {
            return Owner::Service(service, records);
        }
        if let Some((server, _)) = self.nameservers.iter().find(|(server, _)| server == label) {
            return Owner::Nameserver(server);
        }
        if label == TCP_LABEL && !self.services.is_empty() { Owner::Hollow } else { Owner::Missing }
    }

    fn owner_of_srv(&self, label: &str) -> Owner<'_> {
        label
            .strip_prefix('_')
            .and_then(|service| self.services.get_key_value(service))
            .map_or(Owner::Missing, |(service, records)| Owner::ServiceSrv(service, records))
    }

    fn owner_of_node(&self, node: &str, service: &str) -> Owner<'_> {
        match self.services.get(service) {
            Some(records) if records.targets.iter().any(|target| target.node == node) => {
                Owner::Node(records, node.to_owned())
            }
            _ => Owner::Missing,
        }
    }

    fn soa(&self, ttl: u32) -> Option<Record> {
        /// Nobody transfers this zone, so these only have to be sensible, in seconds.
        const REFRESH: i32 = 60;
        const RETRY: i32 = 10;
        const EXPIRE: i32 = 3600;
        let primary = self.name(&[&self.primary])?;
        let mailbox = self.name(&["hostmaster"])?;
        let soa = SOA::new(primary, mailbox, self.serial, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL);
        Some(Record::from_rdata(self.origin.clone(), ttl, RData::SOA(soa)))
    }

    /// Returns the records of the apex, with the name servers' addresses beside NS.
    fn apex(&self, question: &Question<'_>) -> Answer {
        let owner = |data| Record::from_rdata(question.name.clone(), APEX_TTL, data);
        match question.kind {
            RecordType::SOA => {
                let soa = self.soa(APEX_TTL).map(|record| owner(record.data));
                self.found(soa.into_iter().collect(), Vec::new())
            }
            RecordType::NS => {
                let labels: BTreeSet<&str> =
                    self.nameservers.iter().map(|(label, _)| label.as_str()).collect();
                let names = labels.iter().filter_map(|label| self.name(&[label]));
                let answers = names.map(|name| owner(RData::NS(NS(name)))).take(ANSWERS_MAX);
                let glue = self.nameservers.iter().filter_map(|(label, address)| {
                    let data = RData::from(*address);
                    Some(Record::from_rdata(self.name(&[label])?, APEX_TTL, data))
                });
                self.found(answers.collect(), glue.take(ANSWERS_MAX).collect())
            }
            _ => self.negative(ResponseCode::NoError),
        }
    }

    /// Returns one SRV record per node, with the nodes' addresses beside them.
    fn srv(
        &self,
        question: &Question<'_>,
        service: &str,
        records: &ServiceRecords,
        rotate: usize,
    ) -> Answer {
        /// All targets are equal: SRV's own balancing then has nothing to prefer.
        const PRIORITY: u16 = 0;
        const WEIGHT: u16 = 1;
        let ttl = whole_seconds(records.ttl);
        let nodes = spread(records.targets.iter().map(|target| target.node.as_str()), rotate);
        let answers = nodes.iter().filter_map(|node| {
            let srv = SRV::new(PRIORITY, WEIGHT, records.port, self.name(&[node, service])?);
            Some(Record::from_rdata(question.name.clone(), ttl, RData::SRV(srv)))
        });
        let chosen: BTreeSet<&str> = nodes.iter().copied().collect();
        let beside = records.targets.iter().filter(|target| chosen.contains(target.node.as_str()));
        let additional = beside.filter_map(|target| {
            let name = self.name(&[&target.node, service])?;
            Some(Record::from_rdata(name, ttl, RData::from(target.address)))
        });
        self.found(answers.collect(), additional.take(ANSWERS_MAX).collect())
    }

    /// Returns the addresses of the family that was asked for.
    fn addresses(
        &self,
        question: &Question<'_>,
        ttl: u32,
        addresses: impl Iterator<Item = IpAddr>,
        rotate: usize,
    ) -> Answer {
        let asked = addresses.filter(|address| match question.kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        });
        let record = |address| Record::from_rdata(question.name.clone(), ttl, RData::from(address));
        self.found(spread(asked, rotate).into_iter().map(record).collect(), Vec::new())
    }

    fn found(&self, answers: Vec<Record>, additional: Vec<Record>) -> Answer {
        if answers.is_empty() {
            return self.negative(ResponseCode::NoError);
        }
        Answer {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            authority: Vec::new(),
            additional,
        }
    }

    fn negative(&self, code: ResponseCode) -> Answer {
        Answer {
            code,
            authoritative: true,
            answers: Vec::new(),
            authority: self.soa(NEGATIVE_TTL).into_iter().collect(),
            additional: Vec::new(),
        }
    }
}

/// Answers `question` from `zone`; equal records begin at place `rotate`, modulo their number.
pub fn answer(zone: &Zone, question: &Question<'_>, rotate: usize) -> Answer {
    let transfer = matches!(question.kind, RecordType::AXFR | RecordType::IXFR);
    let Some(owner) = zone.owner(question.name).filter(|_| !transfer) else {
        return refused();
    };
    if question.kind == RecordType::ANY && !matches!(owner, Owner::Missing) {
        return zone.found(vec![any(question.name)], Vec::new());
    }
    match owner {
        Owner::Missing => zone.negative(ResponseCode::NXDomain),
        Owner::Apex => zone.apex(question),
        Owner::Nameserver(label) => {
            let own = zone.nameservers.iter().filter(|(server, _)| server == label);
            zone.addresses(question, APEX_TTL, own.map(|(_, address)| *address), rotate)
        }
        Owner::Service(service, records) | Owner::ServiceSrv(service, records)
            if question.kind == RecordType::SRV =>
        {
            zone.srv(question, service, records, rotate)
        }
        Owner::Hollow | Owner::ServiceSrv(..) => zone.negative(ResponseCode::NoError),
        Owner::Service(_, records) => {
            let all = records.targets.iter().map(|target| target.address);
            zone.addresses(question, whole_seconds(records.ttl), all, rotate)
        }
        Owner::Node(records, node) => {
            let own = records.targets.iter().filter(|target| target.node == node);
            let own = own.map(|target| target.address);
            zone.addresses(question, whole_seconds(records.ttl), own, rotate)
        }
    }
}

/// The answer to what this server has no say in: outside the zone, or the zone as a whole.
pub fn refused() -> Answer {
    Answer {
        code: ResponseCode::Refused,
        authoritative: false,
        answers: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
    }
}

/// The one small record that RFC 8482 gives to ANY, which otherwise serves amplification only.
fn any(name: &Name) -> Record {
    let hinfo = HINFO::new("RFC8482".to_owned(), String::new());
    Record::from_rdata(name.clone(), NEGATIVE_TTL, RData::HINFO(hinfo))
}

/// Drops repetitions, turns the rest to begin at `rotate`, and cuts it to what fits.
fn spread<T: Copy + Ord>(items: impl Iterator<Item = T>, rotate: usize) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<T> = items.filter(|item| seen.insert(*item)).collect();
    if !kept.is_empty() {
        let by = rotate % kept.len();
        kept.rotate_left(by);
    }
    kept.truncate(ANSWERS_MAX);
    kept
}

/// Returns `ttl` as the wire has it: RFC 2181 reads a set top bit as zero, so it stays unset.
fn whole_seconds(ttl: Duration) -> u32 {
    const TTL_MAX: u64 = i32::MAX as u64;
    u32::try_from(ttl.as_secs().min(TTL_MAX)).unwrap_or(0)
}
