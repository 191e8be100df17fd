//! The remotes of the settings: places where outcomes are shared between machines.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        env::Env,
        table::{in_variable, var},
        values::{list, own_names, switch, value, written},
    },
    util::digest::digest,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSettings {
    pub name: String,
    pub url: String,
    /// Whether what is built is added to it.
    pub is_writable: bool,
    /// The public keys of those who may sign what is used of it.
    pub trust: Vec<String>,
    /// The header that a server is sent, `Authorization`. No file has it.
    pub authorization: Option<String>,
    /// Whether only people who may read the sources can read it.
    pub is_private: bool,
}

const URL: &str = "RUSTCBUILDX_REMOTE_<NAME>_URL";
const MODE: &str = "RUSTCBUILDX_REMOTE_<NAME>_MODE";
const TRUST: &str = "RUSTCBUILDX_REMOTE_<NAME>_TRUST";
const PRIVATE: &str = "RUSTCBUILDX_REMOTE_<NAME>_PRIVATE";
const AUTHORIZATION: &str = "RUSTCBUILDX_REMOTE_<NAME>_AUTHORIZATION";
const SCHEMES: [&str; 6] = ["oci://", "s3://", "https://", "file:///", "http://", "oci+http://"];

/// All of them, in the order of their names. An empty address switches one off.
pub fn load(env: &Env) -> Result<Vec<RemoteSettings>> {
    let names = own_names(env, var(URL).expect("it is in the table"));
    let loaded = names.into_iter().map(|name| one(env, name));
    loaded.filter_map(Result::transpose).collect()
}

/// A name for all that may have been made by those whom the settings trust, `None` if that is this
/// machine alone. Outcomes of different domains never meet, neither here nor in an engine: else
/// whoever changes the settings of one workspace could give outcomes to all others.
pub fn domain(env: &Env) -> Result<Option<String>> {
    let whom = |remote: RemoteSettings| match remote.trust.is_empty() {
        true => vec![remote.url],
        false => remote.trust,
    };
    let trusted: BTreeSet<String> = load(env)?.into_iter().flat_map(whom).collect();
    Ok((!trusted.is_empty()).then(|| digest(trusted)))
}

fn one(env: &Env, name: String) -> Result<Option<RemoteSettings>> {
    let variable = |setting| in_variable(var(setting).expect("it is in the table"), &name);
    let [of_url, of_mode, of_trust, of_private, of_authorization] =
        [URL, MODE, TRUST, PRIVATE, AUTHORIZATION].map(variable);
    // Elsewhere, an empty variable is none.
    if env.get(&of_url) == Some("") {
        return Ok(None);
    }
    let Some(url) = value(env, &of_url) else {
        bail!("failed to use the remote `{name}`: it has no address (hint: set {of_url})");
    };
    if url.is_empty() {
        return Ok(None);
    }
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        bail!(
            "failed to read {}: no address of a remote (hint: it begins with one of {})",
            written(env, &of_url),
            SCHEMES.join(", ")
        );
    }
    let is_writable = match value(env, &of_mode).unwrap_or_default() {
        "read" => false,
        "read-write" => true,
        _ => bail!(
            "failed to read {}: no such mode (hint: read or read-write)",
            written(env, &of_mode)
        ),
    };
    let url = url.trim_end_matches('/').to_owned();
    let trust = list(env, &of_trust).map(str::to_owned).collect();
    let is_private = switch(env, &of_private)?;
    let authorization = value(env, &of_authorization).map(str::to_owned);
    Ok(Some(RemoteSettings { name, url, is_writable, trust, authorization, is_private }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_in_the_order_of_their_names() {
        let env = Env::with(&[
            ("RUSTCBUILDX_REMOTE_TEAM_CACHE_URL", "file:///srv/cache/"),
            ("RUSTCBUILDX_REMOTE_TEAM_CACHE_MODE", "read-write"),
            ("RUSTCBUILDX_REMOTE_TEAM_CACHE_TRUST", "ed25519:a,ed25519:b"),
            ("RUSTCBUILDX_REMOTE_OTHER_URL", "oci://r.example/x"),
            ("RUSTCBUILDX_REMOTE_OTHER_PRIVATE", "1"),
        ]);
        let remotes = load(&env).unwrap();
        let names: Vec<_> = remotes.iter().map(|remote| remote.name.as_str()).collect();
        assert_eq!(names, ["other", "team-cache"]);
        let expected = RemoteSettings {
            name: "team-cache".to_owned(),
            url: "file:///srv/cache".to_owned(),
            is_writable: true,
            trust: vec!["ed25519:a".to_owned(), "ed25519:b".to_owned()],
            authorization: None,
            is_private: false,
        };
        assert_eq!(remotes[1], expected);
        assert!(remotes[0].is_private && !remotes[0].is_writable);
        assert!(load(&Env::with(&[])).unwrap().is_empty());
        let off = [("RUSTCBUILDX_REMOTE_T_URL", ""), ("RUSTCBUILDX_REMOTE_T_PRIVATE", "1")];
        assert!(load(&Env::with(&off)).unwrap().is_empty());
    }

    /// Whoever is trusted decides what is apart, and not where they put it or who may write.
    #[test]
    fn those_who_are_trusted_have_a_domain() {
        let of = |variables: &[(&str, &str)]| domain(&Env::with(variables)).unwrap();
        let (url, trust) = ("RUSTCBUILDX_REMOTE_T_URL", "RUSTCBUILDX_REMOTE_T_TRUST");
        let mode = ("RUSTCBUILDX_REMOTE_T_MODE", "read-write");
        let team = of(&[(url, "s3://x"), (trust, "k1")]);
        assert_eq!(of(&[]), None);
        assert!(team.is_some());
        assert_eq!(of(&[(url, "oci://y/z"), (trust, "k1"), mode]), team);
        assert_ne!(of(&[(url, "s3://x"), (trust, "k2")]), team);
        assert_ne!(of(&[(url, "s3://x"), (trust, "k1,k2")]), team);
        assert_ne!(of(&[(url, "file:///x")]), of(&[(url, "file:///y")]));
        let other = ("RUSTCBUILDX_REMOTE_U_URL", "file:///y");
        assert_ne!(of(&[(url, "s3://x"), (trust, "k1"), other]), team);
    }

    #[test]
    fn mistakes_are_told() {
        let case = |variables: &[(&str, &str)], expected: &str| {
            let error = load(&Env::with(variables)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let url = ("RUSTCBUILDX_REMOTE_T_URL", "file:///x");
        case(&[("RUSTCBUILDX_REMOTE_T_MODE", "read")], "set RUSTCBUILDX_REMOTE_T_URL");
        case(&[("RUSTCBUILDX_REMOTE_T_URL", "/srv")], "begins with one of oci://");
        case(&[url, ("RUSTCBUILDX_REMOTE_T_MODE", "write")], "read or read-write");
        case(&[url, ("RUSTCBUILDX_REMOTE_T_PRIVATE", "x")], "not a switch");
    }
}
