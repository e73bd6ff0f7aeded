//! A Modbus TCP device: a machine behind a port, and the mode that it is in.
//!
//! Invariants:
//! - At most [`CONNECTIONS_MAX`] connections at once; one more is closed at once, as PLCs do.
//! - [`DeviceMode::Drop`] is an act, not a state: it closes the connections and leaves the
//!   device in [`DeviceMode::Ok`].
//! - Stopping and starting keeps the address.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::error::PlantError;
use crate::port::Port;
use crate::shared::Shared;
use crate::task::Task;

use super::wire::Wire;

/// Connections that one device serves at once.
const CONNECTIONS_MAX: usize = 64;
/// Rest after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeviceMode {
    /// As it should.
    Ok,
    /// It works and reports a fault of the machine.
    Fault,
    /// Closes its connections now.
    Drop,
    /// Answers every request with exception 04 (server device failure).
    Exception,
    /// Answers bytes that are no answer.
    Garbage,
    /// Accepts and reads, never answers.
    Silent,
    /// Refuses connections.
    Stop,
}

/// What answers the requests of a device.
pub(crate) trait Machine: Send + Sync + 'static {
    /// The answer to one request to one unit.
    fn answer(&self, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode>;
}

/// A device on a port.
pub(crate) struct ModbusDevice {
    machine: Arc<dyn Machine>,
    mode: Shared<DeviceMode>,
    seed: u64,
    port: Port,
    server: Option<Task>,
}

impl ModbusDevice {
    /// Opens the port; [`ModbusDevice::set_mode`] with [`DeviceMode::Ok`] starts the device.
    pub(crate) fn open(what: &str, address: SocketAddr, machine: impl Machine, seed: u64) -> Result<Self, PlantError> {
        Ok(Self {
            machine: Arc::new(machine),
            mode: Shared::new(DeviceMode::Stop),
            seed,
            port: Port::open(what, address)?,
            server: None,
        })
    }

    /// Where the device is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How the device behaves.
    pub(crate) fn mode(&self) -> DeviceMode {
        *self.mode.lock()
    }

    /// Makes the device behave so from now on. An error leaves it stopped: its port was taken
    /// by another program in the meantime.
    pub(crate) async fn set_mode(&mut self, mode: DeviceMode) -> io::Result<()> {
        match mode {
            DeviceMode::Stop => {
                *self.mode.lock() = DeviceMode::Stop;
                self.port.close();
                self.end_server().await;
                return Ok(());
            }
            DeviceMode::Drop => self.end_server().await,
            _ => {}
        }
        if self.server.is_none() {
            let listener = self.port.listener()?;
            self.server = Some(Task::spawn(serve(listener, Arc::clone(&self.machine), self.mode.clone(), self.seed)));
        }
        *self.mode.lock() = match mode {
            DeviceMode::Drop => DeviceMode::Ok,
            other => other,
        };
        Ok(())
    }

    /// Ends the accept loop and with it, through tokio-modbus's drop guard, every connection.
    async fn end_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, machine: Arc<dyn Machine>, mode: Shared<DeviceMode>, seed: u64) {
    let server = Server::new(listener);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let on_connected = |stream: TcpStream, _peer: SocketAddr| {
        let accepted = Arc::clone(&slots).try_acquire_owned().ok().map(|slot| {
            let service = Answering { machine: Arc::clone(&machine), mode: mode.clone(), _slot: slot };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "modbus connection keeps its delay");
            }
            (service, Wire::new(stream, mode.clone(), seed))
        });
        ready(Ok(accepted))
    };
    let on_error = |error| tracing::debug!(%error, "modbus connection ended");
    loop {
        // It returns on an error of accept only, and then it has closed its connections.
        if let Err(error) = server.serve(&on_connected, on_error).await {
            tracing::warn!(%error, "modbus device could not accept a connection; it goes on");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// One connection's view of the machine.
struct Answering {
    machine: Arc<dyn Machine>,
    mode: Shared<DeviceMode>,
    _slot: OwnedSemaphorePermit,
}

impl Service for Answering {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mode = *self.mode.lock();
        ready(match mode {
            DeviceMode::Silent => Ok(None),
            DeviceMode::Exception => Err(ExceptionCode::ServerDeviceFailure),
            DeviceMode::Ok | DeviceMode::Fault | DeviceMode::Drop | DeviceMode::Garbage | DeviceMode::Stop => {
                self.machine.answer(request.slave, &request.request).map(Some)
            }
        })
    }
}
