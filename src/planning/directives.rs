//! Placeholders for the directives of build scripts, and the real directives in their place.
//!
//! Cargo passes each directive of a script on: to the compilers of the package and of its
//! dependents, and to their build scripts. In a dry run no script runs. Each prints one placeholder
//! of every kind instead, which shows where cargo passes them on to. Once the script ran, its real
//! directives are filled in there.
//!
//! Source: cargo's `BuildOutput::parse` for what a script may print, and its `add_native_deps` and
//! `add_custom_flags` for how that reaches rustc.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::{
    rustc::args::RustcArgs,
    unit::work::{Unit, Work},
};

/// Is in every placeholder, next to the output folder of the script that printed it.
const NAME: &str = "rustcbuildx-said";
const VARIABLE: &str = "RUSTCBUILDX_SAID";

/// What the build script with this output folder prints in a dry run.
pub fn words(out_dir: &Utf8Path) -> String {
    let search = [format!("{out_dir}/{NAME}"), format!("/{NAME}{out_dir}")];
    let mut words: String =
        search.iter().map(|path| format!("cargo:rustc-link-search={path}\n")).collect();
    for kind in ["rustc-link-lib", "rustc-link-arg", "rustc-cfg", "rustc-check-cfg"] {
        words += &format!("cargo:{kind}={NAME}{out_dir}\n");
    }
    words + &format!("cargo:rustc-env={VARIABLE}={out_dir}\ncargo:{NAME}={out_dir}\n")
}

/// The directives of a build script, as far as they change units.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BuildOutput {
    /// Values of `-L`: folders below the script's output folder, which cargo puts first, and
    /// others.
    own_paths: Vec<String>,
    other_paths: Vec<String>,
    libraries: Vec<String>,
    link_args: Vec<String>,
    cfgs: Vec<String>,
    check_cfgs: Vec<String>,
    variables: Vec<(String, String)>,
    /// For the scripts of dependents.
    metadata: Vec<(String, String)>,
}

impl BuildOutput {
    /// Reads the standard output of a script. `None` if it contains a directive that no placeholder
    /// stands for.
    pub fn of(stdout: &[u8], out_dir: &Utf8Path) -> Option<Self> {
        let mut output = Self::default();
        let lines =
            stdout.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        for line in lines.map(str::trim).filter_map(|line| line.strip_prefix("cargo:")) {
            let (line, is_new) = line.strip_prefix(':').map_or((line, false), |line| (line, true));
            let (key, value) = line.split_once('=')?;
            let (key, value) = (key.trim(), value.trim_end());
            match key {
                "rustc-link-search" => output.add_path(value, out_dir),
                "rustc-link-lib" => output.libraries.push(value.to_owned()),
                "rustc-flags" => output.add_flags(value, out_dir)?,
                "rustc-link-arg" => output.link_args.push(value.to_owned()),
                "rustc-cfg" => output.cfgs.push(value.to_owned()),
                "rustc-check-cfg" => output.check_cfgs.push(value.to_owned()),
                "rustc-env" => {
                    let (name, value) =
                        value.split_once('=').filter(|(name, _)| *name != "RUSTC_BOOTSTRAP")?;
                    output.variables.push((name.to_owned(), value.to_owned()));
                }
                "warning" | "rerun-if-changed" | "rerun-if-env-changed" => {}
                "metadata" if is_new => {
                    let (name, value) = value.split_once('=')?;
                    output.metadata.push((name.to_owned(), value.to_owned()));
                }
                // Arguments for the linkers of some targets only, errors, and what a later cargo
                // knows.
                _ if is_new || key == "error" || key.starts_with("rustc-") => return None,
                _ => output.metadata.push((key.to_owned(), value.to_owned())),
            }
        }
        Some(output)
    }

    fn add_path(&mut self, value: &str, out_dir: &Utf8Path) {
        let is_own = Utf8Path::new(without_kind(value)).starts_with(out_dir);
        let paths = if is_own { &mut self.own_paths } else { &mut self.other_paths };
        paths.push(value.to_owned());
    }

    /// `-l` and `-L` with their values; cargo refuses others.
    fn add_flags(&mut self, value: &str, out_dir: &Utf8Path) -> Option<()> {
        let mut words = value.split_whitespace();
        while let Some(word) = words.next() {
            let (flag, joined) = word.split_at_checked(2)?;
            let value = if joined.is_empty() { words.next()? } else { joined };
            match flag {
                "-l" => self.libraries.push(value.to_owned()),
                "-L" => self.add_path(value, out_dir),
                _ => return None,
            }
        }
        Some(())
    }

    /// The folders below the script's output folder that it named.
    pub fn own_folders(&self) -> impl Iterator<Item = &Utf8Path> {
        self.own_paths.iter().map(|path| Utf8Path::new(without_kind(path)))
    }
}

/// The output folders of the scripts whose directives a unit depends on.
pub fn scripts(unit: &Unit) -> Vec<String> {
    let words = match &unit.work {
        Work::Compile { args, .. } => args.words(),
        Work::BuildScript { library_path, .. } => library_path,
    };
    let of_variables = unit
        .env
        .iter()
        .filter(|(name, _)| name.ends_with(VARIABLE))
        .map(|(_, value)| value.as_str());
    let mut scripts: Vec<String> = words
        .iter()
        .filter_map(|word| script_of(word))
        .chain(of_variables)
        .map(str::to_owned)
        .collect();
    scripts.sort();
    scripts.dedup();
    scripts
}

/// Replaces the placeholders in a unit by directives. `output` returns those of a script by its
/// output folder.
pub fn fill<'a>(unit: &mut Unit, output: impl Fn(&str) -> Option<&'a BuildOutput>) {
    match &mut unit.work {
        Work::Compile { args, .. } => *args = RustcArgs::parse(filled(args.words(), &output)),
        Work::BuildScript { library_path, .. } => {
            let folders = |entry: &String| match script_of(entry).and_then(&output) {
                Some(output) => output.own_folders().map(Utf8Path::to_string).collect(),
                None => vec![entry.clone()],
            };
            *library_path = library_path.iter().flat_map(folders).collect();
        }
    }
    let mut env = BTreeMap::new();
    for (name, value) in std::mem::take(&mut unit.env) {
        match name.strip_suffix(VARIABLE).zip(output(&value)) {
            None => drop(env.insert(name, value)),
            Some(("", output)) => env.extend(output.variables.iter().cloned()),
            Some((links, output)) => {
                env.extend(
                    output
                        .metadata
                        .iter()
                        .map(|(key, value)| (format!("{links}{}", in_a_name(key)), value.clone())),
                );
            }
        }
    }
    unit.env = env;
}

/// The command line in which each placeholder, together with the option before it, is replaced by
/// the directives.
fn filled<'a>(words: &[String], output: &impl Fn(&str) -> Option<&'a BuildOutput>) -> Vec<String> {
    let mut filled: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let Some((output, out_dir)) =
            script_of(word).and_then(|script| Some((output(script)?, script)))
        else {
            filled.push(word.clone());
            continue;
        };
        let option = filled.pop().unwrap_or_default();
        let (values, before) = match option.as_str() {
            "-L" if word.starts_with(out_dir) => (&output.own_paths, ""),
            "-L" => (&output.other_paths, ""),
            "-l" => (&output.libraries, ""),
            "--cfg" => (&output.cfgs, ""),
            "--check-cfg" => (&output.check_cfgs, ""),
            _ => (&output.link_args, "link-arg="),
        };
        filled.extend(values.iter().flat_map(|value| [option.clone(), format!("{before}{value}")]));
    }
    filled
}

/// The output folder of the script that a placeholder stands for.
fn script_of(word: &str) -> Option<&str> {
    let (before, after) = word.split_once(NAME)?;
    Some(if after.is_empty() { before.trim_end_matches('/') } else { after })
}

/// A value of `-L` without the kind in front of it.
fn without_kind(value: &str) -> &str {
    match value.split_once('=') {
        Some(("dependency" | "crate" | "native" | "framework" | "all", path)) => path,
        _ => value,
    }
}

/// As cargo has a word in a variable's name.
fn in_a_name(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "/t/build/a-1/out";

    fn output(stdout: &str) -> Option<BuildOutput> {
        BuildOutput::of(stdout.as_bytes(), OUT.into())
    }

    fn compile(line: &str) -> Unit {
        let args = RustcArgs::parse(line.split(' ').map(str::to_owned).collect());
        let work =
            Work::Compile { tool: crate::rustc::tool::Tool::Rustc, args, out_dir: "/t".into() };
        Unit::new(work, "/w".into(), "/w".into())
    }

    fn words(unit: &Unit) -> String {
        let Work::Compile { args, .. } = &unit.work else { panic!("a compile") };
        args.words().join(" ")
    }

    #[test]
    fn all_that_is_said_takes_its_place() {
        let stdout = "hello\ncargo:rustc-link-search=native=/t/build/a-1/out/lib\ncargo::rustc-link-search=/usr/x\n\
                      cargo:rustc-flags=-l m \
                      -L/opt\ncargo:rustc-link-lib=static=z\ncargo:rustc-cfg=fast=\"1\"\n\
                      cargo:rustc-link-arg=-Wl,-z\ncargo:rustc-env=A=b=c\ncargo:rerun-if-changed=x\ncargo:root=/r\n\
                      cargo::metadata=in-clude=/i\ncargo:rustc-check-cfg=cfg(fast)";
        let output = output(stdout).unwrap();
        let line = format!(
            "a.rs --cfg x -L dependency=/d -L {OUT}/{NAME} -L /{NAME}{OUT} -l {NAME}{OUT} -C \
             link-arg={NAME}{OUT} --cfg {NAME}{OUT} --check-cfg {NAME}{OUT}"
        );
        let mut unit = compile(&line);
        for (name, value) in [(VARIABLE, OUT), ("DEP_Z_RUSTCBUILDX_SAID", OUT), ("B", "1")] {
            unit.env.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(scripts(&unit), [OUT]);
        fill(&mut unit, |script| (script == OUT).then_some(&output));
        assert_eq!(
            words(&unit),
            format!(
                "a.rs --cfg x -L dependency=/d -L native={OUT}/lib -L /usr/x -L /opt -l m -l \
                 static=z -C link-arg=-Wl,-z --cfg fast=\"1\" --check-cfg cfg(fast)"
            )
        );
        let env: Vec<_> = unit.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=b=c", "B=1", "DEP_Z_IN_CLUDE=/i", "DEP_Z_ROOT=/r"]);
        assert!(scripts(&unit).is_empty());
    }

    #[test]
    fn what_has_no_place_is_not_guessed() {
        for line in [
            "cargo:rustc-link-arg-bins=x",
            "cargo:rustc-cdylib-link-arg=x",
            "cargo::error=x",
            "cargo::unheard-of=x",
            "cargo:rustc-flags=-x",
            "cargo:rustc-env=RUSTC_BOOTSTRAP=1",
        ] {
            assert_eq!(output(line), None, "{line}");
        }
        assert_eq!(output("cargo:warning=x\nno directive\n"), Some(BuildOutput::default()));
    }

    /// Those of the dry run are read back as what they are.
    #[test]
    fn a_script_is_known_by_its_placeholders() {
        let output = output(&super::words(OUT.into())).unwrap();
        assert_eq!(output.own_folders().collect::<Vec<_>>(), [format!("{OUT}/{NAME}")]);
        let values = [
            &output.own_paths,
            &output.other_paths,
            &output.libraries,
            &output.link_args,
            &output.cfgs,
            &output.check_cfgs,
        ];
        for value in values {
            assert_eq!(script_of(&value[0]), Some(OUT));
        }
        assert_eq!(output.variables, [(VARIABLE.to_owned(), OUT.to_owned())]);
        assert_eq!(in_a_name(&output.metadata[0].0), VARIABLE);
    }
}
