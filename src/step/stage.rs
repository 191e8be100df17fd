//! A unit and its inputs as one `RUN` of a Dockerfile.
//!
//! The container shows the host's folders where the unit's
//! [`PathMap`](crate::unit::path_map::PathMap) says: at the host's own paths, so that nothing needs
//! rewriting, or at common ones. Everything that the process leaves is gathered in [`OUT`]: its
//! files, its output, its status, and the [`BUILD_ID`](crate::step::layout::BUILD_ID) of the build
//! that really ran it.

use std::collections::HashSet;

use camino::Utf8Path;

use crate::{
    rustc::tool::Tool,
    step::{
        dockerfile::{Mount, Run},
        image::Image,
        layout::{BIN, BUILD_SECRET, CRATES, JOB_TOKENS, JOB_TOKENS_ID, KEPT, OUT},
    },
    unit::work::{Unit, Work},
    util::quote,
};

/// 1980, the first year that all archive formats know.
const EPOCH: u64 = 315_532_800;

/// Runs a process so that the build step succeeds whatever its status: a failed step would leave
/// neither its files nor more than a clipped log. In a shell of its own, lest the shell's word of
/// how it was killed get into its standard error. An explicit environment: dash drops variables
/// whose names are no identifiers, and the image's own are no input of the unit. Arguments: umask,
/// working folder, output folder, hidden variables as `NAME:` and what is left, the names of the
/// files expected, the files to be linked, then the other variables and the words.
const PROLOGUE: &str = r#"umask "$1" && mkdir -p /rustcbuildx/outcome/files "$2" "$3" && cd "$2" || exit
out=$3; hidden=$4; expected=$5; links=$6; shift 6; read -r nonce threads jobs </run/secrets/RUSTCBUILDX_BUILD
echo "$nonce" >/rustcbuildx/outcome/nonce || exit
for item in $hidden; do
  name=${item%%:*}; value=$(cat "/run/secrets/$name" && echo .) || exit
  set -- "$name=${value%.}" "$@"
done
"#;

/// Puts links in the places of crates of which the engine kept all. One is named that it did not
/// keep.
const LINK: &str = r#"linked=
for link in $links; do
  linked="$linked ${link##*/}"
  [ -e "/rustcbuildx/crates/$link" ] || { echo "open /rustcbuildx/crates/$link: no such file or directory" >&2; exit 1; }
done
[ ! "$links" ] || ln -s $(printf '/rustcbuildx/crates/%s ' $links) "$out" || exit
"#;

/// Waits for one of the build's job tokens, if it is bounded: BuildKit itself starts all that is
/// ready at once. One process at a time looks for a free token, the others wait for it. It looks
/// again when it is told that one is free, and once a second: whoever dies frees what it held, and
/// tells nobody.
const WAIT: &str = r#"if [ "$jobs" ] && command -v flock >/dev/null; then
  [ "$jobs" != all ] || jobs=$(nproc)
  slots=/rustcbuildx/slots/$nonce
  mkdir "$slots" 2>/dev/null && find /rustcbuildx/slots -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf {} +
  exec 8>"$slots/queue" && flock 8
  [ -p "$slots/freed" ] || mkfifo "$slots/freed" || exit
  exec 7<>"$slots/freed"
  until
    slot=0
    until [ $slot = "$jobs" ] || { exec 9>"$slots/$slot" && flock -n 9; }; do slot=$((slot + 1)); done
    [ $slot != "$jobs" ]
  do timeout 1 head -c 1 <&7 >/dev/null || sleep 0.05; done
  exec 8>&-; echo at work
fi
"#;

/// A jobserver of the container's own. Without one, as many threads generate code as there are
/// units of it: 16 of a crate, on however few processors. Cargo's own is not within reach, and one
/// for all containers would lose what a killed compiler held.
const JOBSERVER: &str = r#"if mkfifo /rustcbuildx/jobserver 2>/dev/null; then
  exec 3<>/rustcbuildx/jobserver; printf "%$((threads - 1))s" >&3
  set -- "CARGO_MAKEFLAGS=--jobserver-fds=3,3 --jobserver-auth=3,3" "$@"
fi
"#;

const RUN: &str = r#"(exec env -i "$@" </dev/null >/rustcbuildx/outcome/stdout 2>/rustcbuildx/outcome/stderr 7>&- 9>&-)
status=$?; exec 9>&-; { echo >&7; } 2>/dev/null; echo $status >/rustcbuildx/outcome/status; cd /rustcbuildx/outcome
"#;

/// Takes note of the folders in the output folder that inputs are mounted in: artifacts of
/// dependencies.
const FOLDERS: &str = r#"folders=:
for folder in "$out"/*/; do folders=$folders$folder:; done
"#;

/// Moves what rustc wrote, and neither the links nor those folders, which would be moved and leave
/// their mounts behind; the mounted artifacts in the same folder refuse to be moved (EBUSY) and
/// stay. Where a failure left none, empty files serve the steps that mount them, so that these fail
/// by themselves and not the whole build.
const GATHER_ARTIFACTS: &str = r#"[ ! "$links" ] || (cd "$out" && rm -f -- $linked)
set --; for file in "$out"/*; do case $folders in *":$file/:"*) ;; *) set -- "$@" "$file" ;; esac; done
mv -- "$@" files/ 2>/dev/null
if [ $status != 0 ]; then for name in $expected; do [ -e "files/$name" ] || : >"files/$name"; done; fi
"#;

/// Moves the whole output folder of a build script, hidden files and all.
const GATHER_FOLDER: &str = r#"rmdir files && mv -- "$out" files || exit
"#;

/// Copies a success to where later builds find it: its files whole, or not at all, and then what
/// was said.
const KEEP: &str = r#"[ $status = 0 ] || exit 0
new=$(mktemp -d /rustcbuildx/kept/XXXXXX) && cp -a . "$new" && rm -rf /rustcbuildx/kept/files && mv "$new/files" /rustcbuildx/kept/ && mv "$new"/* /rustcbuildx/kept/
rm -rf "$new"; :"#;

/// Makes a `git` that leaves a mark and becomes the image's own, if that has one.
pub const WITNESS: &str = r#"mkdir -p /rustcbuildx/bin && cat >/rustcbuildx/bin/git <<'END' && chmod 755 /rustcbuildx/bin/git || exit
#!/bin/sh
: >/rustcbuildx/outcome/git
PATH=${PATH#/rustcbuildx/bin:}; exec git "$@"
END
"#;

/// Which word of a step's command is the shell's script.
const SCRIPT: usize = 2;
/// Which word names the process: its `$0`.
pub const NAME: usize = 3;
/// Which word names the output folder.
const OUTPUT: usize = 6;
/// Which word names the files to be linked, each by its crate and its path in there.
const LINKS: usize = 9;

/// The step that does the unit's work in an image, with its inputs mounted. A `salt` that was never
/// used before makes it a step that no cache holds.
pub fn run(
    unit: &Unit,
    image: &Image,
    umask: u32,
    mounts: &[Mount],
    cache_buster: Option<&str>,
) -> Run {
    let mut mounts: Vec<Mount> = mounts.iter().map(|mount| in_container(mount, unit)).collect();
    let job_tokens = Mount::Cache {
        id: JOB_TOKENS_ID.into(),
        source: "/".into(),
        target: JOB_TOKENS.into(),
        writable: true,
    };
    mounts.push(job_tokens);
    mounts.extend(
        [BUILD_SECRET].into_iter().chain(unit.hidden.keys().map(String::as_str)).map(Mount::secret),
    );
    let keep = if is_kept(unit) {
        mounts.push(Mount::Keep { target: KEPT.to_owned() });
        KEEP
    } else {
        ""
    };
    let (before, gather) = match unit.work {
        Work::Compile { .. } => (format!("{FOLDERS}{LINK}{JOBSERVER}"), GATHER_ARTIFACTS),
        Work::BuildScript { .. } => (WITNESS.to_owned(), GATHER_FOLDER),
    };
    let cargo = unit.env.get("CARGO").map(|host| cargo_at(host, image)).unwrap_or_default();
    let script = format!("{PROLOGUE}{cargo}{before}{WAIT}{RUN}{gather}{keep}");
    let mut argv = vec![
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        script,
        cache_buster.unwrap_or_default().to_owned(),
    ];
    argv.push(format!("{umask:04o}"));
    argv.push(unit.path_map.to_container(unit.cwd.as_str()));
    argv.push(unit.path_map.to_container(unit.out_dir().as_str()));
    let hidden = unit
        .hidden
        .iter()
        .map(|(name, rest)| format!("{name}:{}", rest.as_deref().unwrap_or_default()));
    argv.push(hidden.collect::<Vec<_>>().join(" "));
    let expected =
        unit.output_files().into_iter().filter(|name| !name.contains(char::is_whitespace));
    argv.push(expected.collect::<Vec<_>>().join(" "));
    argv.push(String::new());
    argv.extend(container_variables(unit, image));
    argv.extend(
        unit.env
            .iter()
            .map(|(name, value)| format!("{name}={}", unit.path_map.with_sentinels(value))),
    );
    argv.extend(program(unit, image));
    Run { mounts, argv }
}

/// Whether the engine keeps a copy of what a unit makes: for those that are made from it, and of
/// programs, for whoever has the same to make and an empty store. Tests are many and large, and
/// what is compiled incrementally is another one soon.
fn is_kept(unit: &Unit) -> bool {
    unit.serves_units() || !unit.is_test() && !unit.is_incremental()
}

/// Puts the image's cargo where the host has its own, for a unit that bakes that name in and has a
/// macro that runs it.
fn cargo_at(host: &str, image: &Image) -> String {
    let (dir, cargo) =
        (Utf8Path::new(host).parent().unwrap_or(Utf8Path::new("/")), image.tool("cargo"));
    let [make, link] = [vec!["mkdir", "-p", dir.as_str()], vec!["ln", "-s", &cargo, host]]
        .map(|words| quote::words(&words));
    format!("{make} && {link}\n")
}

/// A mount at the place where the unit's container has it.
fn in_container(mount: &Mount, unit: &Unit) -> Mount {
    let mut mount = mount.clone();
    if let Mount::Bind { target, .. } | Mount::Cache { target, .. } = &mut mount {
        *target = unit.path_map.to_container(target);
    }
    mount
}

/// The program and its arguments, with the image's compiler in place of the host's.
fn program(unit: &Unit, image: &Image) -> Vec<String> {
    match &unit.work {
        Work::Compile { tool, args, .. } => {
            let mut words = match tool {
                Tool::Rustc => vec![image.tool("rustc")],
                Tool::Clippy => vec![image.tool("clippy-driver"), image.tool("rustc")],
            };
            // Only the input's path names a source file; others may end up in the output and be
            // used from there.
            let is_input = |word: &str| args.inputs().any(|input| input == word);
            words.extend(args.words().iter().map(|word| match is_input(word) {
                true => unit.path_map.to_container(word),
                false => unit.path_map.with_sentinels(word),
            }));
            words.extend(unit.path_map.remap_option());
            words
        }
        Work::BuildScript { program, .. } => {
            let program = unit.path_map.to_container(program.as_str());
            // `env` would take such a path for one more variable.
            let is_assignment = program.contains('=');
            let before = if is_assignment { &["nice", "-n", "0"][..] } else { &[] };
            before.iter().map(|word| word.to_string()).chain([program]).collect()
        }
    }
}

/// What cargo gives a process of the machine it runs on: here the container.
fn container_variables(unit: &Unit, image: &Image) -> Vec<String> {
    // Macros and build scripts that are instrumented, too, would try to leave their profile beside
    // the sources.
    let profile = "LLVM_PROFILE_FILE=/dev/null".to_owned();
    let before = if unit.is_build_script() { format!("{BIN}:") } else { String::new() };
    // A macro may ask cargo of its package. A crate that bakes this name in is compiled again with
    // the host's.
    let cargo = format!("CARGO={}", image.tool("cargo"));
    let mut variables =
        vec![format!("PATH={before}{}/bin:{}", image.sysroot, image.path), profile, cargo];
    if let Work::BuildScript { library_path, .. } = &unit.work {
        let mut folders =
            vec![format!("{0}/lib/rustlib/{1}/lib:{0}/lib", image.sysroot, image.host())];
        folders.extend(library_path.iter().map(|folder| unit.path_map.to_container(folder)));
        variables.push("HOME=/root".to_owned());
        if unit.path_map.are_common() {
            // C sources that hold `__TIME__` would come out otherwise on each machine. The host's
            // own value comes later.
            variables.push(format!("SOURCE_DATE_EPOCH={EPOCH}"));
        }
        variables.push(format!("LD_LIBRARY_PATH={}", folders.join(":")));
        for (name, tool) in [("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")] {
            variables.push(format!("{name}={}", image.tool(tool)));
        }
    }
    variables
}

/// Has a step take its inputs from what the engine kept of those stages that `is_kept` says.
///
/// Crates, of which there may be hundreds, through links, if there `may_be_links`: BuildKit mounts
/// a part of a folder twice, and the kernel goes through all mounts of the machine each time; a
/// whole folder costs next to nothing.
pub fn take_kept(run: &mut Run, is_kept: impl Fn(&str) -> bool, may_be_links: bool) {
    // What an earlier version noted of a step knows of none.
    let may_be_links =
        may_be_links && run.argv.get(SCRIPT).is_some_and(|script| script.contains(LINK));
    let (mut links, mut linked) = (vec![], HashSet::new());
    let out = run.argv.get(OUTPUT).cloned().unwrap_or_default();
    run.mounts.retain_mut(|mount| {
        let Mount::Bind { from, source, target, .. } = mount else { return true };
        let Some(path) = source.strip_prefix(OUT).filter(|_| is_kept(from)) else { return true };
        if !may_be_links || !is_linkable(path, target, &out) {
            *mount = Mount::from_engine_cache(from, path, target);
            return true;
        }
        links.push(format!("{from}{path}"));
        let is_new = linked.insert(from.clone());
        *mount = Mount::from_engine_cache(from, "/", &format!("{CRATES}/{from}"));
        is_new
    });
    if may_be_links {
        run.argv[LINKS] = links.join(" ");
    }
}

/// Has a step take those contexts that `is_kept` says from what the engine keeps of them. There,
/// nobody may write.
pub fn take_heavy(run: &mut Run, is_kept: impl Fn(&str) -> bool) {
    for mount in &mut run.mounts {
        if let Mount::Bind { from, source, target, .. } = mount
            && is_kept(from)
        {
            *mount = Mount::from_engine_cache(from, source, target);
        }
    }
}

/// Whether a link in the output folder does for a file: a crate's, which nobody opens but rustc and
/// its linker.
fn is_linkable(path: &str, target: &str, out: &str) -> bool {
    let (path, target) = (Utf8Path::new(path), Utf8Path::new(target));
    let is_plain =
        |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    matches!(path.extension(), Some("rmeta" | "rlib"))
        && target.parent() == Some(Utf8Path::new(out))
        && target.file_name() == path.file_name()
        && path.file_name().is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(from: &str, source: &str, target: &str) -> Mount {
        let source = format!("{OUT}/{source}");
        Mount::Bind { from: from.into(), source, target: target.into(), writable: false }
    }

    fn taken(may_be_links: bool) -> Run {
        let mounts = vec![
            bind("u1", "files/liba.rlib", "/t/deps/liba.rlib"),
            bind("u1", "files/liba.rmeta", "/t/deps/liba.rmeta"),
            bind("u2", "files/libm.so", "/t/deps/libm.so"),
            bind("u3", "files", "/t/build/x/out"),
            bind("u4", "files/libb.rmeta", "/t/deps/libb.rmeta"),
            bind("u5", "files/libc.rlib", "/t/other/deps/libc.rlib"),
            bind("u6", "files/lib d.rlib", "/t/deps/lib d.rlib"),
        ];
        let mut argv = vec![String::new(); LINKS + 1];
        argv[SCRIPT] = format!("{PROLOGUE}{LINK}");
        argv[OUTPUT] = "/t/deps".into();
        let mut run = Run { mounts, argv };
        take_kept(&mut run, |key| key != "u4", may_be_links);
        run
    }

    #[test]
    fn crates_in_the_output_folder_are_linked() {
        let run = taken(true);
        assert_eq!(run.argv[LINKS], "u1/files/liba.rlib u1/files/liba.rmeta");
        let kept: Vec<(&str, &str)> =
            run.mounts.iter().filter_map(Mount::as_from_engine_cache).collect();
        let in_place = [
            ("u2", "/files/libm.so"),
            ("u3", "/files"),
            ("u5", "/files/libc.rlib"),
            ("u6", "/files/lib d.rlib"),
        ];
        assert_eq!(kept, [&[("u1", "/")], &in_place[..]].concat());
        assert_eq!(run.mounts.len(), kept.len() + 1);
    }

    #[test]
    fn all_is_in_its_place_without_links() {
        let run = taken(false);
        assert_eq!(run.argv[LINKS], "");
        assert!(
            run.mounts
                .iter()
                .filter_map(Mount::as_from_engine_cache)
                .all(|(_, source)| source != "/")
        );
        assert_eq!(run.mounts.len(), 7);
    }
}
