//! What rustc makes of a crate (`--crate-type`).

use std::fmt;

/// Source: `rustc --help -v`, option `--crate-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrateType {
    Bin,
    Lib,
    Rlib,
    Dylib,
    Cdylib,
    Staticlib,
    ProcMacro,
    /// One this version of the tool does not know: rustc decides.
    Other(String),
}

impl From<&str> for CrateType {
    fn from(name: &str) -> Self {
        match name {
            "bin" => Self::Bin,
            "lib" => Self::Lib,
            "rlib" => Self::Rlib,
            "dylib" => Self::Dylib,
            "cdylib" => Self::Cdylib,
            "staticlib" => Self::Staticlib,
            "proc-macro" => Self::ProcMacro,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for CrateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bin => "bin",
            Self::Lib => "lib",
            Self::Rlib => "rlib",
            Self::Dylib => "dylib",
            Self::Cdylib => "cdylib",
            Self::Staticlib => "staticlib",
            Self::ProcMacro => "proc-macro",
            Self::Other(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["bin", "lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro", "sdylib"] {
            assert_eq!(CrateType::from(name).to_string(), name);
        }
        assert_eq!(CrateType::from("proc-macro"), CrateType::ProcMacro);
    }
}
