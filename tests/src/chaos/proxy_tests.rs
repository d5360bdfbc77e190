//! The proxy alone, between a client and a server that sends back what it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::network::{Flow, Network, Site};
use super::proxy::{Door, Guests};

const GUEST: Site = Site::Agent(0);
const HOST: Site = Site::Controller(0);
/// Longer than anything takes that arrives.
const LONG: Duration = Duration::from_secs(20);
/// Long enough for something to arrive that should not.
const WHILE: Duration = Duration::from_millis(400);

struct Stage {
    network: Arc<Network>,
    at: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new() -> Self {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let echo = TcpListener::bind(local).await.unwrap();
        let behind = echo.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut answering = JoinSet::new();
            while let Ok((mut stream, _)) = echo.accept().await {
                answering.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        let free = TcpListener::bind(local).await.unwrap().local_addr().unwrap();
        let door = Door::open(free, Guests::Only(GUEST), HOST, behind).await.unwrap();
        let network = Arc::new(Network::new(3));
        tasks.spawn(door.run(Arc::clone(&network)));
        Self { network, at: free, _tasks: tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }
}

/// Sends a word and waits for it to come back.
async fn says(stream: &mut TcpStream, word: &[u8; 4]) -> std::io::Result<Duration> {
    let begun = Instant::now();
    stream.write_all(word).await?;
    hears(stream, word).await?;
    Ok(begun.elapsed())
}

async fn hears(stream: &mut TcpStream, word: &[u8; 4]) -> std::io::Result<()> {
    let mut heard = [0; 4];
    timeout(LONG, stream.read_exact(&mut heard)).await.expect("it arrives")?;
    assert_eq!(&heard, word);
    Ok(())
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut heard = [0; 4];
    let read = timeout(WHILE, stream.read(&mut heard)).await;
    assert!(read.is_err(), "it was told something: {read:?}");
}

#[tokio::test]
async fn what_is_sent_arrives_late_and_in_order() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    says(&mut stream, b"warm").await.unwrap();
    let base = stage.network.delay(GUEST, HOST).base;
    let took = says(&mut stream, b"ping").await.unwrap();
    assert!(took >= 2 * base, "{took:?} is less than there and back, {base:?} each");
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; long.len()];
    let both = async { tokio::try_join!(write.write_all(&long), read.read_exact(&mut back)) };
    timeout(LONG, both).await.expect("it arrives").unwrap();
    assert_eq!(back, long);
    // The end is passed on both ways.
    write.shutdown().await.unwrap();
    assert_eq!(timeout(LONG, read.read(&mut back)).await.expect("it ends").unwrap(), 0);
}

#[tokio::test]
async fn what_is_held_arrives_once_the_link_is_open() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    says(&mut stream, b"warm").await.unwrap();
    stage.network.set_between(&[GUEST], &[HOST], Flow::Held);
    stream.write_all(b"held").await.unwrap();
    hears_nothing(&mut stream).await;
    // A new connection waits as well, and neither is reset.
    let mut late = stage.connect().await;
    late.write_all(b"late").await.unwrap();
    hears_nothing(&mut late).await;
    stage.network.heal();
    hears(&mut stream, b"held").await.unwrap();
    hears(&mut late, b"late").await.unwrap();
}

#[tokio::test]
async fn a_connection_that_lost_something_is_silent_for_ever() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    says(&mut stream, b"warm").await.unwrap();
    stage.network.set_between(&[GUEST], &[HOST], Flow::Lost);
    stream.write_all(b"lost").await.unwrap();
    hears_nothing(&mut stream).await;
    stage.network.heal();
    stream.write_all(b"more").await.unwrap();
    hears_nothing(&mut stream).await;
    says(&mut stage.connect().await, b"anew").await.unwrap();
}

#[tokio::test]
async fn a_half_open_link_works_one_way() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    says(&mut stream, b"warm").await.unwrap();
    stage.network.set(&[HOST], &[GUEST], Flow::Held);
    stream.write_all(b"one.").await.unwrap();
    hears_nothing(&mut stream).await;
    // It had arrived, and was answered, while the way back was held: nothing else is sent now.
    stage.network.set(&[GUEST], &[HOST], Flow::Held);
    stage.network.set(&[HOST], &[GUEST], Flow::Open);
    hears(&mut stream, b"one.").await.unwrap();
}

#[tokio::test]
async fn a_cut_link_resets_and_refuses() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    says(&mut stream, b"warm").await.unwrap();
    stage.network.set(&[HOST], &[GUEST], Flow::Cut);
    let mut heard = [0; 4];
    let told = timeout(LONG, stream.read(&mut heard)).await.expect("it is told");
    assert_eq!(told.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let mut refused = stage.connect().await;
    let told = timeout(LONG, refused.read(&mut heard)).await.expect("it is told");
    assert_eq!(told.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    stage.network.heal();
    says(&mut stage.connect().await, b"anew").await.unwrap();
}
