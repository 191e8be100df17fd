//! One ssh connection to a docker behind `DOCKER_HOST=ssh://…`, for all calls: by itself the docker
//! command opens ten for each build, one after the other.
//!
//! ssh forwards a socket in the cache folder to docker's there, in the background, and ends when it
//! was started [`LIFE`] ago and nobody uses it any more; the next call starts another.

use std::{fs, os::unix::net::UnixStream, time::Duration};

use anyhow::{Result, bail};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::util::{
    digest::digest,
    process::{self, Cmd},
    state_dir::{Cache, is_older},
};

const LIFE: Duration = Duration::from_secs(600);
/// Where docker listens unless the address says otherwise; source: the docker command's
/// `commandconn`.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The longest name of a socket; source: unix(7).
const LONGEST: usize = 107;

/// Where ssh is to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Options and the host, as ssh takes them.
    to: Vec<String>,
    /// Docker's socket there.
    remote: String,
}

impl Tunnel {
    /// That of an address such as `ssh://user@host:22/run/docker.sock`; `None` for any other.
    pub fn of(address: &str) -> Option<Self> {
        let rest = address.strip_prefix("ssh://")?;
        let (authority, path) =
            rest.split_once('/').map_or((rest, None), |(before, path)| (before, Some(path)));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || user.is_some_and(|user| user.contains([':', '%'])) {
            return None;
        }
        let options = [("-l", user), ("-p", port)]
            .into_iter()
            .filter_map(|(name, value)| Some([name, value?]));
        let to = options.flatten().chain(["--", host]).map(str::to_owned).collect();
        let remote = path
            .filter(|path| !path.is_empty())
            .map_or(DOCKER_SOCKET.to_owned(), |path| format!("/{path}"));
        Some(Self { to, remote })
    }

    /// Opens it unless it is open; returns the value of `DOCKER_HOST` that leads through it.
    pub fn open(&self, cache: &Cache) -> Result<String> {
        let name = digest(self.to.iter().chain([&self.remote]));
        let socket = cache.path(&format!("tunnels/{}", &name[..12]));
        if socket.as_str().len() > LONGEST {
            bail!("the cache folder's name is too long for a socket");
        }
        // It has to be there for as long as a call takes to connect.
        let is_open = || {
            !is_older(&socket, LIFE - Duration::from_secs(5))
                && UnixStream::connect(&socket).is_ok()
        };
        if !is_open() {
            let _lock = cache.lock("tunnels.lock")?;
            if !is_open() {
                fs::create_dir_all(cache.path("tunnels"))?;
                self.start(&socket)?;
            }
        }
        Ok(format!("unix://{socket}"))
    }

    fn start(&self, socket: &Utf8Path) -> Result<()> {
        let forward = format!("-L{socket}:{}", self.remote);
        let options = [
            "-fnT",
            "-oConnectTimeout=30",
            "-oExitOnForwardFailure=yes",
            "-oStreamLocalBindUnlink=yes",
            &forward,
        ];
        let mut args: Vec<String> = options.map(str::to_owned).to_vec();
        args.extend(self.to.iter().cloned());
        args.push(format!("sleep {}", LIFE.as_secs()));
        let cmd = Cmd::new("ssh", args);
        log::debug!("{cmd}");
        let (status, said) = process::run_detaching(&cmd)?;
        if !status.success() {
            bail!("`ssh {}` ended with {status}: {}", self.to.join(" "), said.trim());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(address: &str, expected: Option<(&str, &str)>) {
        let tunnel = Tunnel::of(address).map(|tunnel| (tunnel.to.join(" "), tunnel.remote));
        assert_eq!(
            tunnel,
            expected.map(|(to, remote)| (to.to_owned(), remote.to_owned())),
            "{address}"
        );
    }

    #[test]
    fn addresses_are_ssh_s_words() {
        case("ssh://big", Some(("-- big", "/var/run/docker.sock")));
        case("ssh://me@big:2222", Some(("-l me -p 2222 -- big", "/var/run/docker.sock")));
        case(
            "ssh://me@big/run/user/1/docker.sock",
            Some(("-l me -- big", "/run/user/1/docker.sock")),
        );
        case("ssh://[::1]:22/", Some(("-p 22 -- ::1", "/var/run/docker.sock")));
        case("unix:///var/run/docker.sock", None);
        case("tcp://big:2375", None);
        case("ssh://", None);
        case("ssh://me:secret@big", None);
    }
}
