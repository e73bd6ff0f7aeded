//! Connections of one origin, and requests over them.
//!
//! Invariants
//! - C1: no task is spawned: a connection moves while its call is polled, so that what it costs is
//!   measured and limited as its call is.
//! - C2: a connection has one request at a time. It is kept when the answer was read to its end and
//!   both sides keep it, and dropped otherwise.
//! - C3: a kept connection that the other side has closed is not used; a request that found one
//!   closed before a byte of it left goes over the next.
//!
//! Kept connections are closed by the next call that finds them too old.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::call::CallError;
use crate::chain::chain;
use crate::http::address::Origin;
use crate::http::answer::Answer;
use crate::http::connection::{Connection, Deadline, NotBegun};
use crate::http::settings::HttpSettings;
use crate::http::transport::{Transport, Watcher};
use crate::sent::Sent;

/// HTTP/1.1 to one origin.
pub(crate) struct Client {
    origin: Origin,
    secure: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
    idle_max: usize,
    idle_timeout: Duration,
    pause: fn(),
    /// Kept connections and since when, the newest last.
    idle: RefCell<Vec<(Box<Connection>, Instant)>>,
}

impl Client {
    /// Prepares a client; nothing is connected yet.
    ///
    /// # Errors
    /// [`CallError::Setup`]: an address or certificate that cannot be used.
    pub(crate) fn new(settings: &HttpSettings) -> Result<Self, CallError> {
        let origin = Origin::of_template(&settings.url)?;
        let secure = if origin.is_secure() {
            let mut config = settings.tls.config()?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(origin.name())
                .map_err(|_| CallError::setup(format!("{} is no name of a host", origin.name())))?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            origin,
            secure,
            connect_timeout: settings.connect_timeout,
            idle_max: settings.idle_connections,
            idle_timeout: settings.idle_timeout,
            pause: settings.pause,
            idle: RefCell::default(),
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// One request, one answer; its address is a path and a query.
    ///
    /// # Errors
    /// [`CallError::Unreachable`], [`CallError::Lost`], [`CallError::Timeout`], told apart by whether
    /// a byte of the request has left.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        sent: &Sent,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let mut deadline = pin!(sleep_until(deadline));
        let (mut connection, answer) = self.begin(request, sent, &mut deadline).await?;
        let answer = connection.finish(answer, bytes_max, &mut deadline).await?;
        if answer.complete && connection.is_fit() {
            self.keep(connection);
        }
        Ok(answer)
    }

    async fn begin(
        &self,
        mut request: Request<Full<Bytes>>,
        sent: &Sent,
        deadline: &mut Deadline<'_>,
    ) -> Result<(Box<Connection>, Response<Incoming>), CallError> {
        while let Some(mut connection) = self.kept() {
            if !connection.is_fit() {
                continue;
            }
            match connection.begin(request, sent, deadline).await {
                Ok(answer) => return Ok((connection, answer)),
                Err(NotBegun::Failed(error)) => return Err(error),
                Err(NotBegun::Unsent(unsent, _)) => request = *unsent,
            }
        }
        let connected = tokio::select! {
            connected = timeout(self.connect_timeout, self.connect()) => connected,
            () = deadline.as_mut() => return Err(CallError::Timeout { sent: false }),
        };
        let mut connection = connected.map_err(|_| {
            CallError::unreachable(format!("no connection to {} within {:?}", self.origin, self.connect_timeout))
        })??;
        match connection.begin(request, sent, deadline).await {
            Ok(answer) => Ok((connection, answer)),
            Err(NotBegun::Failed(error)) => Err(error),
            Err(NotBegun::Unsent(_, what)) => Err(CallError::unreachable(what)),
        }
    }

    /// The newest kept connection. Those that were kept too long are closed.
    fn kept(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        // they came in order of time
        let old = idle.iter().take_while(|(_, since)| since.elapsed() >= self.idle_timeout).count();
        idle.drain(..old);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max {
            idle.push((connection, Instant::now()));
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, CallError> {
        let unreachable = |what: String| CallError::unreachable(format!("{}: {what}", self.origin));
        let stream = self.stream().await.map_err(unreachable)?;
        let watcher = Watcher::default();
        let transport = match &self.secure {
            None => Transport::plain(stream, watcher.clone(), self.pause),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(|error| unreachable(format!("no TLS: {}", chain(&error))))?;
                Transport::secure(stream, watcher.clone(), self.pause)
            }
        };
        Connection::new(transport, watcher).await.map(Box::new)
    }

    /// A connection to the first address of the host that takes one; each has its share of the time.
    async fn stream(&self) -> Result<TcpStream, String> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((self.origin.name(), self.origin.port()))
            .await
            .map_err(|error| format!("the name is not known: {error}"))?
            .collect();
        let share = self.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut why = "the name has no address".to_owned();
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // small messages must not wait for one another; one that cannot say so still works
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = format!("no connection to {address}: {error}"),
                Err(_) => why = format!("no connection to {address}: no answer"),
            }
        }
        Err(why)
    }
}
