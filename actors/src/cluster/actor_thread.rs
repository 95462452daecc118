//! The thread that actors run on: whoever embeds the library may use any async runtime, or none.

use actix::prelude::*;

/// An actor system on a thread of its own; it ends when this is dropped.
pub(super) struct ActorThread {
    system: System,
}

impl ActorThread {
    /// Starts one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> std::io::Result<ActorThread> {
        let (tell, told) = std::sync::mpsc::channel();
        let run = move || {
            let runner = System::new();
            // Whoever waits for it is in the middle of `start`.
            let _ = tell.send(System::current());
            if let Err(error) = runner.run() {
                tracing::error!("the actor thread ended: {error}");
            }
        };
        std::thread::Builder::new().name("edgeld-actors".to_owned()).spawn(run)?;
        let system = told.recv().map_err(std::io::Error::other)?;
        Ok(ActorThread { system })
    }

    /// Starts an actor on it.
    pub(super) fn spawn<A: Actor<Context = Context<A>> + Send>(&self, actor: A) -> Addr<A> {
        A::start_in_arbiter(self.system.arbiter(), |_| actor)
    }
}

impl Drop for ActorThread {
    fn drop(&mut self) {
        self.system.stop();
    }
}
