//! A Docker engine and a registry for tests, all of it on this machine.
//!
//! Images are made here, of a static busybox and files of the test, pushed to a registry on the
//! loopback and known by their digests; nothing is ever pulled from elsewhere. Where an engine
//! runs, it is used, and left as it was; where none does (no init runs it in a container), one is
//! started by hand and ended again.
//!
//! ```text
//!  Engine::start ──▶ lock, dockerd if none answers, docker-registry on 127.0.0.1
//!   image        ──▶ docker import, push ──▶ repository@sha256:…
//!   drop         ──▶ containers, networks, volumes and images that are the test's own go
//! ```

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a daemon to answer, or to end.
const DAEMON_WAIT: Duration = Duration::from_secs(30);
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Tests of one machine take turns: two cores carry one of them.
const LOCK: &str = "/tmp/trireme-test-docker.lock";
/// Where an engine listens that was there before.
const SOCKET: &str = "/var/run/docker.sock";
/// Label of compose on everything that belongs to a project.
const PROJECT: &str = "com.docker.compose.project";

/// An engine and a registry, for the time of one test.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    registry: u16,
    /// Begins the names of all projects of the test.
    name: String,
    // Ended in this order: those who use it first.
    daemons: Vec<Daemon>,
    dir: tempfile::TempDir,
    _turn: File,
}

/// A process that is asked to end, and waited for, when dropped.
#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    /// Starts a daemon that ends with this thread, however that ends.
    fn start(command: &[&str], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("setpriv does not run: {error}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let end = Instant::now() + DAEMON_WAIT;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            pause();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engine {
    /// Waits for its turn, and until an engine and a registry answer; both end with the thread
    /// that asks.
    pub fn start() -> Self {
        let turn = File::options().create(true).append(true).open(LOCK).unwrap();
        turn.lock().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut daemons = Vec::new();
        let socket = if answers(Path::new(SOCKET)) {
            SOCKET.into()
        } else {
            let (daemon, socket) = by_hand(dir.path());
            daemons.push(daemon);
            socket
        };
        let (daemon, registry) = registry(dir.path());
        daemons.insert(0, daemon);
        let name = format!("trireme-{}", std::process::id());
        Self { socket, registry, name, daemons, dir, _turn: turn }
    }

    /// Returns the engine's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns a name that no other test gives its projects; theirs must begin with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes an image of busybox and these files, pushes it, forgets it here, and returns its name
    /// by digest.
    ///
    /// `changes` are lines of a Dockerfile, such as `CMD ["/bin/busybox", "sleep", "600"]`.
    pub fn image(&self, name: &str, files: &[(&str, &str)], changes: &[&str]) -> String {
        let root = self.dir.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let tag = self.import(name, &root, changes);
        fs::remove_dir_all(&root).unwrap();
        self.docker(&["push", "-q", &tag]);
        let format = "{{index .RepoDigests 0}}";
        let image = self.docker(&["image", "inspect", "--format", format, &tag]);
        self.docker(&["image", "rm", "--force", &tag, &image]);
        image
    }

    /// Makes an image of what is in a directory, and returns its name.
    pub fn import(&self, name: &str, root: &Path, changes: &[&str]) -> String {
        let packed = Command::new("tar").arg("-C").arg(root).args(["-c", "."]).output().unwrap();
        let tag = format!("127.0.0.1:{}/{}/{name}:made", self.registry, self.name);
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let args: Vec<&str> = ["import"].into_iter().chain(changes).chain(["-", &tag]).collect();
        self.docker_with(&args, &packed.stdout);
        tag
    }

    /// Starts a container that goes when the engine is dropped, and returns its id.
    pub fn container(&self, args: &[&str]) -> String {
        let label = format!("{PROJECT}={}", self.name);
        self.docker(&[&["run", "--detach", "--label", &label], args].concat())
    }

    /// Runs the docker command and returns what it said.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        self.docker_with(args, b"")
    }

    #[track_caller]
    fn docker_with(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.run(args, input);
        assert!(output.status.success(), "docker {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the docker command to its end, whatever that is.
    pub fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("docker")
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("docker does not run: {error}"));
        // Who ends before it has read everything says why on its own.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Returns the lines that a command says, or none where it fails.
    fn lines(&self, args: &[&str]) -> Vec<String> {
        let output = self.run(args, b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// Removes what `list` names, with what it belongs to, if that is the test's own.
    fn sweep(&self, list: &[&str], remove: &[&str]) {
        let names = self.lines(list);
        let own = names.iter().filter_map(|line| {
            let (name, owner) = line.split_once(' ')?;
            owner.contains(&self.name).then_some(name)
        });
        let own: Vec<&str> = own.collect();
        if !own.is_empty() {
            self.run(&[remove, &own[..]].concat(), b"");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let owner = format!("{{{{.Label \"{PROJECT}\"}}}}");
        let format = |name: &str| format!("{{{{{name}}}}} {owner}");
        let (id, name) = (format(".ID"), format(".Name"));
        self.sweep(&["ps", "--all", "--format", &id], &["rm", "--force", "--volumes"]);
        self.sweep(&["network", "ls", "--format", &id], &["network", "rm"]);
        self.sweep(&["volume", "ls", "--format", &name], &["volume", "rm", "--force"]);
        let images = "{{.ID}} {{.Repository}}";
        self.sweep(&["image", "ls", "--format", images], &["image", "rm", "--force"]);
        self.daemons.drain(..).for_each(drop);
    }
}

/// Starts an engine in a directory of its own and waits until it answers.
///
/// Its ports are forwarded by processes, not by rules of a firewall that could stay behind.
fn by_hand(dir: &Path) -> (Daemon, PathBuf) {
    let path = |name: &str| dir.join(name).display().to_string();
    let (socket, log) = (dir.join("docker.sock"), dir.join("dockerd.log"));
    let config = path("dockerd.json");
    fs::write(&config, "{}").unwrap();
    let host = format!("unix://{}", socket.display());
    let (data, exec, pid) = (path("data"), path("exec"), path("dockerd.pid"));
    let command = [
        "dockerd",
        "--config-file",
        &config,
        "--data-root",
        &data,
        "--exec-root",
        &exec,
        "--pidfile",
        &pid,
        "--host",
        &host,
        "--iptables=false",
        "--ip6tables=false",
    ];
    let daemon = Daemon::start(&command, &log);
    wait(&log, || answers(&socket));
    (daemon, socket)
}

/// Starts a registry on a free port of the loopback.
fn registry(dir: &Path) -> (Daemon, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (config, log) = (dir.join("registry.yaml"), dir.join("registry.log"));
    let data = dir.join("registry");
    let text = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display()
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let daemon = Daemon::start(&["docker-registry", "serve", &config], &log);
    wait(&log, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (daemon, port)
}

fn answers(socket: &Path) -> bool {
    let host = format!("unix://{}", socket.display());
    let asked = Command::new("docker").args(["-H", &host, "version"]).output();
    socket.exists() && asked.is_ok_and(|output| output.status.success())
}

fn wait(log: &Path, there: impl Fn() -> bool) {
    let end = Instant::now() + DAEMON_WAIT;
    while !there() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < end, "a daemon does not answer; it said:\n{}", said());
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "daemons of a test are waited for off any runtime")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
