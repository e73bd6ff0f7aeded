//! The shell round a [`Poller`]: socket, timers, name look-up.
//!
//! Purpose: make a Modbus source known, connect, and carry bytes and time between the socket and
//! the state machine, on the shard's own thread.
//!
//! Invariants
//! - O1: every await ends with the stop signal; none waits for one thing only.
//! - O2: one wake-up reads at most four buffers, so a device that floods delays nobody.
//!
//! It decides nothing: what is sent, when, and what an answer means is the poller's.

use crate::gaps::Moment;
use crate::layout::declarations;
use crate::loss::Loss;
use crate::poller::Poller;
use config::ModbusSource;
use env::Clock;
use model::device::{Commands, DeviceError, Pending};
use model::{Intake, SourceId, SourceState, TagId};
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes of the read buffer: thirty of the longest frames.
const BUFFER_BYTES: usize = 8 * 1024;
/// Buffers read in one wake-up before others have their turn.
const READ_BUDGET: usize = 4;
/// Wait before a refused declaration is tried again.
const DECLARE_AGAIN: Duration = Duration::from_secs(5);
/// Longest sleep; what is due later is looked at then.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Runs a Modbus TCP source until `stop` ends: declares it and its tags (`path[/unit]/tag`), polls
/// its units, and says readings, gaps, states and counts through `intake`. Spawn it on the shard's
/// own single-threaded runtime, which must have time and I/O enabled.
///
/// `commands` are carried out between the polls, before those that wait; while there is no
/// connection each is answered at once with why not.
///
/// It returns after `stop` only; whatever fails is said as a state and tried again.
pub async fn run(
    name: String,
    path: String,
    settings: ModbusSource,
    intake: Rc<dyn Intake>,
    clock: Rc<dyn Clock>,
    stop: impl Future<Output = ()>,
    mut commands: Commands,
) {
    let mut stop = pin!(stop);
    let declared = tokio::select! {
        biased;
        () = stop.as_mut() => return,
        declared = refusing(&mut commands, declare(&name, &path, &settings, &*intake)) => declared,
    };
    let Some((source, ids)) = declared else {
        refusing(&mut commands, stop).await;
        return;
    };
    let mut hasher = DefaultHasher::new();
    (&name, clock.wall().0).hash(&mut hasher);
    let poller = Poller::new(&settings, source, &ids, hasher.finish());
    let sleep = Box::pin(sleep(Duration::ZERO));
    let mut shell = Shell { settings, intake, clock, poller, commands, sleep, asleep_until: None };
    tokio::select! {
        biased;
        () = stop.as_mut() => {}
        () = shell.serve() => {}
    }
    let now = shell.now();
    shell.poller.finish(now, &*shell.intake);
}

/// Does something while every command is refused, because there is no device to carry it out.
async fn refusing<T>(commands: &mut Commands, meanwhile: impl Future<Output = T>) -> T {
    let mut meanwhile = pin!(meanwhile);
    loop {
        tokio::select! {
            biased;
            done = meanwhile.as_mut() => return done,
            pending = commands.next() => {
                let why = "its tags are not declared; see the state of the source".to_owned();
                pending.answer(Err(DeviceError::NotConnected { why }));
            }
        }
    }
}

/// Makes the source and its tags known, trying again while that is refused. `None` where a path is
/// no path, which no retry mends.
async fn declare(
    name: &str,
    path: &str,
    settings: &ModbusSource,
    intake: &dyn Intake,
) -> Option<(SourceId, Vec<TagId>)> {
    let source = loop {
        match intake.source(name) {
            Ok(source) => break source,
            Err(refused) => tracing::warn!(source = name, %refused, "the source cannot be declared; tried again"),
        }
        sleep(DECLARE_AGAIN).await;
    };
    intake.state(source, SourceState::Starting { doing: "declaring tags".into() });
    let tags = match declarations(path, settings) {
        Ok(tags) => tags,
        Err((path, error)) => {
            let reason = format!("tag path {path:?}: {error}; correct it in the configuration");
            intake.state(source, SourceState::Down { reason });
            return None;
        }
    };
    loop {
        match intake.declare(source, &tags) {
            Ok(ids) if ids.len() == tags.len() => return Some((source, ids)),
            Ok(ids) => {
                let reason = format!("{} tags were declared and {} known; restart Millstream", tags.len(), ids.len());
                intake.state(source, SourceState::Down { reason });
                return None;
            }
            Err(refused) => {
                let reason = format!("its {} tags cannot be declared: {refused}", tags.len());
                intake.state(source, SourceState::Down { reason });
            }
        }
        sleep(DECLARE_AGAIN).await;
    }
}

struct Shell {
    settings: ModbusSource,
    intake: Rc<dyn Intake>,
    clock: Rc<dyn Clock>,
    poller: Poller,
    commands: Commands,
    sleep: Pin<Box<Sleep>>,
    asleep_until: Option<u64>,
}

/// Which of the things waited for came first.
enum Woke {
    Time,
    Command(Pending),
    Readable,
    Writable,
    Broken(Loss),
}

impl Shell {
    fn now(&self) -> Moment {
        Moment { mono_ns: self.clock.monotonic_ns(), wall: self.clock.wall() }
    }

    /// Connects and serves, again and again; never ends by itself.
    async fn serve(&mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let now = self.now();
            self.poller.on_time(now, &*self.intake);
            if !self.poller.begin_connect(now) {
                let pending = self.idle().await;
                self.on_command(pending);
                continue;
            }
            match self.connect().await {
                Err(loss) => {
                    let now = self.now();
                    self.poller.on_lost(now, loss, &*self.intake);
                }
                Ok(stream) => {
                    let now = self.now();
                    self.poller.on_connected(now, &*self.intake);
                    self.converse(&stream, &mut buffer).await;
                }
            }
        }
    }

    /// Connects within the timeout, while the schedule goes on.
    async fn connect(&mut self) -> Result<TcpStream, Loss> {
        let address = self.settings.address.clone();
        let timeout = self.settings.timeout;
        let mut connecting = pin!(connect(&address.host, address.port, timeout));
        loop {
            tokio::select! {
                biased;
                connected = connecting.as_mut() => return connected,
                pending = self.idle() => {
                    self.on_command(pending);
                    let now = self.now();
                    self.poller.on_time(now, &*self.intake);
                }
            }
        }
    }

    /// Waits for a command or for time.
    async fn idle(&mut self) -> Option<Pending> {
        let room = self.poller.has_room();
        self.reset_sleep();
        tokio::select! {
            () = self.sleep.as_mut() => None,
            pending = self.commands.next(), if room => Some(pending),
        }
    }

    fn on_command(&mut self, pending: Option<Pending>) {
        if let Some(pending) = pending {
            let now = self.now();
            self.poller.on_command(now, pending, &*self.intake);
        }
    }

    /// Serves one connection until it is lost or no longer wanted.
    async fn converse(&mut self, stream: &TcpStream, buffer: &mut [u8]) {
        while self.poller.is_connected() {
            let woke = match self.write(stream) {
                Ok(()) => self.wait(stream).await,
                Err(loss) => Woke::Broken(loss),
            };
            let woke = match woke {
                Woke::Readable => self.read(stream, buffer).await,
                other => other,
            };
            let now = self.now();
            match woke {
                Woke::Broken(loss) => self.poller.on_lost(now, loss, &*self.intake),
                Woke::Time => self.poller.on_time(now, &*self.intake),
                Woke::Command(pending) => self.poller.on_command(now, pending, &*self.intake),
                Woke::Readable | Woke::Writable => {}
            }
        }
    }

    async fn wait(&mut self, stream: &TcpStream) -> Woke {
        let writes = !self.poller.outbox().is_empty();
        tokio::select! {
            pending = self.idle() => pending.map_or(Woke::Time, Woke::Command),
            ready = stream.readable() => ready.map_or_else(|error| Woke::Broken(lost(&error)), |()| Woke::Readable),
            ready = stream.writable(), if writes => {
                ready.map_or_else(|error| Woke::Broken(lost(&error)), |()| Woke::Writable)
            }
        }
    }

    /// Writes what the socket takes now.
    fn write(&mut self, stream: &TcpStream) -> Result<(), Loss> {
        while !self.poller.outbox().is_empty() {
            match stream.try_write(self.poller.outbox()) {
                Ok(0) => return Err(Loss::ClosedByPeer),
                Ok(bytes) => self.poller.sent(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(())
    }

    /// Reads what is there, within the budget.
    async fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> Woke {
        for _ in 0..READ_BUDGET {
            match stream.try_read(buffer) {
                Ok(0) => return Woke::Broken(Loss::ClosedByPeer),
                Ok(bytes) => {
                    let now = self.now();
                    self.poller.on_bytes(now, buffer.get(..bytes).unwrap_or_default(), &*self.intake);
                    if bytes < buffer.len() || !self.poller.is_connected() {
                        return Woke::Readable;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Woke::Readable,
                Err(error) => return Woke::Broken(lost(&error)),
            }
        }
        tokio::task::yield_now().await;
        Woke::Time
    }

    /// Sets the timer to when the poller has something to do by time; only anew when that time
    /// changed.
    fn reset_sleep(&mut self) {
        let now = self.now();
        let next = self.poller.next_ns(now);
        if self.asleep_until != Some(next) || self.sleep.is_elapsed() {
            let wait = Duration::from_nanos(next.saturating_sub(now.mono_ns)).min(SLEEP_MAX);
            self.sleep.as_mut().reset(Instant::now() + wait);
            self.asleep_until = Some(next);
        }
    }
}

fn lost(error: &std::io::Error) -> Loss {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Loss::ClosedByPeer,
        _ => Loss::Io(error.to_string()),
    }
}

/// Connects to a host name or address within a time; the names' addresses are tried in turn.
///
/// # Errors
/// [`Loss::Connect`] says what happened and what to look at.
pub(crate) async fn connect(host: &str, port: u16, within: Duration) -> Result<TcpStream, Loss> {
    let attempt = async {
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port))
                .await
                .map_err(|error| {
                    format!("the name {host} was not found ({error}); check the name or write an address")
                })?
                .collect(),
        };
        let mut failed = format!("the name {host} has no address; check the name");
        // Each of a name's addresses has its share of the time, lest a dead one takes it all.
        let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = refusal(address, &error),
                Err(_) => failed = unanswered(host, port, within),
            }
        }
        Err(failed)
    };
    match tokio::time::timeout(within, attempt).await {
        Ok(connected) => connected.map_err(Loss::Connect),
        Err(_) => Err(Loss::Connect(unanswered(host, port, within))),
    }
}

fn unanswered(host: &str, port: u16, within: Duration) -> String {
    format!(
        "no connection to {host} port {port} within {within:?}; check that the device is on and the network reaches it"
    )
}

fn refusal(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("{address} refuses connections; check the port, and that Modbus TCP is switched on there")
        }
        _ => format!("no connection to {address} ({error}); check the network and the address"),
    }
}
