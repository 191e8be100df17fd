//! Names of sources as a published crate has them, `NAME-VERSION/src/lib.rs`, in place of paths of
//! the machine that compiles it.
//!
//! Source of the names: cargo's profile option `trim-paths`.

use camino::Utf8Path;

use crate::{
    rustc::args::Flag,
    unit::work::{Unit, Work},
};

/// The first version of rustc that can leave its messages as they are.
const WITH_SCOPES: (u32, u32) = (1, 95);

/// The options for a compiler of this `release`, which sees the unit's paths as `seen` says.
/// `target` is the unit's target folder. There are none for a build without optimization, and where
/// the user names other paths.
pub fn options(
    unit: &Unit,
    target: Option<&Utf8Path>,
    seen: impl Fn(&str) -> String,
    release: &str,
) -> Vec<String> {
    let Work::Compile { args, .. } = &unit.work else { return vec![] };
    if !is_optimized(args.codegen("opt-level")) || args.has(Flag::RemapPathPrefix) {
        return vec![];
    }
    let named = named(unit, target, seen).into_iter();
    let options = named.map(|named| format!("--remap-path-prefix={named}"));
    let scope = has_scopes(release).then(|| "--remap-path-scope=object".to_owned());
    options.chain(scope).collect()
}

/// The variables by which a build script has its compiler of C name the same.
///
/// Source: cargo's `trim-paths` and the `cc` crate, which reads them.
pub fn variables(
    unit: &Unit,
    target: Option<&Utf8Path>,
    seen: impl Fn(&str) -> String,
) -> Vec<String> {
    let [scope, remap] = ["CARGO_TRIM_PATHS_SCOPE", "CARGO_TRIM_PATHS_REMAP"];
    let level = unit.env.get("OPT_LEVEL").map(String::as_str);
    if !unit.is_build_script() || !is_optimized(level) || unit.env.contains_key(scope) {
        return vec![];
    }
    // For gcc, too, the last that matches decides.
    let named = named(unit, target, seen).join(":");
    vec![format!("{scope}=object"), format!("{remap}={named}")]
}

/// Each path with its name, `FROM=TO`; of those that match, the last decides.
fn named(unit: &Unit, target: Option<&Utf8Path>, seen: impl Fn(&str) -> String) -> Vec<String> {
    let version = unit.env.get("CARGO_PKG_VERSION").map_or("0.0.0", String::as_str);
    let package = format!("{}-{version}", unit.package_name());
    let named = [(unit.cwd.as_path(), "."), (&unit.package, &package)].into_iter();
    let target = target.map(|target| (target, "/cargo/build-dir"));
    named.chain(target).map(|(path, name)| format!("{}={name}", seen(path.as_str()))).collect()
}

fn is_optimized(level: Option<&str>) -> bool {
    level.is_some_and(|level| level != "0")
}

fn has_scopes(release: &str) -> bool {
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) >= WITH_SCOPES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rustc::{args::RustcArgs, tool::Tool};

    fn unit(words: &[&str]) -> Unit {
        let args = RustcArgs::parse(words.iter().map(ToString::to_string).collect());
        let work = Work::Compile { tool: Tool::Rustc, args, out_dir: "/w/target/x".into() };
        let mut unit = Unit::new(work, "/w".into(), "/w/member".into());
        let variables = [("CARGO_PKG_NAME", "member"), ("CARGO_PKG_VERSION", "1.2.3")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        unit.env.extend(variables);
        unit
    }

    #[test]
    fn a_release_names_packages() {
        let target = Some(Utf8Path::new("/w/target"));
        let options = |words: &[&str], release: &str| {
            options(&unit(words), target, |path| format!("/c{path}"), release)
        };
        let expected = [
            "--remap-path-prefix=/c/w=.",
            "--remap-path-prefix=/c/w/member=member-1.2.3",
            "--remap-path-prefix=/c/w/target=/cargo/build-dir",
            "--remap-path-scope=object",
        ];
        assert_eq!(options(&["-C", "opt-level=3"], "1.95.0"), expected);
        assert_eq!(options(&["-Copt-level=s"], "1.94.0-nightly"), expected[..3]);
        assert!(options(&["-C", "opt-level=0"], "1.95.0").is_empty());
        assert!(options(&[], "1.95.0").is_empty());
        let own = ["-C", "opt-level=3", "--remap-path-prefix=/w=/src"];
        assert!(options(&own, "1.95.0").is_empty());
    }

    #[test]
    fn a_build_script_hears_of_it() {
        let work = Work::BuildScript {
            program: "/b".into(),
            out_dir: "/w/target/x".into(),
            library_path: vec![],
        };
        let script = |level: &str| {
            let mut script = Unit { work: work.clone(), ..unit(&[]) };
            script.env.insert("OPT_LEVEL".to_owned(), level.to_owned());
            script
        };
        let variables = |level: &str| {
            variables(&script(level), Some(Utf8Path::new("/t")), |path| format!("/c{path}"))
        };
        let remap = "CARGO_TRIM_PATHS_REMAP=/c/w=.:/c/w/member=member-1.2.3:/c/t=/cargo/build-dir";
        assert_eq!(variables("s"), ["CARGO_TRIM_PATHS_SCOPE=object", remap]);
        assert!(variables("0").is_empty());
    }
}
