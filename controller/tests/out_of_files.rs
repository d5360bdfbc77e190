//! The accept loop of a process that has no file descriptors left; alone in its own process,
//! because the limit it runs into is the process's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_controller::accept::{Acceptor, Connections, Limits, Watch};
use trireme_proto::key::SecretKey;
use trireme_proto::pki::Root;
use trireme_proto::time::WallTime;
use trireme_proto::tls::Credentials;

const PATIENCE: Duration = Duration::from_secs(20);

fn credentials() -> Credentials {
    let root = Root::generate(&"test".parse().unwrap(), WallTime(0)).unwrap();
    let (region, c1) = ("aws".parse().unwrap(), "c1".parse().unwrap());
    let key = SecretKey::generate().unwrap();
    let request = key.request().unwrap();
    let issued = root.issuer().issue_controller(&request, &region, &c1, WallTime(0)).unwrap();
    Credentials::new(vec![root.certificate().clone()], issued.chain, &key).unwrap()
}

async fn until(watch: &Watch, what: impl Fn(&Watch) -> bool) {
    let reached = async {
        while !what(watch) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "still at {:?}", watch.counts());
}

/// Opens files until `spare` descriptors are left.
fn hoard(spare: usize) -> Vec<File> {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.truncate(files.len() - spare);
    files
}

#[tokio::test]
async fn the_loop_outlives_a_shortage_of_files_without_spinning() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (acceptor, _incoming) =
        Acceptor::mutual(listener, &credentials(), Limits::default(), Connections::default())
            .unwrap();
    let (watch, shutdown) = (acceptor.watch(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(acceptor.run(shutdown.clone()));

    let files = hoard(1);
    let began = tokio::time::Instant::now();
    let mut client = TcpStream::connect(addr).await.unwrap();
    until(&watch, |watch| watch.counts().accept_errors >= 3).await;
    let errors = u128::from(watch.counts().accept_errors);
    assert!(errors <= began.elapsed().as_millis() / 50 + 1, "it pauses between attempts");

    // With descriptors free again the same connection, still in the backlog, gets its turn.
    drop(files);
    let mut closing = client.split().1;
    tokio::io::AsyncWriteExt::write_all(&mut closing, b"no TLS at all").await.unwrap();
    until(&watch, |watch| watch.counts().refused == 1).await;
    let mut rest = Vec::new();
    let _closed = client.read_to_end(&mut rest).await.is_ok();

    shutdown.cancel();
    tokio::time::timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
}
