//! What remotes that are reached by the network have in common.

use std::{
    fmt::Display,
    future::Future,
    sync::{LazyLock, Once},
    time::Duration,
};

use anyhow::{Error, anyhow};
use tokio::runtime::{Builder, Runtime};

/// How long to wait for a connection, and for each further part of an answer.
pub const CONNECT: Duration = Duration::from_secs(5);
pub const READ: Duration = Duration::from_secs(15);

/// Runs a request to its end. Any thread may do that at any time.
pub fn run<T>(request: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        threads.expect("the system has threads")
    });
    RUNTIME.block_on(request)
}

/// An error without the pages of a server, and without what it says twice.
pub fn brief(error: &impl Display) -> Error {
    const MOST: usize = 300;
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    anyhow!("{}", line.chars().take(MOST).collect::<String>())
}

/// Has TLS use one implementation of cryptography, which each program chooses once.
pub fn choose_cryptography() {
    static CHOICE: Once = Once::new();
    CHOICE.call_once(|| {
        // Fails only if it was chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
