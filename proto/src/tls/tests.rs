//! Real handshakes over loopback: who gets in, who does not, and what a renewal changes.

use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::identity::Role;
use crate::pki::{Issued, Issuer, Root};
use crate::time::WallTime;

struct Fleet {
    root: Root,
    issuer: Issuer,
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

fn days_ago(days: u64) -> WallTime {
    WallTime(now().0 - days * 24 * 3600 * 1000)
}

impl Fleet {
    fn new(name: &str) -> Self {
        let name: FleetName = name.parse().unwrap();
        let root = Root::generate(&name, days_ago(10)).unwrap();
        let key = SecretKey::generate().unwrap();
        let request = key.request().unwrap();
        let signed = root.issue_intermediate(&request, &"c1".parse().unwrap(), days_ago(10));
        let issuer = Issuer::new(name, signed.unwrap(), &key).unwrap();
        Self { root, issuer }
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        vec![self.root.certificate().clone()]
    }

    fn credentials(&self, issue: impl FnOnce(&Issuer, &[u8]) -> Issued) -> Credentials {
        let (chain, key) = self.leaf(issue);
        Credentials::new(self.roots(), chain, &key).unwrap()
    }

    fn leaf(
        &self,
        issue: impl FnOnce(&Issuer, &[u8]) -> Issued,
    ) -> (Vec<CertificateDer<'static>>, SecretKey) {
        let key = SecretKey::generate().unwrap();
        (issue(&self.issuer, &key.request().unwrap()).chain, key)
    }

    fn controller(&self, id: &str) -> Credentials {
        self.credentials(|issuer, request| controller(issuer, request, id, now()))
    }

    fn agent(&self, at: WallTime) -> Credentials {
        self.credentials(|issuer, request| agent(issuer, request, "aws-1", at))
    }
}

fn agent(issuer: &Issuer, request: &[u8], node: &str, at: WallTime) -> Issued {
    issuer.issue_agent(request, &"aws".parse().unwrap(), &node.parse().unwrap(), at).unwrap()
}

fn controller(issuer: &Issuer, request: &[u8], id: &str, at: WallTime) -> Issued {
    issuer.issue_controller(request, &"aws".parse().unwrap(), &id.parse().unwrap(), at).unwrap()
}

/// What one connection came to: the serials each side saw, and the tickets handed out.
#[derive(Debug)]
struct Met {
    client_serial: Option<String>,
    server_serial: String,
    tickets: u32,
}

/// Connects once and exchanges a byte in each direction; errors are the first side's to fail.
async fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Result<Met, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(server).accept(tcp).await.map_err(|e| e.to_string())?;
        let byte = tls.read_u8().await.map_err(|e| e.to_string())?;
        tls.write_u8(byte).await.map_err(|e| e.to_string())?;
        tls.flush().await.map_err(|e| e.to_string())?;
        let peer = tls.get_ref().1.peer_certificates().map(|chain| serial(&chain[0]));
        Ok::<_, String>((peer, tls))
    };
    let ask = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client);
        let tls = connector.connect(placeholder_name(), tcp).await;
        let mut tls = tls.map_err(|e| e.to_string())?;
        tls.write_u8(7).await.map_err(|e| e.to_string())?;
        tls.flush().await.map_err(|e| e.to_string())?;
        tls.read_u8().await.map_err(|e| e.to_string())?;
        Ok::<_, String>(tls)
    };
    let (served, asked) = tokio::join!(serve, ask);
    let asked = match (&served, asked) {
        // A refused client learns it only afterwards, as an alert; the server's reason is plainer.
        (Err(reason), _) if !reason.contains("alert") => return Err(reason.clone()),
        (_, asked) => asked?,
    };
    let connection = asked.get_ref().1;
    Ok(Met {
        client_serial: served?.0,
        server_serial: serial(&connection.peer_certificates().unwrap()[0]),
        tickets: connection.tls13_tickets_received(),
    })
}

fn serial(leaf: &CertificateDer<'_>) -> String {
    Identity::from_certificate(leaf).unwrap().serial
}

/// Presents no certificate, whatever is asked.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn c1() -> Server {
    Server::Controller("c1".parse().unwrap())
}

#[tokio::test]
async fn both_ends_know_each_other_and_nothing_can_be_resumed() {
    let fleet = Fleet::new("test");
    let (server, client) = (fleet.controller("c1"), fleet.agent(now()));
    for wanted in [c1(), Server::AnyController] {
        let met = meet(server.server_config().unwrap(), client.client_config(&wanted).unwrap());
        let met = met.await.unwrap();
        assert_eq!(met.client_serial, Some(client.verified().serial));
        assert_eq!(met.server_serial, server.verified().serial);
        assert_eq!(met.tickets, 0);
    }
}

/// A controller that was removed is no server, under whatever name its issuing key gives it.
#[tokio::test]
async fn a_removed_controller_and_whom_it_signs_for_are_refused() {
    let fleet = Fleet::new("test");
    // The issuing key is that of c1.
    let (server, client) = (fleet.controller("c2"), fleet.agent(now()));
    let but = |name: &str| Server::AnyBut([name.parse().unwrap()].into());
    for (removed, accepted) in [("c9", true), ("c2", false), ("c1", false)] {
        let config = client.client_config(&but(removed)).unwrap();
        let met = meet(server.server_config().unwrap(), config).await;
        assert_eq!(met.is_ok(), accepted, "{removed} was removed");
    }
}

#[tokio::test]
async fn a_client_that_wants_to_resume_is_given_a_full_handshake_again() {
    let fleet = Fleet::new("test");
    let (server, client) = (fleet.controller("c1"), fleet.agent(now()));
    let mut eager = client.client_config(&c1()).unwrap();
    Arc::make_mut(&mut eager).resumption = Resumption::in_memory_sessions(8);
    for _ in 0..2 {
        let met = meet(server.server_config().unwrap(), Arc::clone(&eager)).await.unwrap();
        assert_eq!((met.tickets, met.client_serial.is_some()), (0, true));
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let fleet = Fleet::new("test");
    let server = fleet.controller("c1").server_config().unwrap();
    let trusting = fleet.agent(now()).client_config(&c1()).unwrap();
    let mut anonymous = (*trusting).clone();
    anonymous.client_auth_cert_resolver = Arc::new(Nobody);
    let reason = meet(server, Arc::new(anonymous)).await.unwrap_err();
    assert!(reason.contains("peer sent no certificates"), "{reason}");
}

/// Even one of the same name: its root is called the same, but signs with another key.
#[tokio::test]
async fn another_fleet_is_refused_by_either_end() {
    let (ours, theirs) = (Fleet::new("test"), Fleet::new("test"));
    let stranger = theirs.agent(now());
    let (chain, key) = theirs.leaf(|issuer, request| agent(issuer, request, "aws-1", now()));
    let misled = Credentials::new(ours.roots(), chain, &key).unwrap();
    let server = ours.controller("c1").server_config().unwrap();
    let reason = meet(Arc::clone(&server), misled.client_config(&c1()).unwrap()).await.unwrap_err();
    assert!(reason.contains("BadSignature"), "{reason}");
    let reason = meet(server, stranger.client_config(&c1()).unwrap()).await.unwrap_err();
    assert!(reason.contains("BadSignature"), "{reason}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_either_end() {
    let fleet = Fleet::new("test");
    let server = fleet.controller("c1").server_config().unwrap();
    let client = fleet.agent(days_ago(2)).client_config(&c1()).unwrap();
    let reason = meet(server, client).await.unwrap_err();
    assert!(reason.contains("expired"), "{reason}");
    let old = fleet.credentials(|issuer, request| controller(issuer, request, "c1", days_ago(2)));
    let client = fleet.agent(now()).client_config(&c1()).unwrap();
    let reason = meet(old.server_config().unwrap(), client).await.unwrap_err();
    assert!(reason.contains("expired"), "{reason}");
}

#[tokio::test]
async fn only_the_controller_asked_for_is_accepted_as_server() {
    let fleet = Fleet::new("test");
    let client = fleet.agent(now());
    let other = fleet.controller("c2").server_config().unwrap();
    let reason = meet(other, client.client_config(&c1()).unwrap()).await.unwrap_err();
    assert!(reason.contains("controller/c2"), "{reason}");
    let posing = fleet.agent(now()).server_config().unwrap();
    let any = client.client_config(&Server::AnyController).unwrap();
    let reason = meet(posing, any).await.unwrap_err();
    assert!(reason.contains("agent/aws-1"), "{reason}");
}

#[tokio::test]
async fn a_joiner_trusts_only_the_root_its_token_names() {
    let (fleet, other) = (Fleet::new("test"), Fleet::new("test"));
    let server = fleet.controller("c1").joining_server_config().unwrap();
    let client = joining_client_config(fleet.root.pin()).unwrap();
    let met = meet(Arc::clone(&server), client).await.unwrap();
    assert_eq!((met.client_serial, met.tickets), (None, 0));
    let client = joining_client_config(other.root.pin()).unwrap();
    let reason = meet(server, client).await.unwrap_err();
    assert!(reason.contains("join token"), "{reason}");
}

/// A man in the middle shows the pinned root, which is public, but has no chain to it.
#[tokio::test]
async fn showing_the_pinned_root_is_not_enough() {
    let (fleet, attacker) = (Fleet::new("test"), Fleet::new("test"));
    let (mut chain, key) =
        attacker.leaf(|issuer, request| controller(issuer, request, "c1", now()));
    chain.push(fleet.root.certificate().clone());
    let posing = Credentials::new(attacker.roots(), chain, &key).unwrap();
    let server = posing.joining_server_config().unwrap();
    let reason = meet(server, joining_client_config(fleet.root.pin()).unwrap()).await.unwrap_err();
    assert!(reason.contains("BadSignature"), "{reason}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_the_next_connection_of_either_end() {
    let fleet = Fleet::new("test");
    let (server, client) = (fleet.controller("c1"), fleet.agent(now()));
    let configs = (server.server_config().unwrap(), client.client_config(&c1()).unwrap());
    let first = meet(Arc::clone(&configs.0), Arc::clone(&configs.1)).await.unwrap();

    let mut renewals = client.watch();
    assert!(!renewals.has_changed().unwrap());
    let (chain, key) = fleet.leaf(|issuer, request| agent(issuer, request, "aws-1", now()));
    client.replace(chain, &key).unwrap();
    let (chain, key) = fleet.leaf(|issuer, request| controller(issuer, request, "c1", now()));
    server.replace(chain, &key).unwrap();
    assert!(renewals.has_changed().unwrap());
    assert_eq!(renewals.borrow_and_update().serial, client.verified().serial);

    let second = meet(configs.0, configs.1).await.unwrap();
    assert_ne!(first.client_serial, second.client_serial);
    assert_ne!(first.server_serial, second.server_serial);
    assert_eq!(second.client_serial, Some(client.verified().serial));
    assert_eq!(second.server_serial, server.verified().serial);
}

#[test]
fn a_renewal_does_not_change_who_we_are() {
    let fleet = Fleet::new("test");
    let credentials = fleet.agent(now());
    let before = credentials.verified();
    let (chain, key) = fleet.leaf(|issuer, request| agent(issuer, request, "aws-2", now()));
    let refusal = credentials.replace(chain, &key).unwrap_err();
    assert!(matches!(refusal, TlsError::OtherIdentity { .. }), "{refusal}");
    let (chain, _) = fleet.leaf(|issuer, request| agent(issuer, request, "aws-1", now()));
    let refusal = credentials.replace(chain, &key).unwrap_err();
    assert!(matches!(refusal, TlsError::Pair(_)), "{refusal}");
    assert!(matches!(credentials.replace(Vec::new(), &key), Err(TlsError::Key(_))));
    assert_eq!(credentials.verified(), before);

    let user = |name: &'static str, role| {
        move |issuer: &Issuer, request: &[u8]| {
            issuer.issue_user(request, &name.parse().unwrap(), role, now()).unwrap()
        }
    };
    let person = fleet.credentials(user("jane", Role::Auditor));
    let (chain, key) = fleet.leaf(user("joan", Role::Auditor));
    assert!(matches!(person.replace(chain, &key), Err(TlsError::OtherIdentity { .. })));
    // Her roles are the fleet's record, whatever a certificate says of them.
    let (chain, key) = fleet.leaf(user("jane", Role::Admin));
    person.replace(chain, &key).unwrap();
}

#[test]
fn credentials_are_read_from_pem_and_show_no_key() {
    let fleet = Fleet::new("test");
    let (chain, key) = fleet.leaf(|issuer, request| agent(issuer, request, "aws-1", now()));
    let pem = crate::key::certificates_to_pem;
    let (roots, parts) = (pem(&fleet.roots()), (pem(&chain), key.to_pem()));
    let bundle = crate::key::bundle_to_pem(&chain, &key);
    for (chain_pem, key_pem) in [(&parts.0, &*parts.1), (&*bundle, &*bundle)] {
        let (roots, chain_pem) = (roots.as_bytes(), chain_pem.as_bytes());
        let read = Credentials::from_pem(roots, chain_pem, key_pem.as_bytes()).unwrap();
        assert_eq!(read.chain(), chain);
        assert_eq!(read.roots(), fleet.roots());
        let shown = format!("{read:?}");
        assert!(shown.contains("Agent") && !shown.contains("PRIVATE"), "{shown}");
    }
}
