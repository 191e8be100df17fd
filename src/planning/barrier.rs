//! The barrier: where cargo's units wait while a planner has all of them built together.
//!
//! It is an abstract socket, with a name but no file. The first unit that the store lacks connects
//! to it and writes a [`PlanRequest`]. That unit and all later ones go on when their connection is
//! closed: the plan is carried out as far as they wait for it, or the planner is dead. A unit that
//! is not worth a plan gets a byte as its answer, and goes on by itself. Such a socket has no owner
//! that the system guards, so both sides look whose process the other one is.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    thread,
};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// What a waiting unit tells the planner of itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// Its target folder, which may be no path at all.
    pub target: Utf8PathBuf,
    /// A path in there that it writes to, if any.
    pub output: Utf8PathBuf,
    /// Whether others may be lacking, too. To find out takes a dry run of the whole command.
    pub is_worth_a_plan: bool,
    /// Whether it may be the only one that is missing after an edit, or one of few: rustc goes on
    /// from its last compile, and no plan has found many to be made from it.
    pub may_be_alone: bool,
}

/// The planner's side.
pub struct Barrier(UnixListener);

impl Barrier {
    /// A new one, under a name that nobody else has.
    pub fn new(name: &str) -> Result<Self> {
        let listener = address(name).and_then(|address| UnixListener::bind_addr(&address));
        Ok(Self(listener.context("failed to make a socket")?))
    }

    /// Waits for the first unit that is worth a plan and does not go on by itself. What comes later
    /// waits by itself: the system accepts connections for us, as long as the barrier is held.
    pub fn asked(&self, mut goes_on: impl FnMut(&PlanRequest) -> bool) -> Result<Waiting> {
        loop {
            let Some(mut unit) = self.accept()? else { continue };
            if unit.request.is_worth_a_plan && !goes_on(&unit.request) {
                return Ok(unit);
            }
            let _ = unit.stream.write_all(&[0]);
        }
    }

    /// Hands on each unit that comes from now on, by a thread that ends with this process.
    pub fn hand_on(self, mut each: impl FnMut(Waiting) + Send + 'static) {
        thread::spawn(move || {
            while let Ok(unit) = self.accept() {
                unit.into_iter().for_each(&mut each);
            }
        });
    }

    /// The next unit; `None` if it is dead by now, or none of this user's.
    fn accept(&self) -> Result<Option<Waiting>> {
        let (stream, _) = self.0.accept().context("failed to wait for a unit")?;
        if !is_of_this_user(&stream) {
            return Ok(None);
        }
        let request = serde_json::from_reader(&stream).ok();
        Ok(request.map(|request| Waiting { stream, request }))
    }
}

/// A unit that waits until this is dropped.
pub struct Waiting {
    stream: UnixStream,
    pub request: PlanRequest,
}

impl From<OwnedFd> for Barrier {
    fn from(socket: OwnedFd) -> Self {
        Self(socket.into())
    }
}

impl From<Barrier> for OwnedFd {
    fn from(barrier: Barrier) -> Self {
        barrier.0.into()
    }
}

/// How it ended that a unit waited at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A plan was carried out, or ended early.
    Planned,
    /// The unit is to be built by itself.
    Alone,
    /// Nobody is there, or nobody any more: no plan is to be waited for.
    Nobody,
}

/// Waits at the barrier of this name.
pub fn pass(name: &str, request: &PlanRequest) -> Answer {
    let Ok(mut barrier) = address(name).and_then(|address| UnixStream::connect_addr(&address))
    else {
        return Answer::Nobody;
    };
    if !is_of_this_user(&barrier) {
        return Answer::Alone;
    }
    let told = serde_json::to_writer(&barrier, request).map_err(io::Error::from);
    let answer =
        told.and_then(|()| barrier.shutdown(Shutdown::Write)).and_then(|()| barrier.read(&mut [0]));
    if matches!(answer, Ok(1)) { Answer::Alone } else { Answer::Planned }
}

/// Whether the process at the other end belongs to this one's user.
fn is_of_this_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|other| other.uid == rustix::process::geteuid())
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("rustcbuildx-{name}"))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn units_wait_until_the_plan_is_done() {
        let request = || PlanRequest {
            target: "/t/a b".into(),
            output: "/t/a b/c\n".into(),
            is_worth_a_plan: true,
            may_be_alone: false,
        };
        let name = format!("test-{}", std::process::id());
        let barrier = Barrier::new(&name).unwrap();
        let (sender, receiver) = mpsc::channel();
        let units: Vec<_> = (0..3)
            .map(|_| {
                let (name, sender) = (name.clone(), sender.clone());
                thread::spawn(move || {
                    assert_eq!(pass(&name, &request()), Answer::Planned);
                    sender.send(()).unwrap();
                })
            })
            .collect();
        // Whoever is late finds no barrier.
        let asked: Vec<_> = units.iter().map(|_| barrier.asked(|_| false).unwrap()).collect();
        assert!(asked.iter().all(|unit| unit.request == request()));
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "a unit went through");
        drop((asked, barrier));
        units.into_iter().for_each(|unit| unit.join().unwrap());
        // A process that another test starts has all that is open here for a moment.
        let is_gone = |_| {
            thread::sleep(Duration::from_millis(10));
            pass(&name, &request()) == Answer::Nobody
        };
        assert!((0..100).any(is_gone));
    }

    #[test]
    fn what_is_worth_no_plan_goes_on_by_itself() {
        let request = |(is_worth_a_plan, may_be_alone)| {
            let (target, output) = ("/t".into(), "/t/a".into());
            PlanRequest { target, output, is_worth_a_plan, may_be_alone }
        };
        let name = format!("test-alone-{}", std::process::id());
        let barrier = Barrier::new(&name).unwrap();
        let units = thread::spawn(move || {
            [(false, false), (true, true), (true, false)].map(|told| pass(&name, &request(told)))
        });
        let asked = barrier.asked(|request| request.may_be_alone).unwrap();
        assert_eq!(asked.request, request((true, false)));
        drop((asked, barrier));
        assert_eq!(units.join().unwrap(), [Answer::Alone, Answer::Alone, Answer::Planned]);
    }

    /// As if killed at that moment.
    #[test]
    fn a_unit_that_says_nothing_holds_up_nobody() {
        let name = format!("test-killed-{}", std::process::id());
        let barrier = Barrier::new(&name).unwrap();
        let killed = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        drop(killed);
        let (target, output) = ("/t".into(), "/t/a".into());
        let request = PlanRequest { target, output, is_worth_a_plan: true, may_be_alone: false };
        let unit = thread::spawn(move || pass(&name, &request));
        drop(barrier.asked(|_| false).unwrap());
        drop(barrier);
        assert_eq!(unit.join().unwrap(), Answer::Planned);
    }
}
