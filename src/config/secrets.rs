//! Names of variables that say their value is a secret, and values that have one in them.

use std::ops::Range;

/// Whether a variable's name says so: of what the user's environment has, such a variable is given
/// to nobody who was not meant.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    !PACKAGE_DATA.iter().any(|prefix| name.starts_with(prefix))
        && (NAMES.contains(&&name[..]) || ENDS.iter().any(|end| name.ends_with(end)))
}

/// Whether a value has a password in it, as the addresses of databases have.
pub fn has_password(value: &str) -> bool {
    users_of_addresses(value).any(|user| value[user].contains(':'))
}

/// Where it stands in a text who asks, before the hosts of addresses: a name, and a password or
/// token. That it ends with `@` is a part of it.
pub fn users_of_addresses(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices("://").filter_map(|(at, sign)| {
        let from = at + sign.len();
        let rest = &text[from..];
        let end = rest.find(|c: char| "/?#\"".contains(c) || c.is_whitespace());
        let host = &rest[..end.unwrap_or(rest.len())];
        host.rfind('@').map(|at| from..from + at + 1)
    })
}

const NAMES: &[&str] = &[
    "APIKEY",
    "AUTHORIZATION",
    "CREDENTIALS",
    "MYSQL_PWD",
    "PASSPHRASE",
    "PASSWORD",
    "PGPASSWORD",
    "SECRET",
    "SECRET_KEY_BASE",
    "SSHPASS",
    "TOKEN",
];

const ENDS: &[&str] = &[
    "_ACCESS_KEY_ID",
    "_APIKEY",
    "_AUTHORIZATION",
    "_CREDENTIAL",
    "_CREDENTIALS",
    "_CREDS",
    "_KEY",
    "_PASS",
    "_PASSPHRASE",
    "_PASSWD",
    "_PASSWORD",
    "_PAT",
    "_SECRET",
    "_SECRETS",
    "_TOKEN",
    "_TOKENS",
];

/// What cargo's variables begin with that tell of manifests and of what it made: names of features,
/// programs and packages follow.
const PACKAGE_DATA: &[&str] = &[
    "CARGO_BIN_",
    "CARGO_CDYLIB_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
    "CARGO_STATICLIB_",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_passwords() {
        assert!(has_password("postgres://me:secret@host/db"));
        assert!(has_password("a b=https://u:p@h"));
        for value in ["https://host:80/a@b", "ssh://git@host/a", "me:secret@host", "://"] {
            assert!(!has_password(value), "{value}");
        }
    }

    #[test]
    fn names_say_what_is_secret() {
        for name in [
            "GITHUB_PAT",
            "cargo_registry_token",
            "A_PRIVATE_KEY",
            "DB_PASS",
            "AWS_ACCESS_KEY_ID",
            "RUSTCBUILDX_REMOTE_TEAM_AUTHORIZATION",
            "TOKEN",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "CARGO_BIN_EXE_api_key",
            "CARGO_BIN_FILE_TOOL_api_key",
            "CARGO_FEATURE_API_KEY",
            "CARGO_PKG_KEY",
            "COMPASS",
            "KEYBOARD",
            "MONKEY",
            "PATH",
            "PWD",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
