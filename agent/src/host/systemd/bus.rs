//! What systemd says of units and does with them, asked over the system bus.
//!
//! Methods are called by their names in `org.freedesktop.systemd1`, which are stable: generated
//! proxies would add a macro's code for the ten that are needed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::connection::{Builder, Connection};
use zbus::message::{Message, Type};
use zbus::{DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

use crate::host::outside::Happenings;

/// Where the system bus listens.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// Longest wait for one answer: a reload of all units of a large host takes seconds.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Signals that wait to be heard: each says no more than that it is time to look.
const SIGNALS_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The way to systemd; connects when it is first asked, and again when that ended.
#[derive(Debug, Default)]
pub(super) struct Bus {
    connection: Mutex<Option<Connection>>,
}

/// Tells why systemd did not do or say something.
#[derive(Debug, thiserror::Error)]
#[error("systemd cannot {what} over the bus at {SOCKET}")]
pub struct BusError {
    what: String,
    #[source]
    source: Box<zbus::Error>,
}

impl BusError {
    fn is(&self, name: &str) -> bool {
        matches!(&*self.source, zbus::Error::MethodError(found, ..) if found.as_str() == name)
    }
}

/// What systemd tells of a unit, as it words it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnitNow {
    /// Its name, whatever other it was asked for by.
    pub(super) id: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting` or another trouble.
    pub(super) load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating` or `deactivating`.
    pub(super) active: String,
    /// More closely, such as `auto-restart`.
    pub(super) sub: String,
    /// Number of its present or last run, in hexadecimal; no two have the same.
    pub(super) invocation: String,
    /// Number of what is to be done to it, or 0.
    pub(super) job: u32,
    /// Whether its files have changed since they were read.
    pub(super) is_stale: bool,
    /// Whether what it asks for before it starts was given the last time.
    pub(super) condition: bool,
    /// Its main process, or 0.
    pub(super) pid: u32,
    /// What it starts, as systemd keeps it.
    pub(super) exec: Vec<Vec<String>>,
    /// How its main process ended: 1 for a code, 2 and 3 for a signal, 0 if it did not.
    pub(super) ended: i32,
    /// That code or signal.
    pub(super) status: i32,
    /// `success`, or what went wrong.
    pub(super) result: String,
    /// Times systemd has started it again by itself.
    pub(super) restarts: u32,
}

/// One command of a unit: path, argv, whether failure is ignored, four times, process, how it
/// ended.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

impl Bus {
    /// Returns a connection of its own, on which systemd tells of changes.
    async fn connect() -> Result<Connection, zbus::Error> {
        let address = format!("unix:path={SOCKET}");
        let built = Builder::address(address.as_str()).method_timeout(ANSWER_WAIT).build();
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        timeout(CONNECT_WAIT, built).await.map_err(|_| zbus::Error::from(late()))?
    }

    async fn connection(&self) -> Result<Connection, zbus::Error> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|one| !one.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Self::connect().await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    async fn manager<B>(&self, what: &str, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let asked = async {
            let connection = self.connection().await?;
            connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, body).await
        };
        asked.await.map_err(failed(what))
    }

    /// Returns what systemd tells of a unit, loading its files if nobody did.
    pub(super) async fn unit(&self, name: &str) -> Result<UnitNow, BusError> {
        let asked = async {
            let connection = self.connection().await?;
            let path = object_path(&connection, name).await?;
            let unit = properties(&connection, &path, UNIT).await?;
            let service = properties(&connection, &path, SERVICE).await?;
            Ok(told(unit, service))
        };
        asked.await.map_err(failed(&format!("tell of unit {name}")))
    }

    /// Has systemd start a unit, or restart one that runs; returns once that is begun.
    pub(super) async fn start(&self, name: &str, runs: bool) -> Result<(), BusError> {
        let method = if runs { "RestartUnit" } else { "StartUnit" };
        self.manager(&format!("start unit {name}"), method, &(name, "replace")).await.map(drop)
    }

    /// Has systemd stop a unit; returns once that is begun.
    pub(super) async fn stop(&self, name: &str) -> Result<(), BusError> {
        let what = format!("stop unit {name}");
        self.manager(&what, "StopUnit", &(name, "replace")).await.map(drop)
    }

    /// Has systemd forget that a unit failed, and how often it was started lately.
    pub(super) async fn forget_failures(&self, name: &str) -> Result<(), BusError> {
        let what = format!("reset unit {name}");
        match self.manager(&what, "ResetFailedUnit", &(name,)).await {
            // What is not loaded has nothing to be forgotten.
            Err(error) if error.is("org.freedesktop.systemd1.NoSuchUnit") => Ok(()),
            done => done.map(drop),
        }
    }

    /// Has systemd read the files of all units again.
    pub(super) async fn reload(&self) -> Result<(), BusError> {
        self.manager("reload its units", "Reload", &()).await.map(drop)
    }

    /// Returns a stream that has an item whenever something happened to a unit; it ends when
    /// systemd or the bus does.
    ///
    /// On a connection of its own: signals that nobody takes for a while hold up what comes after
    /// them, which must not be an answer.
    pub(super) async fn happenings(&self, name: &str) -> Result<Happenings, BusError> {
        let listened = async {
            let connection = Self::connect().await?;
            let subscribe = "Subscribe";
            let path = MANAGER_PATH;
            connection.call_method(Some(SYSTEMD), path, Some(MANAGER), subscribe, &()).await?;
            let path = object_path(&connection, name).await?;
            let rule = MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(SYSTEMD)
                .path(path)
                .interface(PROPERTIES)
                .member("PropertiesChanged")
                .build()?;
            MessageStream::for_match_rule(rule, &connection, Some(SIGNALS_MAX)).await
        };
        let signals = listened.await.map_err(failed(&format!("tell of changes of unit {name}")))?;
        Ok(signals.map(drop).boxed())
    }
}

fn failed(what: &str) -> impl FnOnce(zbus::Error) -> BusError {
    move |source| BusError { what: what.to_owned(), source: Box::new(source) }
}

async fn object_path(connection: &Connection, name: &str) -> Result<OwnedObjectPath, zbus::Error> {
    let (method, body) = ("LoadUnit", (name,));
    let asked = connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, &body);
    asked.await?.body().deserialize()
}

type Properties = HashMap<String, OwnedVariant>;

async fn properties(
    connection: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
) -> Result<Properties, zbus::Error> {
    let (method, body) = ("GetAll", (interface,));
    let asked = connection.call_method(Some(SYSTEMD), path, Some(PROPERTIES), method, &body);
    asked.await?.body().deserialize()
}

/// Reads the properties of a unit; one that this systemd does not have is left at nothing.
fn told(mut unit: Properties, mut service: Properties) -> UnitNow {
    let job = unit.remove("Job").and_then(|job| <(u32, OwnedObjectPath)>::try_from(job).ok());
    let invocation: Vec<u8> = taken(&mut unit, "InvocationID");
    let exec: Vec<Exec> = taken(&mut service, "ExecStart");
    let words = |(path, argv, ..): Exec| {
        let rest = argv.into_iter().skip(1);
        std::iter::once(path).chain(rest).collect()
    };
    UnitNow {
        id: taken(&mut unit, "Id"),
        load: taken(&mut unit, "LoadState"),
        active: taken(&mut unit, "ActiveState"),
        sub: taken(&mut unit, "SubState"),
        invocation: invocation.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
        job: job.map_or(0, |(number, _)| number),
        is_stale: taken(&mut unit, "NeedDaemonReload"),
        condition: taken(&mut unit, "ConditionResult"),
        pid: taken(&mut service, "MainPID"),
        exec: exec.into_iter().map(words).collect(),
        ended: taken(&mut service, "ExecMainCode"),
        status: taken(&mut service, "ExecMainStatus"),
        result: taken(&mut service, "Result"),
        restarts: taken(&mut service, "NRestarts"),
    }
}

fn taken<T: TryFrom<OwnedVariant> + Default>(properties: &mut Properties, name: &str) -> T {
    properties.remove(name).and_then(|value| T::try_from(value).ok()).unwrap_or_default()
}
