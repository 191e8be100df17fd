//! Where cargo's units wait while `cargo green` has all of them built together.
//!
//! The gate is a socket with a name and no file. The first unit that the store lacks connects to it, which asks for the
//! plan; it and all later ones go on once the socket is closed: the plan is done, or its process is dead.

use std::{
    io::{self, Read},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use anyhow::{Context, Result};

use crate::env::Env;

/// The variable that tells the wrapper of a gate: its name.
pub const VARIABLE: &str = "RUSTCBUILDX_GATE";

/// The planner's side.
pub struct Gate(UnixListener);

impl Gate {
    /// A new one, under a name that nobody else has.
    pub fn new(name: &str) -> Result<Self> {
        let listener = address(name).and_then(|address| UnixListener::bind_addr(&address));
        Ok(Self(listener.context("failed to make a socket")?))
    }

    /// Waits for the first unit. What comes later waits by itself: the system accepts connections for us.
    ///
    /// The answer is to be kept as long as units are to wait, and so is the gate.
    pub fn asked(&self) -> Result<UnixStream> {
        Ok(self.0.accept().context("failed to wait for a unit")?.0)
    }
}

impl From<OwnedFd> for Gate {
    fn from(socket: OwnedFd) -> Self {
        Self(socket.into())
    }
}

impl From<Gate> for OwnedFd {
    fn from(gate: Gate) -> Self {
        gate.0.into()
    }
}

/// Waits at the gate that this process was told of; gives whether there was one, and so a plan.
pub fn pass(env: &Env) -> bool {
    let Some(name) = env.get(VARIABLE) else { return false };
    // Nobody there, or nobody any more: no plan is to be waited for.
    let Ok(mut gate) = address(name).and_then(|address| UnixStream::connect_addr(&address)) else { return false };
    let _ = gate.read(&mut [0]);
    true
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("rustcbuildx-{name}"))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn units_wait_until_the_plan_is_done() {
        let name = format!("test-{}", std::process::id());
        let gate = Gate::new(&name).unwrap();
        let (sender, receiver) = mpsc::channel();
        let units: Vec<_> = (0..3)
            .map(|_| {
                let (name, sender) = (name.clone(), sender.clone());
                thread::spawn(move || {
                    assert!(pass(&Env::with(&[(VARIABLE, &name)])));
                    sender.send(()).unwrap();
                })
            })
            .collect();
        let asked = gate.asked().unwrap();
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "a unit went through");
        drop((asked, gate));
        units.into_iter().for_each(|unit| unit.join().unwrap());
        assert!(!pass(&Env::with(&[(VARIABLE, &name)])));
        assert!(!pass(&Env::with(&[])));
    }
}
