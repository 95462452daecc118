//! A thread for the actors, so that users of the library can use any async runtime, or none.

use actix::prelude::*;

/// The thread's name. An actor that panics is gone while its process goes on: whoever owns the process
/// may want to end it then.
pub const ACTOR_THREAD: &str = "edgeld-actors";

/// An actix system on a thread of its own; it stops when this is dropped.
pub(super) struct ActorThread {
    system: System,
}

impl ActorThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be spawned.
    pub(super) fn start() -> std::io::Result<ActorThread> {
        let (started, system) = std::sync::mpsc::channel();
        let run = move || {
            let runner = System::new();
            // Cannot fail: `start` is waiting for it.
            let _ = started.send(System::current());
            if let Err(error) = runner.run() {
                tracing::error!("the actor thread failed: {error}");
            }
        };
        std::thread::Builder::new().name(ACTOR_THREAD.to_owned()).spawn(run)?;
        let system = system.recv().map_err(std::io::Error::other)?;
        Ok(ActorThread { system })
    }

    /// Starts an actor on the thread.
    pub(super) fn spawn<A: Actor<Context = Context<A>> + Send>(&self, actor: A) -> Addr<A> {
        A::start_in_arbiter(self.system.arbiter(), |_| actor)
    }
}

impl Drop for ActorThread {
    fn drop(&mut self) {
        self.system.stop();
    }
}
