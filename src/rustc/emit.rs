//! What rustc writes (`--emit kind[=path]`).

use std::fmt;

/// One entry of the list: what to write and, if given, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    pub kind: EmitKind,
    pub path: Option<String>,
}

/// Source: `rustc --help -v`, option `--emit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmitKind {
    Asm,
    DepInfo,
    Link,
    LlvmBc,
    LlvmIr,
    Metadata,
    Mir,
    Obj,
    /// One this version of the tool does not know: rustc decides.
    Other(String),
}

impl From<&str> for Emit {
    fn from(entry: &str) -> Self {
        let (kind, path) = match entry.split_once('=') {
            Some((kind, path)) => (kind, Some(path.to_owned())),
            None => (entry, None),
        };
        Self { kind: EmitKind::from(kind), path }
    }
}

impl From<&str> for EmitKind {
    fn from(name: &str) -> Self {
        match name {
            "asm" => Self::Asm,
            "dep-info" => Self::DepInfo,
            "link" => Self::Link,
            "llvm-bc" => Self::LlvmBc,
            "llvm-ir" => Self::LlvmIr,
            "metadata" => Self::Metadata,
            "mir" => Self::Mir,
            "obj" => Self::Obj,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Emit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            EmitKind::Asm => "asm",
            EmitKind::DepInfo => "dep-info",
            EmitKind::Link => "link",
            EmitKind::LlvmBc => "llvm-bc",
            EmitKind::LlvmIr => "llvm-ir",
            EmitKind::Metadata => "metadata",
            EmitKind::Mir => "mir",
            EmitKind::Obj => "obj",
            EmitKind::Other(name) => name,
        };
        match &self.path {
            Some(path) => write!(f, "{kind}={path}"),
            None => f.write_str(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip() {
        for entry in [
            "asm",
            "dep-info=x.d",
            "link",
            "llvm-bc",
            "llvm-ir",
            "metadata",
            "mir",
            "obj=a=b.o",
            "thin-link-bitcode",
        ] {
            assert_eq!(Emit::from(entry).to_string(), entry);
        }
        assert_eq!(Emit::from("link=a=b").path.as_deref(), Some("a=b"));
    }
}
