//! A group of members in one process, each on a runtime of its own, so that ending one ends all of
//! it: its connections, its tasks, and its listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};
use tower::ServiceExt;

use crate::raft::failure::StartError;
use crate::raft::machine::{Machine, Position, Row, View};
use crate::raft::{
    Config, Dial, DialError, DiskError, Line, Member, PeerIdentity, Profile, Raft, Role, line,
};

/// Bound of every wait: far above what a loaded machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Keeps every command it was given, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub notes: Vec<Bytes>,
    pub last: Option<Position>,
}

impl Machine for Notes {
    fn apply(&mut self, at: Position, command: &[u8]) -> Bytes {
        assert_ne!(command, b"panic", "asked to");
        assert!(self.last.is_none_or(|last| last.index < at.index), "applied in order");
        self.last = Some(at);
        self.notes.push(Bytes::copy_from_slice(command));
        Bytes::from(self.notes.len().to_string())
    }

    fn batch_applied(&mut self, index: u64) {
        assert!(self.last.is_none_or(|last| last.index <= index));
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }

    fn restore(&mut self, rows: &mut dyn Iterator<Item = io::Result<Row>>) -> io::Result<()> {
        *self = Self::default();
        for row in rows {
            let row = row?;
            assert_eq!(row.table, "notes");
            self.notes.push(row.value);
        }
        Ok(())
    }
}

impl View for Notes {
    fn rows(self: Box<Self>, emit: &mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()> {
        self.notes.into_iter().try_for_each(|value| emit(Row { table: "notes".to_owned(), value }))
    }
}

/// Dials without TLS, and counts calls; the user agent stands for the certificate's name.
pub(crate) struct Plain {
    name: String,
    calls: Arc<AtomicUsize>,
}

impl Plain {
    pub(crate) fn named(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), calls: Arc::default() })
    }
}

impl Dial for Plain {
    fn line(&self, member: &Member) -> Result<Line, DialError> {
        let calls = Arc::clone(&self.calls);
        let counted = plain_line(&member.addr, &self.name).map_request(move |request| {
            calls.fetch_add(1, Ordering::SeqCst);
            request
        });
        Ok(Line::new(counted))
    }
}

pub(crate) fn plain_line(addr: &str, name: &str) -> Line {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .expect("an address")
        .user_agent(name.to_owned())
        .expect("a name")
        .connect_timeout(Duration::from_secs(1));
    line(endpoint.connect_lazy())
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of an interceptor")]
fn name_of(mut request: Request<()>) -> Result<Request<()>, Status> {
    let agent = request.metadata().get("user-agent").and_then(|v| v.to_str().ok());
    let name = agent.and_then(|agent| agent.split(' ').next()).unwrap_or_default().to_owned();
    if name.starts_with('c') {
        request.extensions_mut().insert(PeerIdentity { name });
    }
    Ok(request)
}

/// One running member.
pub(crate) struct Node {
    pub raft: Raft<Notes>,
    pub addr: SocketAddr,
    /// Calls that it has made to others.
    pub calls: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Node {
    pub(crate) fn start(config: Config, addr: &str) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let dial = Plain::named(&config.name);
        let calls = Arc::clone(&dial.calls);
        let started = std::thread::scope(|scope| {
            let start = || {
                runtime.block_on(async {
                    let raft = Raft::start(config, dial, Notes::default()).await?;
                    let listener = tokio::net::TcpListener::bind(addr).await.expect("a free port");
                    Ok((raft, listener))
                })
            };
            scope.spawn(start).join().expect("no panic")
        });
        let (raft, listener) = match started {
            Ok(started) => started,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let addr = listener.local_addr().expect("bound");
        let service = raft.service(|connection: &tonic::Extensions| {
            let identity = connection.get::<PeerIdentity>().cloned();
            identity.ok_or_else(|| Status::unauthenticated("no certificate"))
        });
        let service = tonic::service::interceptor::InterceptedService::new(service, name_of);
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Ok(Self { raft, addr, calls, runtime: Some(runtime) })
    }

    pub(crate) fn member(&self, region: &str) -> Member {
        let identity = self.raft.identity();
        Member {
            id: identity.raft_id,
            name: identity.name.clone(),
            region: region.to_owned(),
            addr: self.addr.to_string(),
            api: format!("api-{}", identity.name),
            disk: identity.disk.clone(),
        }
    }

    pub(crate) fn notes(&self) -> Vec<Bytes> {
        self.raft.machine().read().expect("no panic").notes.clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Up to three members and their directories.
pub(crate) struct Group {
    pub root: tempfile::TempDir,
    pub snapshot_every: u64,
    pub nodes: Vec<Option<Node>>,
    addrs: Vec<SocketAddr>,
}

impl Group {
    /// Starts members that know nothing of each other.
    pub(crate) fn strangers(count: usize, snapshot_every: u64) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let mut group = Self { root, snapshot_every, nodes: Vec::new(), addrs: Vec::new() };
        for at in 0..count {
            let node = Node::start(group.config(at), "127.0.0.1:0").expect("started");
            group.addrs.push(node.addr);
            group.nodes.push(Some(node));
        }
        group
    }

    /// Starts and initialises a group, and waits for its leader.
    pub(crate) async fn of(count: usize, snapshot_every: u64) -> Self {
        let group = Self::strangers(count, snapshot_every);
        let members = group.members();
        group.node(0).raft.initialize(members).await.expect("initialised");
        group.leader().await;
        group
    }

    pub(crate) fn config(&self, at: usize) -> Config {
        Config {
            fleet: "test".to_owned(),
            id: at as u64 + 1,
            name: format!("c{}", at + 1),
            dir: self.root.path().join(format!("c{}", at + 1)),
            profile: Profile::Lan,
            snapshot_every: self.snapshot_every,
        }
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.nodes.iter().flatten().map(|node| node.member("here")).collect()
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("running")
    }

    /// Ends a member as a crash would; its directory stays.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at] = None;
    }

    pub(crate) fn start(&mut self, at: usize) {
        let node = self.try_start(at).expect("started");
        self.nodes[at] = Some(node);
    }

    pub(crate) fn try_start(&self, at: usize) -> Result<Node, StartError> {
        let until = Instant::now() + DEADLINE;
        loop {
            match Node::start(self.config(at), &self.addrs[at].to_string()) {
                // The last tasks of the killed member still hold the file.
                Err(StartError::Disk(DiskError::InUse { .. })) if Instant::now() < until => {
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }

    /// Waits until one of the running members leads and says so of itself.
    pub(crate) async fn leader(&self) -> usize {
        eventually("a leader", || {
            self.nodes.iter().position(|node| {
                node.as_ref().is_some_and(|node| {
                    let status = node.raft.status();
                    status.role == Role::Leader && status.leader.is_some_and(|l| l.id == status.id)
                })
            })
        })
        .await
    }

    /// Proposes through whoever leads until it is applied.
    pub(crate) async fn propose(&self, command: &str) -> u64 {
        let until = Instant::now() + DEADLINE;
        loop {
            let leader = self.leader().await;
            let command = Bytes::copy_from_slice(command.as_bytes());
            match self.node(leader).raft.propose(command, DEADLINE).await {
                Ok(applied) => return applied.index,
                Err(error) => assert!(Instant::now() < until, "no proposal succeeds: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every running member shows the same notes as the given one.
    pub(crate) async fn agree_with(&self, notes: &[String]) {
        for node in self.nodes.iter().flatten() {
            eventually("agreement", || (node.notes() == notes).then_some(())).await;
        }
    }
}

/// Waits for a condition.
pub(crate) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
