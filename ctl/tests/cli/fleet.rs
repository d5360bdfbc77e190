//! A fleet of fake controllers with a real root, and `trictl` run against it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trireme_proto::key::{SecretKey, certificates_from_pem};
use trireme_proto::pki::Root;
use trireme_proto::problem::Problem;
use trireme_proto::time::WallTime;
use trireme_proto::tls::Credentials;
use trireme_proto::wire::operator_server::{Operator, OperatorServer};
use trireme_proto::wire::{self, Consistency, Document, Origin};

/// Longest a run of `trictl` may take before the test gives up on it.
const RUN_MAX: Duration = Duration::from_mins(1);

/// What a fake controller does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Answers with a document.
    Doc(Value),
    /// Answers with a document that is not fresh.
    Stale(Value),
    /// Refuses.
    Refuse(Problem),
    /// Breaks off as a controller does that was killed after it took the request.
    Die,
    /// Sends documents and ends the stream.
    Stream(Vec<Value>),
    /// Sends documents and then says nothing more.
    Hold(Vec<Value>),
}

/// One request that a fake controller has seen.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) rpc: &'static str,
    pub(crate) origin: Option<Origin>,
    pub(crate) request: String,
}

type Script = Arc<dyn Fn(&Call, usize) -> Answer + Send + Sync>;

#[derive(Clone)]
struct Fake {
    name: String,
    script: Script,
    seen: Arc<Mutex<Vec<Call>>>,
}

impl Fake {
    fn answer(&self, rpc: &'static str, origin: Option<Origin>, request: String) -> Answer {
        let call = Call { rpc, origin, request };
        let mut seen = self.seen.lock().unwrap();
        seen.push(call.clone());
        (self.script)(&call, seen.len())
    }

    fn document(&self, json: &Value, consistency: Consistency) -> Document {
        Document {
            json: serde_json::to_vec(json).unwrap().into(),
            index: 42,
            age_ms: 1500,
            controller: self.name.clone(),
            consistency: consistency.into(),
            controllers: vec![],
        }
    }

    fn unary(&self, answer: &Answer) -> Result<Response<Document>, Status> {
        match answer {
            Answer::Doc(json) => Ok(Response::new(self.document(json, Consistency::Lease))),
            Answer::Stale(json) => Ok(Response::new(self.document(json, Consistency::Stale))),
            other => Err(refusal(other)),
        }
    }
}

fn refusal(answer: &Answer) -> Status {
    match answer {
        Answer::Refuse(problem) => {
            let details = serde_json::to_vec(problem).unwrap();
            Status::with_details(tonic::Code::FailedPrecondition, "refused", details.into())
        }
        Answer::Die => Status::unavailable("killed"),
        other => panic!("{other:?} does not answer this request"),
    }
}

macro_rules! operator {
    (
        changes { $($change:ident($change_request:ident),)* }
        reads { $($read:ident($read_request:ident),)* }
    ) => {
        #[tonic::async_trait]
        impl Operator for Fake {
            type WatchUpgradeStream = ReceiverStream<Result<Document, Status>>;

            async fn watch_upgrade(
                &self,
                request: Request<wire::WatchUpgradeRequest>,
            ) -> Result<Response<Self::WatchUpgradeStream>, Status> {
                let answer = self.answer("watch_upgrade", None, request.into_inner().upgrade);
                let (Answer::Stream(views) | Answer::Hold(views)) = &answer else {
                    return Err(refusal(&answer));
                };
                let (sender, receiver) = tokio::sync::mpsc::channel(views.len() + 1);
                for view in views {
                    let document = self.document(view, Consistency::Lease);
                    sender.try_send(Ok(document)).unwrap();
                }
                if matches!(answer, Answer::Hold(_)) {
                    // Lives as long as the test does.
                    std::mem::forget(sender);
                }
                Ok(Response::new(ReceiverStream::new(receiver)))
            }

            $(async fn $change(
                &self,
                request: Request<wire::$change_request>,
            ) -> Result<Response<Document>, Status> {
                let request = request.into_inner();
                let text = format!("{request:?}");
                self.unary(&self.answer(stringify!($change), request.origin, text))
            })*

            $(async fn $read(
                &self,
                request: Request<wire::$read_request>,
            ) -> Result<Response<Document>, Status> {
                let text = format!("{:?}", request.into_inner());
                self.unary(&self.answer(stringify!($read), None, text))
            })*
        }
    };
}

operator! {
    changes {
        apply(ApplyRequest),
        start_upgrade(StartUpgradeRequest),
        pause_upgrade(UpgradeRequest),
        resume_upgrade(UpgradeRequest),
        abort_upgrade(UpgradeRequest),
        rollback_upgrade(UpgradeRequest),
        release_grant(ReleaseGrantRequest),
        remove_node(RemoveNodeRequest),
        note(NoteRequest),
        create_token(CreateTokenRequest),
        transfer_leader(TransferLeaderRequest),
    }
    reads {
        get(GetRequest),
        plan_upgrade(PlanUpgradeRequest),
        why(WhyRequest),
        controllers(ControllersRequest),
        list_audit(ListAuditRequest),
    }
}

/// A fake controller that listens.
pub(crate) struct Controller {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Call>>>,
    _tasks: JoinSet<()>,
}

impl Controller {
    /// Returns the requests it has seen.
    pub(crate) fn seen(&self) -> Vec<Call> {
        self.seen.lock().unwrap().clone()
    }
}

/// A root, an admin's context, and controllers.
pub(crate) struct Fleet {
    pub(crate) dir: tempfile::TempDir,
    root: Root,
}

/// How a run of `trictl` ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Returns stdout as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Returns the last line of stderr as JSON.
    pub(crate) fn problem(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

pub(crate) fn now() -> WallTime {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

/// Returns the command with nothing of this process's own settings.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trictl"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Waits for a command to end.
pub(crate) async fn finish(mut command: Command) -> Run {
    let output = tokio::time::timeout(RUN_MAX, command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut init = command();
        init.args(["ca", "init", "--fleet", "prod", "--dir"]).arg(dir.path().join("ca"));
        assert_eq!(finish(init).await.code, Some(0));
        let read = |name: &str| std::fs::read(dir.path().join("ca").join(name)).unwrap();
        let certificate = certificates_from_pem(&read("root.pem")).unwrap().remove(0);
        let key = SecretKey::from_pem(&read("root.key")).unwrap();
        let root = Root::load("prod".parse().unwrap(), certificate, key).unwrap();
        Self { dir, root }
    }

    /// Starts a fake controller; `script` gets each request and its number.
    pub(crate) async fn controller(
        &self,
        name: &str,
        script: impl Fn(&Call, usize) -> Answer + Send + Sync + 'static,
    ) -> Controller {
        let key = SecretKey::generate().unwrap();
        let (region, id) = ("aws".parse().unwrap(), name.parse().unwrap());
        let request = key.request().unwrap();
        let issued = self.root.issuer().issue_controller(&request, &region, &id, now()).unwrap();
        let roots = vec![self.root.certificate().clone()];
        let credentials = Credentials::new(roots, issued.chain, &key).unwrap();
        let acceptor = TlsAcceptor::from(credentials.server_config().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let fake =
            Fake { name: name.to_owned(), script: Arc::new(script), seen: Arc::clone(&seen) };
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = sender.send(Ok::<_, std::io::Error>(tls)).await;
                }
            }
        });
        tasks.spawn(async move {
            let service = OperatorServer::new(fake);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(ReceiverStream::new(receiver)).await.unwrap();
        });
        Controller { address, seen, _tasks: tasks }
    }

    /// Returns `trictl` as an admin of these controllers.
    pub(crate) async fn admin(&self, controllers: &[&str]) -> Command {
        let mut issue = command();
        issue.args(["ca", "issue-user", "--name", "ann", "--role", "admin"]);
        issue.args(["--controller", &controllers.join(",")]);
        issue.arg("--dir").arg(self.dir.path().join("ca"));
        assert_eq!(finish(issue).await.code, Some(0));
        let mut command = command();
        command.env("TRICTL_CONFIG", self.config());
        command
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("ca/users/ann/config.yaml")
    }

    /// Runs `trictl` as an admin of these controllers.
    pub(crate) async fn run(&self, controllers: &[&str], args: &[&str]) -> Run {
        let mut command = self.admin(controllers).await;
        command.args(args);
        finish(command).await
    }
}

/// Returns an address on which nobody listens.
pub(crate) fn closed() -> String {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = std::net::TcpListener::bind(any).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Returns an upgrade of one node as controllers send it.
pub(crate) fn upgrade(phase: &str, stage: &str) -> Value {
    let ended = !matches!(phase, "running" | "aborting" | "rolling_back");
    json!({
        "id": "upgrade-7", "plan": "web@1.1.0:0123456789ab", "service": "web", "to": "1.1.0",
        "phase": phase, "paused": false,
        "reason": if phase == "succeeded" || phase == "running" { Value::Null } else {
            json!("aws-1: check health failed")
        },
        "started_by": "user/ann", "started_at": 1_700_000_000_000_u64, "started": 5000,
        "ended": if ended { json!(26_000) } else { Value::Null },
        "waves": [{
            "region": "aws", "state": stage, "grant": "grant-3", "remaining": null,
            "nodes": {"aws-1": {"stage": stage, "step": null, "reason": null}},
        }],
        "required_wait": "12s", "waiting": [],
    })
}
