//! The barrier: where cargo's units wait while a planner has all of them built together.
//!
//! It is an abstract socket, with a name but no file. The first unit that the store lacks connects
//! to it and writes a [`PlanRequest`]. That unit and all later ones go on when their connection is
//! closed: either the plan is carried out, or the planner is dead. A unit that is not worth a plan
//! gets a byte as its answer, and goes on by itself. Such a socket has no owner that the system
//! guards, so both sides look whose process the other one is.

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
    /// Whether rustc goes on from its last compile.
    pub is_incremental: bool,
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
    /// waits by itself: the system accepts connections for us.
    ///
    /// The connection is to be held as long as units are to wait, and so is the barrier.
    pub fn asked(
        &self,
        mut goes_on: impl FnMut(&PlanRequest) -> bool,
    ) -> Result<(UnixStream, PlanRequest)> {
        loop {
            let (mut unit, _) = self.0.accept().context("failed to wait for a unit")?;
            if !is_of_this_user(&unit) {
                continue;
            }
            // It may be dead by now.
            let Ok(request) = serde_json::from_reader::<_, PlanRequest>(&unit) else { continue };
            if request.is_worth_a_plan && !goes_on(&request) {
                return Ok((unit, request));
            }
            let _ = unit.write_all(&[0]);
        }
    }
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
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn units_wait_until_the_plan_is_done() {
        let request = || PlanRequest {
            target: "/t/a b".into(),
            output: "/t/a b/c\n".into(),
            is_worth_a_plan: true,
            is_incremental: false,
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
        assert!(asked.iter().all(|(_, told)| *told == request()));
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
        let request = |(is_worth_a_plan, is_incremental)| {
            let (target, output) = ("/t".into(), "/t/a".into());
            PlanRequest { target, output, is_worth_a_plan, is_incremental }
        };
        let name = format!("test-alone-{}", std::process::id());
        let barrier = Barrier::new(&name).unwrap();
        let units = thread::spawn(move || {
            [(false, false), (true, true), (true, false)].map(|told| pass(&name, &request(told)))
        });
        let (asked, told) = barrier.asked(|request| request.is_incremental).unwrap();
        assert_eq!(told, request((true, false)));
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
        let request = PlanRequest { target, output, is_worth_a_plan: true, is_incremental: false };
        let unit = thread::spawn(move || pass(&name, &request));
        drop(barrier.asked(|_| false).unwrap());
        drop(barrier);
        assert_eq!(unit.join().unwrap(), Answer::Planned);
    }
}
