//! The signals that end a command.

/// Which one came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The request to end in good order, as a service manager makes it.
    Terminate,
}

/// Waits for one of them.
pub async fn wait() -> Signal {
    tokio::select! {
        () = interrupt() => Signal::Interrupt,
        () = terminate() => Signal::Terminate,
    }
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(unix)]
async fn terminate() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut stream) => stream.recv().await,
        Err(_) => std::future::pending().await,
    };
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
