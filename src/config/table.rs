//! The table of all settings.

/// A setting, named by its variable. Where [`NAME`] is a part of that, there is one for each name
/// that the user gives.
pub struct Var {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

/// What a setting's value is, in a file of settings. In a variable, all is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Switch,
    Text,
    /// The name of a file, which a file of settings has from its own folder on.
    Path,
    /// A text, or the name of a file with it; see [`is_path`].
    TextOrPath,
    /// Items, which a variable has between commas.
    List,
    /// Names with values, which a variable has as the words of a shell, `NAME=value`.
    Pairs,
    /// It is set by its variable alone.
    Variable,
}

/// What a package of the workspace can set for itself.
pub struct MemberKey {
    pub key: &'static str,
    pub kind: Kind,
    /// The setting that it adds to.
    pub name: &'static str,
}

pub const MEMBER_KEYS: [MemberKey; 3] = [
    MemberKey { key: "allow-writes", kind: Kind::Switch, name: "RUSTCBUILDX_ALLOW_WRITES" },
    MemberKey { key: "local-script", kind: Kind::Switch, name: "RUSTCBUILDX_LOCAL_SCRIPTS" },
    MemberKey { key: "set-envs", kind: Kind::List, name: "RUSTCBUILDX_SET_ENVS" },
];

/// Stands for a name that the user gives. In a file of settings it is a table's.
pub const NAME: &str = "<NAME>";

/// What starts the names of all settings.
pub const OURS: &str = "RUSTCBUILDX";

/// Whether a text that may be the name of a file is one. What is found from a file of settings is a
/// whole path by now, and its folder may have any name.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') || !text.contains(char::is_whitespace)
}

impl Var {
    /// Its name in a file of settings: `store-size` for `RUSTCBUILDX_STORE_SIZE`.
    pub fn key(&self) -> String {
        let Some(name) = self.name.strip_prefix("RUSTCBUILDX_") else {
            return "enabled".to_owned();
        };
        let in_key = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        if let Some((table, key)) = name.split_once(NAME) {
            let [table, key] = [table.trim_end_matches('_'), key.trim_start_matches('_')];
            return format!("{}.{NAME}.{}", in_key(table), in_key(key));
        }
        let key = in_key(name);
        match key.strip_prefix("image-") {
            Some(of_images) => format!("image.{of_images}"),
            None => key,
        }
    }

    /// What the user has in the place of [`NAME`] in a variable, as files spell it; `None` if it is
    /// no variable of this setting.
    pub fn own_name(&self, variable: &str) -> Option<String> {
        let (before, after) = self.name.split_once(NAME)?;
        let own = variable.strip_prefix(before)?.strip_suffix(after)?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let is_one = !own.is_empty() && own.chars().all(is_name);
        is_one.then(|| own.to_ascii_lowercase().replace('_', "-"))
    }
}

/// The keys of all settings, as somebody may have meant them who wrote `key`: a table's name is the
/// user's own.
pub fn keys_like(key: &str) -> impl Iterator<Item = String> {
    let own = key.split('.').nth(1).unwrap_or(NAME);
    of_files().map(move |var| var.key().replace(NAME, own))
}

/// Whether a file may have settings below a key.
pub fn has_keys_below(key: &str) -> bool {
    let is_above = |known: String| {
        let known: Vec<&str> = known.split('.').collect();
        let parts: Vec<&str> = key.split('.').collect();
        let is_like = |(part, known): (&&str, &&str)| part == known || *known == NAME;
        parts.len() < known.len() && parts.iter().zip(&known).all(is_like)
    };
    of_files().any(|var| is_above(var.key()))
}

/// The setting that a file calls by this key, and its variable. The name of a table consists of
/// letters, digits and hyphens.
pub fn of_key(key: &str) -> Option<(&'static Var, String)> {
    if let Some(var) = of_files().find(|var| var.key() == key && !var.name.contains(NAME)) {
        return Some((var, var.name.to_owned()));
    }
    of_files().find_map(|var| {
        let own = var.key();
        let (before, after) = own.split_once(NAME)?;
        let own = key.strip_prefix(before)?.strip_suffix(after)?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_one = !own.is_empty() && own.chars().all(is_name);
        is_one.then(|| (var, in_variable(var, own)))
    })
}

/// The variable of a setting, with what the user has in the place of [`NAME`].
pub fn in_variable(var: &Var, own: &str) -> String {
    var.name.replace(NAME, &own.to_ascii_uppercase().replace('-', "_"))
}

/// The settings that files may have.
pub fn of_files() -> impl Iterator<Item = &'static Var> {
    VARS.iter().filter(|var| var.kind != Kind::Variable)
}

/// The setting of a variable's name.
pub fn var(name: &str) -> Option<&'static Var> {
    VARS.iter().find(|var| var.name == name || var.own_name(name).is_some())
}

/// Every setting: `rustcbuildx env`, `--help` and the table in docs/settings.md come from here.
pub const VARS: &[Var] = &[
    Var {
        name: "RUSTCBUILDX",
        kind: Kind::Switch,
        default: Some("1"),
        doc: "0 switches the wrapper off: plain local rustc",
    },
    Var {
        name: "RUSTCBUILDX_PROFILE",
        kind: Kind::Variable,
        default: None,
        doc: "profile of the files of settings to use; unset: `ci`, where the variable CI is set \
              and they have that",
    },
    Var {
        name: "RUSTCBUILDX_RUNNER",
        kind: Kind::Text,
        default: None,
        doc: "docker, podman, or none for plain local rustc; unset: the first engine that works",
    },
    Var {
        name: "RUSTCBUILDX_BASE_IMAGE",
        kind: Kind::Text,
        default: None,
        doc: "image to compile in, as docker-image://NAME; unset: \
              docker.io/library/rust:VERSION-slim of the local rustc",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_APT",
        kind: Kind::List,
        default: None,
        doc: "packages of Debian or Ubuntu to add to the image, separated by commas",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_APK",
        kind: Kind::List,
        default: None,
        doc: "packages of Alpine to add to the image, separated by commas",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_DNF",
        kind: Kind::List,
        default: None,
        doc: "packages of Fedora or one like it to add to the image, separated by commas",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_ENV",
        kind: Kind::Pairs,
        default: None,
        doc: "variables of the image, NAME=value, as words of a shell",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_DOCKERFILE",
        kind: Kind::TextOrPath,
        default: None,
        doc: "further instructions of a Dockerfile for the image, whose stage so far is `base`: a \
              text of some words, or the name of a file",
    },
    Var {
        name: "RUSTCBUILDX_IMAGE_NETWORK",
        kind: Kind::Text,
        default: Some("default"),
        doc: "network of the steps that make the image: default, or host, that of the engine's \
              machine. What is compiled has none",
    },
    Var {
        name: "RUSTCBUILDX_TOOLS",
        kind: Kind::List,
        default: None,
        doc: "programs of this machine to add to the image where it lacks them, by their names on \
              PATH or their whole paths, separated by commas. Linkers that cargo's configuration \
              names are among them anyway",
    },
    Var {
        name: "RUSTCBUILDX_SYNTAX",
        kind: Kind::Text,
        default: None,
        doc: "Dockerfile frontend image, as docker-image://NAME; unset: the one built into the \
              engine",
    },
    Var {
        name: "RUSTCBUILDX_CANONICAL_PATHS",
        kind: Kind::Text,
        default: Some("dependencies"),
        doc: "whose units see the same paths on every machine, so that all can share them: \
              dependencies, all or none",
    },
    Var {
        name: "RUSTCBUILDX_PUBLISHED_PATHS",
        kind: Kind::Switch,
        default: Some("0"),
        doc: "1 has optimized builds name sources as published, NAME-VERSION/src/lib.rs, so that no \
              program names the machine that built it",
    },
    Var {
        name: "RUSTCBUILDX_INCREMENTAL",
        kind: Kind::Switch,
        default: Some("1"),
        doc: "whether rustc's incremental state, where cargo asks for it, is kept in the engine; \
              0 compiles all anew",
    },
    Var {
        name: "RUSTCBUILDX_SET_ENVS",
        kind: Kind::List,
        default: None,
        doc: "further variables to give to units: NAME or PACKAGE:NAME, separated by commas",
    },
    Var {
        name: "RUSTCBUILDX_LOCAL_SCRIPTS",
        kind: Kind::List,
        default: None,
        doc: "packages, separated by commas, whose build scripts run on this machine, outside of \
              any sandbox",
    },
    Var {
        name: "RUSTCBUILDX_ALLOW_WRITES",
        kind: Kind::List,
        default: None,
        doc: "packages of the workspace, separated by commas, in whose compiles macros from \
              elsewhere may write to files of the workspace, as macros of its own may",
    },
    Var {
        name: "RUSTCBUILDX_OBSERVE",
        kind: Kind::Switch,
        default: Some("1"),
        doc: "whether it is looked at what units touch beyond what cargo declares, to give it to \
              them; 0 is faster, and blind",
    },
    Var {
        name: "RUSTCBUILDX_STRICT",
        kind: Kind::Switch,
        default: Some("0"),
        doc: "1 makes it an error where a unit would be compiled locally, because no container \
              can do it faithfully",
    },
    Var {
        name: "RUSTCBUILDX_STORE_SIZE",
        kind: Kind::Text,
        default: Some("20GB"),
        doc: "the most that the cache folder takes of this machine's disk, stored outcomes and \
              copies of sources, such as 500MB or 50GB; 0 keeps no outcomes",
    },
    Var {
        name: "RUSTCBUILDX_ENGINE_STORE_SIZE",
        kind: Kind::Text,
        default: Some("20GB"),
        doc: "the most that outcomes and sources take of the engine's disk; what was used least \
              recently goes first",
    },
    Var {
        name: "RUSTCBUILDX_LEAVE",
        kind: Kind::Switch,
        default: Some("0"),
        doc: "1 leaves libraries and build scripts of dependencies in the engine where only \
              compilers and containers need them; cargo's build folder is then in the cache folder",
    },
    Var {
        name: "RUSTCBUILDX_REMOTE_<NAME>_URL",
        kind: Kind::Text,
        default: None,
        doc: "a remote, where outcomes are shared between machines: oci://REGISTRY/REPOSITORY, \
              s3://BUCKET/FOLDER, https://…, or file:///FOLDER. Remotes are asked in the order of \
              their names",
    },
    Var {
        name: "RUSTCBUILDX_REMOTE_<NAME>_MODE",
        kind: Kind::Text,
        default: Some("read"),
        doc: "read, or read-write: what is built is added to the remote, too",
    },
    Var {
        name: "RUSTCBUILDX_REMOTE_<NAME>_TRUST",
        kind: Kind::List,
        default: None,
        doc: "public keys, separated by commas: what none of them signed is not used. \
              `rustcbuildx cache keygen` makes one",
    },
    Var {
        name: "RUSTCBUILDX_REMOTE_<NAME>_PRIVATE",
        kind: Kind::Switch,
        default: Some("0"),
        doc: "1 if only people who may read your sources can read the remote: then it gets all \
              outcomes, not only those of packages that everybody has",
    },
    Var {
        name: "RUSTCBUILDX_REMOTE_<NAME>_AUTHORIZATION",
        kind: Kind::Variable,
        default: None,
        doc: "header of that name for a remote of http(s), such as `Bearer …`: a secret",
    },
    Var {
        name: "RUSTCBUILDX_TIMINGS",
        kind: Kind::Path,
        default: None,
        doc: "file to append to what each unit's time went to, as a Chrome trace; `rustcbuildx \
              timings FILE` makes a page of it",
    },
    Var {
        name: "RUSTCBUILDX_LOG",
        kind: Kind::Text,
        default: None,
        doc: "log filter, as for env_logger: error, warn, info, debug, trace",
    },
    Var {
        name: "RUSTCBUILDX_LOG_STYLE",
        kind: Kind::Text,
        default: Some("never"),
        doc: "colours of the log: auto, always or never",
    },
    Var {
        name: "RUSTCBUILDX_LOG_PATH",
        kind: Kind::Path,
        default: None,
        doc: "file to append the log to; unset: standard error",
    },
];
