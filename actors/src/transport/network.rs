//! A device's end of the network: one thread on which all its connections live.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use edgeld_runtime::wire::{Hello, NodeId, Purpose};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::error::TransportError;
use super::handshake;
use super::pipe::{Accept, Pipe, Transport};
use super::settings::Settings;

/// How many ports [`Network::listen_from`] tries.
const PORTS: u16 = 64;

/// Pauses after a failure to accept, first and longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Dials and listens. Clones share the thread. With the last of them its connections end, once
/// what waits has been written.
#[derive(Clone)]
pub(crate) struct Network {
    thread: Arc<Thread>,
    transport: Arc<dyn Transport>,
    me: Arc<Hello>,
    settings: Arc<Settings>,
}

/// The network thread, from outside.
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
    /// Starts the network thread of a device that greets as `me`. The purpose in it is replaced by
    /// each connection's own.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the system gives no thread or poller.
    pub(crate) fn start(
        transport: Arc<dyn Transport>,
        me: Hello,
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
                // The sender is ours too, so that waiting cannot fail.
                let _ = close.subscribe().wait_for(|closing| *closing).await;
                // Every writer holds a receiver until it has written what it was given.
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
            settings: Arc::new(settings),
        })
    }

    /// The same thread with another transport and handshake: the leader's own worker, say.
    pub(crate) fn with_transport(&self, transport: Arc<dyn Transport>, me: Hello) -> Network {
        Network { transport, me: Arc::new(me), ..self.clone() }
    }

    /// Listens at `address`, `host:port`; port 0 is any free one.
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
        let (deliver, incoming) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let greeter = self.greeter();
        tasks.spawn_on(accept_all(accept, greeter, deliver), &self.thread.handle);
        Ok(Listener { address, incoming, _tasks: tasks })
    }

    /// Listens at `host` and the first free port from `port` on.
    ///
    /// # Errors
    /// [`TransportError::Listen`] for the last of 64 ports.
    pub(crate) async fn listen_from(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Listener, TransportError> {
        let mut result = Err(TransportError::Stopped("no port to listen at".to_owned()));
        for port in port..=port.saturating_add(PORTS - 1) {
            result = self.listen(&format!("{host}:{port}")).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Connects to the device at `address`, `host:port`.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else, or the two will not work together.
    pub(crate) async fn dial(
        &self,
        address: &str,
        purpose: Purpose,
    ) -> Result<Connection, TransportError> {
        self.on_thread(dial(self.transport.clone(), self.greeter(), address.to_owned(), purpose))
            .await
    }

    /// Connects to a device that may be reached at any of `addresses`, most promising first: all
    /// are tried, each with [`Settings::head_start`] over the next; the first that greets as `node`
    /// is kept. The device may see others of these connections open and end at once.
    ///
    /// # Errors
    /// That of the most promising address; one that says why the device refuses goes first.
    pub(crate) async fn dial_any(
        &self,
        addresses: &[String],
        node: NodeId,
        purpose: Purpose,
    ) -> Result<Connection, TransportError> {
        let mut dials = JoinSet::new();
        for (rank, address) in addresses.iter().cloned().enumerate() {
            let (transport, greeter) = (self.transport.clone(), self.greeter());
            let wait = self.settings.head_start * rank as u32;
            let attempt = async move {
                sleep(wait).await;
                let result = dial(transport, greeter, address, purpose).await;
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
        let telling = |(rank, error): &(usize, TransportError)| {
            (!matches!(error, TransportError::Refused { .. }), *rank)
        };
        let best = failures.into_iter().min_by_key(telling).map(|(_, error)| error);
        Err(best.unwrap_or_else(|| TransportError::Unreachable {
            address: node.to_string(),
            error: "it has given no address".to_owned(),
        }))
    }

    /// Runs a task on the network thread. It must not block.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.thread.handle.spawn(task).abort_handle()
    }

    /// Ends all connections, once what waits has been written or [`Settings::shutdown_timeout`] is over.
    pub(crate) async fn shutdown(&self) {
        self.thread.closing.send_replace(true);
        // An error means that the thread has ended without saying so.
        let _ = self.thread.done.clone().wait_for(|done| *done).await;
    }

    fn greeter(&self) -> Greeter {
        Greeter {
            me: self.me.clone(),
            settings: self.settings.clone(),
            closing: self.thread.closing.subscribe(),
        }
    }

    /// Runs what needs the network thread's poller; dropping the future ends it.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransportError>> + Send + 'static,
    ) -> Result<T, TransportError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, &self.thread.handle);
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(TransportError::Stopped(error.to_string())),
            None => Err(TransportError::Stopped("it took no work".to_owned())),
        }
    }
}

/// Takes the connections that others dial, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    address: String,
    incoming: mpsc::Receiver<Connection>,
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Where it listens, with the port that was chosen.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The next peer that has greeted and been accepted. What goes wrong with others ends their
    /// connection and is logged. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the network has been shut down.
    pub(crate) async fn accept(&mut self) -> Result<Connection, TransportError> {
        let stopped = || TransportError::Stopped("it has been shut down".to_owned());
        self.incoming.recv().await.ok_or_else(stopped)
    }
}

/// Makes connections of pipes. Holds no handle of the thread, which ends with the last of those.
#[derive(Clone)]
struct Greeter {
    me: Arc<Hello>,
    settings: Arc<Settings>,
    closing: watch::Receiver<bool>,
}

impl Greeter {
    async fn call(self, mut pipe: Pipe, purpose: Purpose) -> Result<Connection, TransportError> {
        let me = Hello { purpose, ..(*self.me).clone() };
        let greeted = timeout(self.settings.handshake, handshake::call(&mut pipe, &me)).await;
        let peer = greeted.map_err(|_| self.silent(&pipe))??;
        Ok(Connection::open(pipe, peer, &self.settings, self.closing))
    }

    async fn answer(self, mut pipe: Pipe) -> Result<Connection, TransportError> {
        let greeted =
            timeout(self.settings.handshake, handshake::answer(&mut pipe, &self.me)).await;
        let peer = greeted.map_err(|_| self.silent(&pipe))??;
        Ok(Connection::open(pipe, peer, &self.settings, self.closing))
    }

    fn silent(&self, pipe: &Pipe) -> TransportError {
        TransportError::Timeout {
            address: pipe.remote.clone(),
            doing: "greeting",
            after: self.settings.handshake,
        }
    }
}

async fn dial(
    transport: Arc<dyn Transport>,
    greeter: Greeter,
    address: String,
    purpose: Purpose,
) -> Result<Connection, TransportError> {
    match transport.dial(&address).await {
        Ok(pipe) => greeter.call(Pipe { remote: address, ..pipe }, purpose).await,
        Err(error) => Err(TransportError::Unreachable { address, error: error.to_string() }),
    }
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
    mut greeter: Greeter,
    deliver: mpsc::Sender<Connection>,
) {
    let room = Arc::new(Semaphore::new(greeter.settings.concurrent_handshakes));
    let mut greetings = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        while greetings.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = accept_one(&mut *accept, &room) => accepted,
            // An error means that the network is gone, which ends this task anyway.
            _ = greeter.closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((None, _)) => return,
            Ok((Some(pipe), place)) => {
                pause = FIRST_PAUSE;
                let (greeter, deliver) = (greeter.clone(), deliver.clone());
                greetings.spawn(async move {
                    match greeter.answer(pipe).await {
                        // Nobody accepts any more: the connection ends.
                        Ok(connection) => drop(deliver.send(connection).await),
                        Err(error) => tracing::warn!("turned away: {error}"),
                    }
                    drop(place);
                });
            }
            // Too many open files, say: the listener stays, and serves when there is room again.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn accept_one(
    accept: &mut dyn Accept,
    room: &Arc<Semaphore>,
) -> std::io::Result<(Option<Pipe>, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((accept.accept().await?, place))
}
