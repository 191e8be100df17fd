//! Where cargo's units wait while `cargo green` has all of them built together.
//!
//! The gate is a socket with a name and no file. The first unit that the store lacks connects to it and tells its target
//! folder, which asks for the plan; it and all later ones go on once the socket is closed: the plan is done, or its
//! process is dead.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

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

    /// Waits for the first unit; gives its target folder, which may be no path at all. What comes later waits by itself:
    /// the system accepts connections for us.
    ///
    /// The answer is to be kept as long as units are to wait, and so is the gate.
    pub fn asked(&self) -> Result<(UnixStream, Utf8PathBuf)> {
        let ask = || {
            let (mut unit, _) = self.0.accept()?;
            let mut target = String::new();
            unit.read_to_string(&mut target)?;
            Ok::<_, io::Error>((unit, target.into()))
        };
        ask().context("failed to wait for a unit")
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
pub fn pass(env: &Env, target: &Utf8Path) -> bool {
    let Some(name) = env.get(VARIABLE) else { return false };
    // Nobody there, or nobody any more: no plan is to be waited for.
    let Ok(mut gate) = address(name).and_then(|address| UnixStream::connect_addr(&address)) else { return false };
    let told = gate.write_all(target.as_str().as_bytes()).and_then(|()| gate.shutdown(Shutdown::Write));
    let _ = told.and_then(|()| gate.read(&mut [0]));
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
                    assert!(pass(&Env::with(&[(VARIABLE, &name)]), Utf8Path::new("/t/a b")));
                    sender.send(()).unwrap();
                })
            })
            .collect();
        let (asked, target) = gate.asked().unwrap();
        assert_eq!(target, "/t/a b");
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "a unit went through");
        drop((asked, gate));
        units.into_iter().for_each(|unit| unit.join().unwrap());
        assert!(!pass(&Env::with(&[(VARIABLE, &name)]), Utf8Path::new("/t/a b")));
        assert!(!pass(&Env::with(&[]), Utf8Path::new("/t")));
    }
}
