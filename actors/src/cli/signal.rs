//! Signals that end a command.

/// A signal that ends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as sent by a service manager.
    Terminate,
}

/// Waits for the first signal.
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
