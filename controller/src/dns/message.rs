//! From the bytes of a query to the bytes of its reply, as RFC 1035, 6891 and 7766 have them.
//!
//! The wire format is hickory-proto's; here is decided which code a query gets, and what is left
//! out where the reply is too long. Replies are never replied to, so no two servers can keep each
//! other busy. No sockets, no clock, no randomness.

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::DNSClass;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use super::zone::{Answer, Question, Zone, answer, refused};

#[cfg(test)]
mod tests;

/// Largest UDP reply: what crosses every network unfragmented (DNS flag day 2020).
pub(super) const UDP_REPLY_MAX: u16 = 1232;

/// Largest UDP reply to a client that does not say what it can take (RFC 1035).
const UDP_REPLY_PLAIN: u16 = 512;

/// The only version of EDNS there is.
const EDNS_VERSION: u8 = 0;

/// How a query came, and how its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// One datagram.
    Udp,
    /// A stream, each message behind its length.
    Tcp,
}

/// A reply ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Its response code.
    pub(super) code: ResponseCode,
    /// The message.
    pub(super) bytes: Vec<u8>,
}

/// Returns the reply to `packet`, or none to what is not a query at all.
pub(super) fn respond(
    zone: &Zone,
    packet: &[u8],
    transport: Transport,
    rotate: usize,
) -> Option<Reply> {
    let mut decoder = BinDecoder::new(packet);
    let header = Header::read(&mut decoder).ok()?;
    if header.message_type == MessageType::Response {
        return None;
    }
    let mut reply = Message::response(header.id, header.op_code);
    reply.metadata.recursion_desired = header.recursion_desired;
    if header.op_code != OpCode::Query {
        return encode(reply, answered(ResponseCode::NotImp), UDP_REPLY_PLAIN);
    }
    // More than one question has no defined answer (RFC 9619).
    let (1, Ok(query)) = (header.counts.queries, Query::read(&mut decoder)) else {
        return encode(reply, answered(ResponseCode::FormErr), UDP_REPLY_PLAIN);
    };
    reply.add_query(query.clone());
    let Ok(edns) = read_edns(&mut decoder, &header) else {
        return encode(reply, answered(ResponseCode::FormErr), UDP_REPLY_PLAIN);
    };
    let limit = limit(transport, edns.as_ref());
    let version = edns.as_ref().map_or(EDNS_VERSION, Edns::version);
    if let Some(asked) = edns {
        let mut own = Edns::new();
        own.set_version(EDNS_VERSION).set_max_payload(UDP_REPLY_MAX);
        own.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(own);
    }
    let answer = if version != EDNS_VERSION {
        answered(ResponseCode::BADVERS)
    } else if query.query_class == DNSClass::IN {
        answer(zone, &Question { name: &query.name, kind: query.query_type }, rotate)
    } else {
        refused()
    };
    encode(reply, answer, limit)
}

/// Reads what follows the question, of which only EDNS matters.
fn read_edns(decoder: &mut BinDecoder<'_>, header: &Header) -> Result<Option<Edns>, DecodeError> {
    let counts = &header.counts;
    for count in [counts.answers, counts.authorities] {
        Message::read_records(decoder, count.into(), false, header.op_code)?;
    }
    let (_, edns, _) =
        Message::read_records(decoder, counts.additionals.into(), true, header.op_code)?;
    Ok(edns)
}

/// Returns how long the reply may be, in bytes.
fn limit(transport: Transport, edns: Option<&Edns>) -> u16 {
    match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => edns.map_or(UDP_REPLY_PLAIN, |edns| {
            edns.max_payload().clamp(UDP_REPLY_PLAIN, UDP_REPLY_MAX)
        }),
    }
}

/// An answer that is no more than its code.
fn answered(code: ResponseCode) -> Answer {
    Answer { code, ..refused() }
}

/// Puts `answer` into `reply`. Where it is too long, first the additional records go, which are
/// only a courtesy; then all of them, and the client is told to come back by TCP.
fn encode(mut reply: Message, answer: Answer, limit: u16) -> Option<Reply> {
    let limit = usize::from(limit);
    let code = answer.code;
    reply.metadata.response_code = code;
    reply.metadata.authoritative = answer.authoritative;
    reply.answers = answer.answers;
    reply.authorities = answer.authority;
    reply.additionals = answer.additional;
    let mut bytes = reply.to_vec().ok()?;
    if bytes.len() > limit && !reply.additionals.is_empty() {
        reply.additionals.clear();
        bytes = reply.to_vec().ok()?;
    }
    if bytes.len() > limit {
        bytes = reply.truncate().to_vec().ok()?;
    }
    Some(Reply { code, bytes })
}
