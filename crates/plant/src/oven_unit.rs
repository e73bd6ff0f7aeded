//! The oven as a unit that can be faulted, stopped and started again at the same address.
//!
//! Invariant: the machine goes on by itself while its server is stopped; a server that starts
//! shows the machine as it is then.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::PlantError;
use crate::oven::{OvenFeed, OvenNodes, PATH};
use crate::physics::World;
use crate::port::Port;
use crate::shared::Shared;
use crate::ua::{Endpoint, Launch};

/// How the oven behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OvenMode {
    /// As it should.
    Ok,
    /// The machine is in fault; the server works.
    Fault,
    /// The server is shut down; its port refuses.
    Stop,
}

/// The server while it runs; shared with the task that feeds it.
pub(crate) type LiveOven = Shared<Option<(Endpoint, OvenFeed)>>;

/// The oven and its server.
pub(crate) struct OvenUnit {
    world: Shared<World>,
    launch: Launch,
    port: Port,
    live: LiveOven,
    mode: OvenMode,
}

impl OvenUnit {
    /// Opens the port; [`OvenUnit::set_mode`] with [`OvenMode::Ok`] starts the server.
    pub(crate) fn open(address: SocketAddr, world: Shared<World>, live: LiveOven) -> Result<Self, PlantError> {
        let port = Port::open("oven", address)?;
        let nodes = OvenNodes { world: world.clone() };
        Ok(Self {
            world,
            launch: Launch { what: "oven", address: port.address(), path: PATH, hooks: Arc::new(nodes) },
            port,
            live,
            mode: OvenMode::Stop,
        })
    }

    /// The endpoint URL.
    pub(crate) fn url(&self) -> String {
        self.launch.url()
    }

    /// How the oven behaves.
    pub(crate) fn mode(&self) -> OvenMode {
        self.mode
    }

    /// Makes the oven behave so from now on. An error leaves its server stopped.
    pub(crate) async fn set_mode(&mut self, mode: OvenMode) -> Result<(), PlantError> {
        self.world.lock().oven_mut().set_fault(mode == OvenMode::Fault);
        if mode == OvenMode::Stop {
            self.mode = OvenMode::Stop;
            self.port.close();
            let live = self.live.lock().take();
            if let Some((endpoint, _)) = live {
                endpoint.stop().await;
            }
            return Ok(());
        }
        if self.live.lock().is_none() {
            let endpoint = self.start().await?;
            let feed = OvenFeed::new(&endpoint).ok_or_else(|| PlantError::Opcua {
                what: "oven".to_owned(),
                endpoint: self.launch.url(),
                detail: "it does not know its own namespace".to_owned(),
            })?;
            *self.live.lock() = Some((endpoint, feed));
        }
        self.mode = mode;
        Ok(())
    }

    async fn start(&mut self) -> Result<Endpoint, PlantError> {
        let listener = self.port.listener().map_err(|source| PlantError::Bind {
            what: "oven".to_owned(),
            address: self.port.address(),
            source,
        })?;
        self.launch.start(listener).await
    }
}
