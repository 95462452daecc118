//! A device's end of the network: one thread that runs all its connections.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use edgeld_runtime::wire::{Hello, NodeId, Purpose};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::admission::Handshakes;
use super::connection::Connection;
use super::error::TransportError;
use super::handshake;
use super::log_limit::LogLimit;
use super::pipe::{Accept, Pipe, Transport};
use super::security::Security;
use super::settings::Settings;

/// How many ports [`Network::listen_from`] tries.
const PORTS_TO_TRY: u16 = 64;

/// How many addresses of a device [`Network::dial_any`] tries: as many as it may have, not as many
/// as somebody says that it has.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Connections that wait to be taken from a listener.
const UNCLAIMED: usize = 16;

/// Shortest and longest pause after a failure to accept.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Dials and listens. Clones share the thread. When the last one is dropped, its connections end as
/// soon as queued frames have been written.
#[derive(Clone)]
pub(crate) struct Network {
    thread: Arc<Thread>,
    transport: Arc<dyn Transport>,
    me: Arc<Hello>,
    security: Arc<Security>,
    settings: Arc<Settings>,
    rejections: Arc<LogLimit>,
}

/// Handle to the network thread.
struct Thread {
    handle: Handle,
    closing: Arc<watch::Sender<bool>>,
    done: watch::Receiver<bool>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.closing.send_replace(true);
    }
}

impl Network {
    /// Starts the network thread of the device `me`. Each connection replaces the purpose in `me`
    /// with its own.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the thread or its runtime cannot be created.
    pub(crate) fn start(
        transport: Arc<dyn Transport>,
        me: Hello,
        security: Security,
        settings: Settings,
    ) -> Result<Network, TransportError> {
        let stopped = |error: std::io::Error| TransportError::Stopped(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(stopped)?;
        let handle = runtime.handle().clone();
        let closing = Arc::new(watch::Sender::new(false));
        let (finished, done) = watch::channel(false);
        let (close, shutdown_timeout) = (closing.clone(), settings.shutdown_timeout);
        let run = move || {
            runtime.block_on(async {
                // Waiting cannot fail: this closure holds a sender.
                let _ = close.subscribe().wait_for(|closing| *closing).await;
                // Every writer holds a receiver until its queue is written.
                let _ = timeout(shutdown_timeout, close.closed()).await;
            });
            runtime.shutdown_background();
            finished.send_replace(true);
        };
        thread::Builder::new().name("edgeld-network".to_owned()).spawn(run).map_err(stopped)?;
        Ok(Network {
            thread: Arc::new(Thread { handle, closing, done }),
            transport,
            me: Arc::new(me),
            security: Arc::new(security),
            settings: Arc::new(settings),
            rejections: Arc::default(),
        })
    }

    /// The same thread with another transport, within this process: for the leader's own worker.
    pub(crate) fn within_process(&self, transport: Arc<dyn Transport>) -> Network {
        Network { transport, security: Arc::new(Security::Local), ..self.clone() }
    }

    /// Listens on `address`, `host:port`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`TransportError::Listen`].
    pub(crate) async fn listen(&self, address: &str) -> Result<Listener, TransportError> {
        let (transport, at) = (self.transport.clone(), address.to_owned());
        let accept = self.on_thread(async move {
            let failed = |error: std::io::Error| TransportError::Listen {
                address: at.clone(),
                error: error.to_string(),
            };
            transport.listen(&at).await.map_err(failed)
        });
        let accept = accept.await?;
        let address = accept.address().to_owned();
        let (deliver, incoming) = mpsc::channel(UNCLAIMED);
        let mut tasks = JoinSet::new();
        let handshaker = self.handshaker();
        tasks.spawn_on(accept_all(accept, handshaker, deliver), &self.thread.handle);
        Ok(Listener { address, incoming, _tasks: tasks })
    }

    /// Listens on `host` at the first free port from `port` on.
    ///
    /// # Errors
    /// [`TransportError::Listen`] for the last of the 64 ports tried.
    pub(crate) async fn listen_from(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Listener, TransportError> {
        let mut result = Err(TransportError::Stopped("no port to listen on".to_owned()));
        for port in port..=port.saturating_add(PORTS_TO_TRY - 1) {
            result = self.listen(&format!("{host}:{port}")).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Connects to the device at `address`, `host:port`, whose name may have several addresses.
    ///
    /// # Errors
    /// When nothing answers there, or not EdgeLD, or either device refuses the other.
    pub(crate) async fn dial(
        &self,
        address: &str,
        purpose: Purpose,
    ) -> Result<Connection, TransportError> {
        let (handshaker, address) = (self.handshaker(), address.to_owned());
        self.on_thread(async move {
            let resolved = handshaker.transport.resolve(&address).await;
            let unreachable =
                |error: String| TransportError::Unreachable { address: address.clone(), error };
            let mut failures = Vec::new();
            for resolved in resolved.map_err(|error| unreachable(error.to_string()))? {
                match handshaker.clone().dial(resolved, purpose).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => failures.push((failures.len(), error)),
                }
            }
            let error = most_telling(failures);
            Err(error.unwrap_or_else(|| unreachable("the name has no address".to_owned())))
        })
        .await
    }

    /// Connects to `node` at any of `addresses`, most promising first. They come from others, so no
    /// name is looked up, and only the first [`MAX_ADDRESSES`] are tried, each with
    /// [`Settings::head_start`] over the next; the first that turns out to be `node` is kept. The
    /// device may see other connections open and close at once.
    ///
    /// # Errors
    /// A refusal if there was one, else the error of the most promising address.
    pub(crate) async fn dial_any(
        &self,
        addresses: &[String],
        node: NodeId,
        purpose: Purpose,
    ) -> Result<Connection, TransportError> {
        let mut dials = JoinSet::new();
        for (rank, address) in addresses.iter().take(MAX_ADDRESSES).cloned().enumerate() {
            let handshaker = self.handshaker();
            let wait = self.settings.head_start * rank as u32;
            let attempt = async move {
                sleep(wait).await;
                let result = handshaker.dial(address, purpose).await;
                (rank, result.and_then(|connection| expect(connection, node)))
            };
            dials.spawn_on(attempt, &self.thread.handle);
        }
        let mut failures = Vec::new();
        while let Some(ended) = dials.join_next().await {
            match ended {
                Ok((_, Ok(connection))) => return Ok(connection),
                Ok((rank, Err(error))) => failures.push((rank, error)),
                Err(error) => return Err(TransportError::Stopped(error.to_string())),
            }
        }
        Err(most_telling(failures).unwrap_or_else(|| TransportError::Unreachable {
            address: node.to_string(),
            error: "it has no known address".to_owned(),
        }))
    }

    /// Spawns a task on the network thread. It must not block.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.thread.handle.spawn(task).abort_handle()
    }

    /// Ends all connections once queued frames are written, or after
    /// [`Settings::shutdown_timeout`].
    pub(crate) async fn shutdown(&self) {
        self.thread.closing.send_replace(true);
        // An error means that the thread has already ended.
        let _ = self.thread.done.clone().wait_for(|done| *done).await;
    }

    fn handshaker(&self) -> Handshaker {
        Handshaker {
            transport: self.transport.clone(),
            me: self.me.clone(),
            security: self.security.clone(),
            rejections: self.rejections.clone(),
            settings: self.settings.clone(),
            closing: self.thread.closing.subscribe(),
        }
    }

    /// Runs `work` on the network thread; dropping the future cancels it.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransportError>> + Send + 'static,
    ) -> Result<T, TransportError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, &self.thread.handle);
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(TransportError::Stopped(error.to_string())),
            None => Err(TransportError::Stopped("it ran no task".to_owned())),
        }
    }
}

/// Accepts connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    address: String,
    incoming: mpsc::Receiver<Connection>,
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Where it listens, with the actual port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The next connection with a completed handshake. Failed handshakes are only logged. Cancel
    /// safe.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the network has been shut down.
    pub(crate) async fn accept(&mut self) -> Result<Connection, TransportError> {
        let stopped = || TransportError::Stopped("it has been shut down".to_owned());
        self.incoming.recv().await.ok_or_else(stopped)
    }
}

/// Turns pipes into connections. Does not keep the network thread alive.
#[derive(Clone)]
struct Handshaker {
    transport: Arc<dyn Transport>,
    me: Arc<Hello>,
    security: Arc<Security>,
    settings: Arc<Settings>,
    rejections: Arc<LogLimit>,
    closing: watch::Receiver<bool>,
}

impl Handshaker {
    async fn dial(self, address: String, purpose: Purpose) -> Result<Connection, TransportError> {
        self.security.check_dialling(&address)?;
        match self.transport.dial(&address).await {
            Ok(pipe) => self.initiate(pipe, purpose).await,
            Err(error) => Err(TransportError::Unreachable { address, error: error.to_string() }),
        }
    }

    async fn initiate(self, pipe: Pipe, purpose: Purpose) -> Result<Connection, TransportError> {
        let me = Hello { purpose, ..(*self.me).clone() };
        let late = self.timed_out(&pipe);
        let handshake = handshake::initiate(pipe, &me, self.security.key());
        let (pipe, peer) =
            timeout(self.settings.handshake, handshake).await.map_err(|_| late)??;
        Ok(self.open(pipe, peer))
    }

    async fn respond(self, pipe: Pipe, spoken: &AtomicBool) -> Result<Connection, TransportError> {
        let late = self.timed_out(&pipe);
        let handshake = handshake::respond(pipe, &self.me, self.security.key(), spoken);
        let (pipe, peer) =
            timeout(self.settings.handshake, handshake).await.map_err(|_| late)??;
        Ok(self.open(pipe, peer))
    }

    fn open(self, pipe: Pipe, peer: Hello) -> Connection {
        Connection::open(pipe, peer, &self.settings, self.rejections, self.closing)
    }

    fn timed_out(&self, pipe: &Pipe) -> TransportError {
        TransportError::Timeout {
            address: pipe.remote.clone(),
            doing: "the handshake",
            after: self.settings.handshake,
        }
    }
}

/// Of failures with their ranks: a refusal if there was one, else the most promising address's.
fn most_telling(failures: Vec<(usize, TransportError)>) -> Option<TransportError> {
    let relevance = |(rank, error): &(usize, TransportError)| {
        (!matches!(error, TransportError::Refused { .. }), *rank)
    };
    failures.into_iter().min_by_key(relevance).map(|(_, error)| error)
}

fn expect(connection: Connection, node: NodeId) -> Result<Connection, TransportError> {
    let found = connection.peer().node;
    if found == node {
        return Ok(connection);
    }
    let address = connection.address().to_owned();
    Err(TransportError::WrongNode { address, found, expected: node })
}

async fn accept_all(
    mut accept: Box<dyn Accept>,
    mut handshaker: Handshaker,
    deliver: mpsc::Sender<Connection>,
) {
    let mut tasks = JoinSet::new();
    let mut handshakes = Handshakes::new(handshaker.settings.concurrent_handshakes);
    let mut pause = FIRST_PAUSE;
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = accept.accept() => accepted,
            // An error means that the network is gone, which also ends this task.
            _ = handshaker.closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok(None) => return,
            Ok(Some(pipe)) => {
                pause = FIRST_PAUSE;
                let (address, spoken) = (pipe.remote.clone(), Arc::new(AtomicBool::new(false)));
                let task =
                    tasks.spawn(respond(handshaker.clone(), pipe, spoken.clone(), deliver.clone()));
                if let Some(address) = handshakes.admit(address, task, spoken) {
                    let error = TransportError::Crowded { address };
                    handshaker.rejections.warn("rejected a connection", &error);
                }
            }
            // Too many open files, for example: keep listening and retry later.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}; retrying");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn respond(
    handshaker: Handshaker,
    pipe: Pipe,
    spoken: Arc<AtomicBool>,
    deliver: mpsc::Sender<Connection>,
) {
    let rejections = handshaker.rejections.clone();
    match handshaker.respond(pipe, &spoken).await {
        // If the listener is gone, this drops the connection.
        Ok(connection) => drop(deliver.send(connection).await),
        Err(error) => rejections.warn("rejected a connection", &error),
    }
}
