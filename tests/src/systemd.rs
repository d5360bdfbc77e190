//! Hosts that run systemd, for tests: containers in which it is the first process.
//!
//! Nothing is downloaded: a container sees this machine's own `/usr`, read-only, under an `/etc`,
//! `/run` and `/var` of its own. Its network is this machine's; it needs no more privilege than
//! systemd does in any container (`SYS_ADMIN`, for mounts and control groups).
//!
//! ```text
//!  test ── Host::start ──▶ container: systemd, journald, system bus
//!       ── Host::perform ──▶ the same test once more, as a process in there
//! ```

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::docker::Engine;

/// Longest wait until systemd has booted.
const BOOT_WAIT: Duration = Duration::from_secs(60);
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Says that a process runs on such a host.
const MARK: &str = "/etc/trireme-test-host";
/// What systemd brings up; the rest of a host only takes time.
const TARGET: &str = "\
[Unit]
Requires=dbus.service systemd-journald.service
After=dbus.service systemd-journald.service basic.target
AllowIsolate=yes
";
/// Parts of a boot that have nothing to do there, or would tidy up in directories of the machine.
const MASKED: [&str; 8] = [
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-sysusers.service",
    "systemd-logind.service",
    "systemd-sysctl.service",
    "systemd-update-utmp.service",
    "systemd-update-done.service",
    "systemd-journal-flush.service",
];

/// A host that runs systemd, for the time of one test.
#[derive(Debug)]
pub struct Host<'e> {
    engine: &'e Engine,
    container: String,
}

/// Returns whether this process runs on such a host already.
pub fn is_within() -> bool {
    Path::new(MARK).exists()
}

impl<'e> Host<'e> {
    /// Starts a host that sees `shared` at the same paths as this machine, beside the directory of
    /// this build.
    pub fn start(engine: &'e Engine, shared: &[&Path]) -> Self {
        let image = image(engine);
        let mut mounts = vec![
            "/usr:/usr:ro".to_owned(),
            "/sys/fs/cgroup:/sys/fs/cgroup:rw".to_owned(),
            format!("{0}:{0}:ro", build_dir().display()),
        ];
        mounts.extend(shared.iter().map(|path| format!("{0}:{0}", path.display())));
        let mut args = vec![
            "--network=host",
            "--cgroupns=host",
            "--cap-add=SYS_ADMIN",
            "--security-opt=apparmor=unconfined",
            "--security-opt=seccomp=unconfined",
            "--env=container=docker",
            "--stop-signal=SIGRTMIN+3",
            "--tmpfs=/run",
            "--tmpfs=/tmp",
        ];
        args.extend(mounts.iter().flat_map(|mount| ["--volume", mount]));
        args.extend([image.as_str(), "--unit=trireme-test.target"]);
        let host = Self { engine, container: engine.container(&args) };
        host.wait_for_boot();
        host
    }

    /// Returns the number that this machine has for the host's first process.
    pub fn pid(&self) -> String {
        self.engine.docker(&["inspect", "--format", "{{.State.Pid}}", &self.container])
    }

    /// Runs a program on the host and returns what it said.
    #[track_caller]
    pub fn run(&self, argv: &[&str]) -> String {
        self.engine.docker(&[&["exec", &self.container], argv].concat())
    }

    /// Returns whether a program ends well on the host.
    pub fn passes(&self, argv: &[&str]) -> bool {
        self.engine.run(&[&["exec", &self.container], argv].concat(), b"").status.success()
    }

    /// Performs a test of the calling program on the host; fails if it fails there.
    #[track_caller]
    pub fn perform(&self, test: &str) {
        let program = std::env::current_exe().unwrap().display().to_string();
        let argv = ["exec", &self.container, &program, "--exact", test, "--nocapture"];
        let output = self.engine.run(&argv, b"");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        // A name that is none passes as well.
        let performed = output.status.success() && out.contains("1 passed");
        assert!(performed, "{test} on a host with systemd: {}\n{out}\n{err}", output.status);
    }

    /// Boots the host anew; what is in `/etc` and `/var` stays.
    pub fn reboot(&self) {
        self.engine.docker(&["restart", "-t", "30", &self.container]);
        self.wait_for_boot();
    }

    fn wait_for_boot(&self) {
        let end = Instant::now() + BOOT_WAIT;
        while !self.passes(&["busctl", "--quiet", "status", "org.freedesktop.systemd1"]) {
            let said = || self.engine.run(&["logs", &self.container], b"");
            assert!(Instant::now() < end, "systemd does not come up: {:?}", said());
            pause();
        }
    }
}

/// Makes the image of a host: an `/etc` with nothing in it but what systemd and the bus need.
fn image(engine: &Engine) -> String {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let units = root.join("etc/systemd/system");
    for dir in ["usr", "run", "tmp", "proc", "sys", "dev", "var/lib", "var/log", "opt", "root"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::create_dir_all(&units).unwrap();
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let file = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
    file(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/sbin/nologin\n\
         nobody:x:65534:65534::/:/sbin/nologin\n",
    );
    file("etc/group", "root:x:0:\nmessagebus:x:100:\nsystemd-journal:x:101:\nnogroup:x:65534:\n");
    file("etc/os-release", "ID=trireme-test\n");
    file("etc/machine-id", &format!("{}\n", "7".repeat(32)));
    file(MARK.trim_start_matches('/'), "");
    file("etc/systemd/system/trireme-test.target", TARGET);
    for unit in MASKED {
        symlink("/dev/null", units.join(unit)).unwrap();
    }
    engine.import("systemd", root, &["ENTRYPOINT [\"/lib/systemd/systemd\"]"])
}

/// Returns the directory of this build: tests are built into `deps`, beside which programs lie.
fn build_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "hosts of a test are waited for off any runtime")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
