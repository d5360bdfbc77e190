//! Three nodes of etcd as Debian packages it, with TLS to clients and among themselves, started and
//! ended by us: the peer of our controllers.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_prost::ProstCodec;

use super::load::{Client, Group, System, VALUE_LEN};

/// The program.
pub const PROGRAM: &str = "/usr/bin/etcd";
/// Nodes of the group.
const NODES: usize = 3;
/// Time for the group to agree on a leader after a start.
const READY_MAX: Duration = Duration::from_secs(20);

/// A running group.
#[derive(Debug)]
pub struct Etcd {
    nodes: Vec<Node>,
    leader: usize,
    scratch: tempfile::TempDir,
}

#[derive(Debug)]
struct Node {
    client: String,
    peer: String,
    process: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ended_already = process.kill();
            let _reaped_already = process.wait();
        }
    }
}

impl Etcd {
    /// Starts a group with its own certificates.
    pub async fn start() -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        certify(scratch.path())?;
        let nodes = (0..NODES)
            .map(|_| {
                let (client, peer) = (free_address()?, free_address()?);
                Ok(Node { client, peer, process: None })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut etcd = Self { nodes, leader: 0, scratch };
        for number in 0..NODES {
            etcd.launch(number)?;
        }
        etcd.find_leader().await?;
        Ok(etcd)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn launch(&mut self, number: usize) -> Result<()> {
        let name = |number: usize| format!("n{number}");
        let cluster: Vec<String> = (0..NODES)
            .map(|number| format!("{}=https://{}", name(number), self.nodes[number].peer))
            .collect();
        let (ca, cert, key) = (self.file("ca.pem"), self.file("cert.pem"), self.file("key.pem"));
        let node = &self.nodes[number];
        let (client, peer) = (format!("https://{}", node.client), format!("https://{}", node.peer));
        let mut command = Command::new(PROGRAM);
        command
            .args(["--name", &name(number), "--logger", "zap", "--log-level", "error"])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--client-cert-auth", "--peer-client-cert-auth"]);
        for prefix in ["", "peer-"] {
            command.arg(format!("--{prefix}trusted-ca-file")).arg(&ca);
            command.arg(format!("--{prefix}cert-file")).arg(&cert);
            command.arg(format!("--{prefix}key-file")).arg(&key);
        }
        let log = fs::File::create(self.file(&format!("{}.log", name(number))))?;
        let process = command
            .arg("--data-dir")
            .arg(self.file(&name(number)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{PROGRAM} does not start: .ci/tools bench installs it"))?;
        self.nodes[number].process = Some(process);
        Ok(())
    }

    fn client(&self, number: usize) -> Result<Put> {
        let read = |name: &str| fs::read_to_string(self.file(name));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")?))
            .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?))
            .domain_name("localhost");
        let address = format!("https://{}", self.nodes[number % NODES].client);
        let channel = Endpoint::from_shared(address)?.tls_config(tls)?.connect_lazy();
        Ok(Put { grpc: Grpc::new(channel), key: format!("bench/key-{number:020}").into_bytes() })
    }
}

impl System for Etcd {
    type Client = Put;

    async fn connect(&self, number: usize) -> Result<Put> {
        let mut client = self.client(self.leader + number)?;
        client.key = format!("bench/key-{number:020}").into_bytes();
        client.write(0).await?;
        Ok(client)
    }

    fn pids(&mut self) -> Result<Vec<u32>> {
        let processes = self.nodes.iter().map(|node| node.process.as_ref());
        processes.map(|process| Ok(process.context("a node has ended")?.id())).collect()
    }
}

impl Group for Etcd {
    type Member = usize;

    async fn find_leader(&mut self) -> Result<()> {
        let until = Instant::now() + READY_MAX;
        loop {
            for number in 0..NODES {
                let asked = async {
                    let status = self.client(number)?.status().await?;
                    anyhow::Ok(status.member()? == status.leader)
                };
                let leads = tokio::time::timeout(Duration::from_secs(1), asked).await;
                if matches!(leads, Ok(Ok(true))) {
                    self.leader = number;
                    return Ok(());
                }
            }
            if Instant::now() > until {
                bail!("etcd has no leader; its logs are in {}", self.scratch.path().display());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn transfer(&mut self) -> Result<()> {
        self.find_leader().await?;
        let leader = self.leader;
        let target = self.client((leader + 1) % NODES)?.status().await?.member()?;
        self.client(leader)?.move_leader(target).await
    }

    async fn kill_leader(&mut self) -> Result<usize> {
        let process = self.nodes[self.leader].process.as_mut().context("it has ended")?;
        process.kill()?;
        process.wait()?;
        Ok(self.leader)
    }

    async fn bring_back(&mut self, number: usize) -> Result<()> {
        self.launch(number)?;
        let until = Instant::now() + READY_MAX;
        loop {
            let asked = async {
                let mut client = self.client(number)?;
                client.read().await
            };
            match tokio::time::timeout(Duration::from_secs(1), asked).await {
                Ok(Ok(())) => break,
                _ if Instant::now() > until => bail!("node {number} of etcd does not come back"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        self.find_leader().await
    }
}

/// A client that puts one key again and again.
#[derive(Debug)]
pub struct Put {
    grpc: Grpc<Channel>,
    key: Vec<u8>,
}

impl Put {
    async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static(method);
        let codec = ProstCodec::<Q, A>::default();
        Ok(self.grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }

    async fn status(&mut self) -> Result<StatusResponse> {
        self.call("/etcdserverpb.Maintenance/Status", Empty {}).await
    }

    async fn move_leader(&mut self, target: u64) -> Result<()> {
        let request = MoveLeaderRequest { target };
        self.call::<_, Empty>("/etcdserverpb.Maintenance/MoveLeader", request).await.map(drop)
    }

    async fn range(&mut self, serializable: bool) -> Result<()> {
        let request = RangeRequest { key: self.key.clone(), serializable };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        ensure!(answer.kvs.first().is_some_and(|kv| !kv.value.is_empty()), "an empty answer");
        Ok(())
    }
}

impl Client for Put {
    async fn write(&mut self, number: u64) -> Result<()> {
        let mut value = format!("{number:020}").into_bytes();
        value.resize(VALUE_LEN, b'x');
        let request = PutRequest { key: self.key.clone(), value };
        self.call::<_, Empty>("/etcdserverpb.KV/Put", request).await.map(drop)
    }

    async fn read(&mut self) -> Result<()> {
        self.range(false).await
    }

    /// It has none; the nearest is a read of one node's own state.
    async fn lease_read(&mut self) -> Result<()> {
        self.range(true).await
    }
}

// Of etcd's messages only the fields that are used here; others are skipped when read.

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

impl StatusResponse {
    fn member(&self) -> Result<u64> {
        Ok(self.header.as_ref().context("an answer without a header")?.member)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    target: u64,
}

/// Returns an address of this machine that nobody listens on.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Makes a root and one certificate for all nodes and clients, P-256 as ours are.
fn certify(dir: &Path) -> Result<()> {
    let mut root = CertificateParams::new(Vec::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names)?.signed_by(&key, &root)?;
    fs::write(dir.join("ca.pem"), root.pem())?;
    fs::write(dir.join("cert.pem"), leaf.pem())?;
    fs::write(dir.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
