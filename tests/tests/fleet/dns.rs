//! What the controllers' DNS answers, and that it is ahead of what happens on the nodes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Asks one server; returns the code of its answer and the addresses in it.
async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> (ResponseCode, BTreeSet<IpAddr>) {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&question.to_vec().unwrap()).await.unwrap();
    let mut reply = vec![0; 4096];
    let length = timeout(ANSWER_WAIT, socket.recv(&mut reply)).await.unwrap().unwrap();
    let answer = Message::from_vec(&reply[..length]).unwrap();
    let addresses = answer.answers.iter().filter_map(|record| record.data.ip_addr());
    (answer.metadata.response_code, addresses.collect())
}

/// Returns what every controller answers for the service.
pub(crate) async fn answers(rig: &Rig) -> Vec<BTreeSet<IpAddr>> {
    let name = format!("{WEB}.{}.", rig.fleet.shape().domain);
    let mut answers = Vec::new();
    for controller in rig.fleet.controllers() {
        let (code, addresses) = ask(controller.dns, &name, RecordType::A).await;
        assert_eq!(code, ResponseCode::NoError);
        answers.push(addresses);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn all_controllers_agree_and_a_node_leaves_their_answers_before_it_stops() {
    bounded(async {
        let rig = Rig::start(2).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let every: BTreeSet<IpAddr> =
            rig.fleet.agents().iter().map(|agent| agent.address.into()).collect();
        until("every node in every answer", async || {
            answers(&rig).await.iter().all(|answer| *answer == every).then_some(())
        })
        .await;
        for controller in rig.fleet.controllers() {
            let domain = &rig.fleet.shape().domain;
            let (code, _) = ask(controller.dns, &format!("none.{domain}."), RecordType::A).await;
            assert_eq!(code, ResponseCode::NXDomain);
            let (code, none) =
                ask(controller.dns, &format!("{WEB}.{domain}."), RecordType::AAAA).await;
            assert_eq!((code, none.len()), (ResponseCode::NoError, 0));
        }

        let drained: BTreeSet<IpAddr> = rig.fleet.agents()[..2]
            .iter()
            .map(|agent| {
                assert_eq!(agent.region.as_str(), "aws");
                agent.address.into()
            })
            .collect();
        let old = web::starts(&rig, "aws-1").pop().unwrap().pid;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        until("the drained nodes out of every answer, while the service still runs", async || {
            let answers = answers(&rig).await;
            assert!(answers.iter().all(|answer| answer.len() >= 4), "{answers:?}");
            let gone = answers.iter().all(|answer| answer.is_disjoint(&drained));
            // Looked at after the answers: a service that stopped earlier had clients to lose.
            assert!(web::is_running(old), "it stopped while clients were sent there: {answers:?}");
            gone.then_some(())
        })
        .await;
        rig.watch(&upgrade).await.exits(0);
        until("every node back in every answer", async || {
            answers(&rig).await.iter().all(|answer| *answer == every).then_some(())
        })
        .await;
    })
    .await;
}
