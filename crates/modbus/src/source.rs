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
use env::clock::Alarm;
use model::device::{Commands, DeviceError, Pending};
use model::{Intake, SourceId, SourceState, TagId};
use std::collections::hash_map::DefaultHasher;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Bytes of the read buffer: thirty of the longest frames.
const BUFFER_BYTES: usize = 8 * 1024;
/// Buffers read in one wake-up before others have their turn.
const READS_MAX: usize = 4;
/// Wait before a refused declaration is tried again.
const DECLARE_AGAIN: Duration = Duration::from_secs(5);

/// What a source knows of time: the machine's clocks, and an alarm of its own.
pub struct Time {
    /// The clocks.
    pub clock: Rc<dyn Clock>,
    /// Goes off at times of that clock.
    pub alarm: Box<dyn Alarm>,
}

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
    time: Time,
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
    let Time { clock, alarm } = time;
    (&name, clock.wall().0).hash(&mut hasher);
    let poller = Poller::new(&settings, source, &ids, hasher.finish());
    let mut shell = Shell { settings, intake, clock, poller, commands, alarm, armed_ns: u64::MAX, next_ns: 0 };
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
    alarm: Box<dyn Alarm>,
    /// What the alarm is set to.
    armed_ns: u64,
    /// When the poller next has something to do by time.
    next_ns: u64,
}

impl Shell {
    fn now(&self) -> Moment {
        Moment { mono_ns: self.clock.monotonic_ns(), wall: self.clock.wall() }
    }

    /// Connects and serves, again and again; never ends by itself.
    async fn serve(&mut self) {
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
                Ok(mut stream) => {
                    let now = self.now();
                    self.poller.on_connected(now, &*self.intake);
                    self.next_ns = self.poller.next_ns(now);
                    poll_fn(|cx| self.poll_converse(&mut stream, cx)).await;
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
        self.next_ns = self.poller.next_ns(self.now());
        poll_fn(|cx| {
            if self.clock.monotonic_ns() >= self.next_ns {
                return Poll::Ready(None);
            }
            if let Some(pending) = self.poll_command(cx) {
                return Poll::Ready(Some(pending));
            }
            self.arm(cx);
            Poll::Pending
        })
        .await
    }

    fn on_command(&mut self, pending: Option<Pending>) {
        if let Some(pending) = pending {
            let now = self.now();
            self.poller.on_command(now, pending, &*self.intake);
        }
    }

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Option<Pending> {
        if !self.poller.has_room() {
            return None;
        }
        match self.commands.poll_next(cx) {
            Poll::Ready(pending) => pending,
            Poll::Pending => None,
        }
    }

    /// Sets the alarm, where it is not set to that time already.
    fn arm(&mut self, cx: &Context<'_>) {
        if self.armed_ns != self.next_ns {
            self.armed_ns = self.next_ns;
            self.alarm.set(self.next_ns, cx.waker());
        }
    }

    /// Serves one connection until it is lost or no longer wanted: what is due by time, commands, what
    /// is to be written, what came before that and is to be published, what can be read; as long as something
    /// comes of it, within the budget. One look
    /// at the clocks serves nearly all that a wake-up brings, and the buffer lies on the stack: it is warm
    /// for every source, and none has one of its own.
    fn poll_converse(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut now = self.now();
        if now.mono_ns >= self.next_ns {
            // It went off, or is of no use any more.
            self.armed_ns = u64::MAX;
            self.poller.on_time(now, &*self.intake);
        }
        while let Some(pending) = self.poll_command(cx) {
            self.poller.on_command(now, pending, &*self.intake);
        }
        for reads in 0..=READS_MAX {
            if !self.poller.is_connected() {
                return Poll::Ready(());
            }
            self.next_ns = self.poller.next_ns(now);
            if self.next_ns <= now.mono_ns {
                // What just ended let something else begin.
                self.poller.on_time(now, &*self.intake);
                self.next_ns = self.poller.next_ns(now);
            }
            if let Err(loss) = self.write(stream, cx) {
                self.poller.on_lost(now, loss, &*self.intake);
                continue;
            }
            if self.poller.publish(now, &*self.intake) {
                self.next_ns = self.poller.next_ns(now);
            }
            if reads == READS_MAX {
                break;
            }
            let mut bytes = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            if read.is_pending() {
                self.arm(cx);
                return Poll::Pending;
            }
            if reads > 0 {
                now = self.now();
            }
            match read {
                Poll::Ready(Err(error)) => self.poller.on_lost(now, lost(&error), &*self.intake),
                _ if buffer.filled().is_empty() => self.poller.on_lost(now, Loss::ClosedByPeer, &*self.intake),
                _ => self.poller.on_bytes(now, buffer.filled(), &*self.intake),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the socket takes now.
    fn write(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Result<(), Loss> {
        while !self.poller.outbox().is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, self.poller.outbox()) {
                Poll::Ready(Ok(0)) => return Err(Loss::ClosedByPeer),
                Poll::Ready(Ok(bytes)) => self.poller.sent(bytes),
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
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
