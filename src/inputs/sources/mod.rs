//! The source files of packages, as folders that can be sent as they are.
//!
//! Every package is copied into the cache before it is sent, a registry's package, too. So the
//! engine sees one state of it, whoever edits it meanwhile, and no `.dockerignore` at its root has
//! an effect. A copy is named by the digest of what is in it, and that digest is part of the key of
//! each step that reads it. To find out whether a copy exists already, only files that changed are
//! read ([`crate::snapshot::digests`]).

mod given;
mod parts;
mod reach;
mod reader;

use std::{fs, rc::Rc};

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

pub use self::{given::Given, reach::Homes, reader::Reader};
use crate::{
    snapshot::{
        copy::INSIDE,
        scan::{Entry, Kind},
    },
    step::protocol::{Input, Source},
    unit::{target_dir, work::Unit},
    util::{path::normalised, state_dir::Cache},
};

/// What is below a folder.
pub struct Sources {
    /// The folder on the host, and in the container.
    root: Utf8PathBuf,
    /// What is heavy, each by itself, behind all the rest.
    pub parts: Vec<Rc<Part>>,
}

/// A copy of some of it.
pub struct Part {
    /// The name under which it is sent.
    pub name: String,
    /// The folder to send. There is none before it is copied.
    pub context: Utf8PathBuf,
    /// Whether it is large and rarely changes.
    pub is_heavy: bool,
    /// Below the root: nothing for the rest, else a folder or file.
    place: Utf8PathBuf,
    found: Vec<Entry>,
}

impl Part {
    /// Whether it is one file.
    fn is_file(&self) -> bool {
        let is_its =
            |path: &Utf8Path| self.is_heavy && self.place.file_name() == Some(path.as_str());
        matches!(&self.found[..], [Entry { path, kind: Kind::File { .. } }] if is_its(path))
    }
}

impl Sources {
    /// Whether they offer macros to other crates, as far as one can tell without a parser.
    pub fn have_macros(&self, cache: &Cache) -> Result<bool> {
        for part in &self.parts {
            if self.part_has_macros(part, cache)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn part_has_macros(&self, part: &Part, cache: &Cache) -> Result<bool> {
        let record = format!("macros/{}", part.name);
        if let Some(known) = cache.read(&record) {
            return Ok(known);
        }
        let copy = part.context.join(INSIDE);
        let is_copied = copy.exists();
        let folder = if is_copied { copy } else { self.root.join(&part.place) };
        let is_rust = |entry: &&Entry| {
            entry.path.extension() == Some("rs") && !matches!(entry.kind, Kind::Folder)
        };
        let found = part
            .found
            .iter()
            .filter(is_rust)
            .any(|entry| mentions_macros(&folder.join(&entry.path)));
        // Of another state of the sources, it would not be true for good.
        if is_copied {
            cache.write(&record, &found)?;
        }
        Ok(found)
    }

    /// The files where the host has them, without `holes`, which others fill: a folder with a hole
    /// in it is given entry by entry.
    pub fn inputs(&self, holes: &[Utf8PathBuf], is_writable: bool) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for part in &self.parts {
            self.cover(part, Utf8Path::new(""), holes, is_writable, &mut inputs)?;
        }
        Ok(inputs)
    }

    fn cover(
        &self,
        part: &Part,
        relative: &Utf8Path,
        holes: &[Utf8PathBuf],
        is_writable: bool,
        inputs: &mut Vec<Input>,
    ) -> Result<()> {
        let join = |path: &Utf8Path, below: &Utf8Path| {
            if below == "" { path.to_owned() } else { path.join(below) }
        };
        let here = join(&join(&self.root, &part.place), relative);
        if here.as_str().contains(char::is_control) {
            bail!(
                "failed to send `{}`: its name holds a control character",
                here.as_str().escape_debug()
            );
        }
        if !holes.iter().any(|hole| hole.starts_with(&here)) {
            let inside = if part.is_file() {
                Utf8Path::new(part.place.file_name().unwrap_or_default())
            } else {
                relative
            };
            let path = join(Utf8Path::new(INSIDE), inside).into_string();
            let (target, from) = (here.into_string(), Source::Pack(part.name.clone()));
            inputs.push(Input { target, from, path, is_writable });
            return Ok(());
        }
        if !holes.contains(&here) {
            let children = part.found.iter().filter(|entry| entry.path.parent() == Some(relative));
            children
                .map(|entry| &entry.path)
                .try_for_each(|path| self.cover(part, path, holes, is_writable, inputs))?;
        }
        Ok(())
    }
}

/// Whether a Rust file, which may be gone, says that it offers a macro.
fn mentions_macros(file: &Utf8Path) -> bool {
    let text = fs::read(file).unwrap_or_default();
    ["macro_export", "pub macro"]
        .iter()
        .any(|word| memchr::memmem::find(&text, word.as_bytes()).is_some())
}

/// Why something in a unit's package could not be given to it all the same, if so.
pub fn why_withheld(unit: &Unit, path: &Utf8Path) -> Option<String> {
    let inside = path
        .ancestors()
        .take_while(|place| *place != unit.package && place.starts_with(&unit.package));
    inside.into_iter().find_map(|place| {
        let data = fs::symlink_metadata(place).ok()?;
        if data.is_symlink() {
            let target = place
                .canonicalize_utf8()
                .ok()
                .filter(|target| !target.starts_with(&unit.package))?;
            return Some(format!(
                "the link `{place}` leads to `{target}`, out of the tree that its package belongs \
                 to"
            ));
        }
        let read = if data.is_dir() {
            fs::read_dir(place).map(drop)
        } else {
            fs::File::open(place).map(drop)
        };
        read.err().map(|error| format!("`{place}` cannot be read: {error}"))
    })
}

/// The target folder of a unit's build, of the real one where this is a dry run.
pub fn target_folder(unit: &Unit) -> Option<Utf8PathBuf> {
    target_dir::target_folder(unit).map(|folder| normalised(&unit.path_map.real_path(&folder)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use walkdir::WalkDir;

    use super::*;
    use crate::{
        rustc::{args::RustcArgs, tool::Tool},
        unit::work::Work,
    };

    /// A package, what is around it, and the cache.
    struct Tree {
        _dir: tempfile::TempDir,
        around: Utf8PathBuf,
        root: Utf8PathBuf,
        cache: Cache,
    }

    impl Tree {
        fn new(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let around = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
            let (root, cache) = (around.join("w/p"), Cache::open(around.join("cache")).unwrap());
            let tree = Self { _dir: dir, around, root, cache };
            ["Cargo.toml", "src/lib.rs", "../Cargo.toml"]
                .iter()
                .chain(files)
                .for_each(|path| tree.write(path, path));
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn unit(&self) -> Unit {
            let (args, out_dir) = (RustcArgs::parse(vec![]), self.around.join("elsewhere"));
            Unit::new(
                Work::Compile { tool: Tool::Rustc, args, out_dir },
                self.root.clone(),
                self.root.clone(),
            )
        }

        fn read(&self, root: &Utf8Path, wanted: &[Utf8PathBuf], copies: bool) -> Rc<Sources> {
            let homes = Homes { user: None, cargo: "/none".into(), settings: vec![] };
            let mut reader = Reader::new(&self.cache, homes);
            reader.copies = copies;
            reader.sources(root, &self.unit(), wanted).unwrap()
        }

        /// The files in the copy of the package's sources, its manifest and library left out.
        fn copied(&self) -> Vec<String> {
            self.copied_of(&self.root, &[])
        }

        fn copied_of(&self, root: &Utf8Path, wanted: &[Utf8PathBuf]) -> Vec<String> {
            let sources = self.read(root, wanted, true);
            let inside = sources.parts[0].context.join(INSIDE);
            let files = WalkDir::new(&inside).sort_by_file_name().into_iter().map(Result::unwrap);
            let files =
                files.filter(|entry| !entry.file_type().is_dir()).map(|entry| entry.into_path());
            let names =
                files.map(|path| path.strip_prefix(&inside).unwrap().to_str().unwrap().to_owned());
            names
                .filter(|name| !name.ends_with("Cargo.toml") && !name.ends_with("src/lib.rs"))
                .collect()
        }
    }

    #[test]
    fn what_cargo_builds_from_is_copied() {
        let tree = Tree::new(&[
            ".dockerignore",
            ".git/HEAD",
            "target/.rustc_info.json",
            "target/debug/deps/a",
        ]);
        assert_eq!(tree.copied(), [".dockerignore"]);
        assert!(!tree.read(&tree.root, &[], true).parts[0].context.join(".dockerignore").exists());
    }

    #[test]
    fn target_folders_need_no_tag_and_a_tag_makes_none() {
        let tree = Tree::new(&[
            "a/debug/.cargo-lock",
            "a/debug/deps/x",
            "b/release/.fingerprint/x",
            "b/release/build/x",
        ]);
        tree.write("fixture/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
        tree.write("fixture/repository/.git/HEAD", "");
        assert_eq!(tree.copied(), ["fixture/CACHEDIR.TAG", "fixture/repository/.git/HEAD"]);
    }

    #[test]
    fn what_is_wanted_counts_wherever_it_lies() {
        let made = "target/tests/trial/src/main.rs";
        let tree = Tree::new(&[
            "target/.rustc_info.json",
            made,
            "target/tests/trial/target/debug/.cargo-lock",
        ]);
        tree.write("target/tests/trial/target/debug/deps/x", "");
        tree.write("target/release/x", "");
        let wanted = ["target/tests/trial", "target/release/x", ".git/HEAD"]
            .map(|path| tree.root.join(path));
        tree.write(".git/HEAD", "");
        tree.write(".git/config", "");
        assert_eq!(tree.copied_of(&tree.root, &wanted), [".git/HEAD", "target/release/x", made]);
    }

    #[test]
    fn what_is_given_is_known() {
        let tree = Tree::new(&[
            "target/.rustc_info.json",
            "target/release/x",
            ".git/HEAD",
            "fixture/.git/HEAD",
        ]);
        let mut unit = tree.unit();
        let case = |unit: &Unit, path: &str, expected: bool| {
            assert_eq!(Given::of(unit).has(&tree.root.join(path)), expected, "{path}");
        };
        for (path, expected) in
            [("src/lib.rs", true), ("fixture/.git/HEAD", true), ("target/release/x", false)]
        {
            case(&unit, path, expected);
        }
        case(&unit, ".git/HEAD", false);
        let around = tree.root.parent().unwrap().join("Cargo.toml");
        assert!(!Given::of(&unit).has(&around));
        unit.paths =
            vec![tree.root.join("target/release/x"), tree.root.parent().unwrap().to_owned()];
        case(&unit, "target/release/x", true);
        case(&unit, "target/release/y", false);
        assert!(Given::of(&unit).has(&around));
    }

    #[test]
    fn what_is_withheld_has_a_reason() {
        let tree = Tree::new(&["../../elsewhere/a"]);
        symlink("../../elsewhere", tree.root.join("far")).unwrap();
        let why = |path: &str| why_withheld(&tree.unit(), &tree.root.join(path));
        assert!(why("far/a").unwrap().contains("/p/far` leads to"));
        assert_eq!(why("src/lib.rs"), None);
        assert_eq!(why("nothing/there"), None);
    }

    #[test]
    fn an_edit_makes_another_copy_and_a_build_does_not() {
        let tree = Tree::new(&["target/.rustc_info.json"]);
        let name = || tree.read(&tree.root, &[], false).parts[0].name.clone();
        let before = name();
        tree.write("target/debug/b", "y");
        assert_eq!(name(), before);
        tree.write("src/lib.rs", "fn g() {}");
        assert_ne!(name(), before);
        assert_eq!(name(), tree.read(&tree.root, &[], true).parts[0].name);
    }

    #[test]
    fn a_hole_opens_every_folder_above_it() {
        let tree = Tree::new(&[".dockerignore"]);
        let sources = tree.read(&tree.root, &[], false);
        let targets = |holes: &[&str]| -> Vec<String> {
            let holes: Vec<Utf8PathBuf> = holes.iter().map(|hole| tree.root.join(hole)).collect();
            let inputs = sources.inputs(&holes, false).unwrap().into_iter();
            let below_root =
                |input: Input| input.target.strip_prefix(tree.root.as_str()).unwrap().to_owned();
            inputs.map(below_root).collect()
        };
        assert_eq!(targets(&[]), [""]);
        assert_eq!(targets(&["target/debug/deps"]), ["/.dockerignore", "/Cargo.toml", "/src"]);
        assert_eq!(targets(&["src/gen/out"]), ["/.dockerignore", "/Cargo.toml", "/src/lib.rs"]);
    }

    #[test]
    fn what_is_heavy_is_a_part_of_its_own() {
        let tree = Tree::new(&[]);
        (0..1000).for_each(|number| tree.write(&format!("modules/{number}.js"), "x"));
        tree.write("data.bin", &"x".repeat(8 << 20));
        let sources = tree.read(&tree.root, &[], true);
        let inputs = sources.inputs(&[], false).unwrap();
        let paths = inputs.iter().map(|input| {
            (input.path.as_str(), input.target.strip_prefix(tree.root.as_str()).unwrap())
        });
        assert_eq!(
            paths.collect::<Vec<_>>(),
            [("p", ""), ("p/data.bin", "/data.bin"), ("p", "/modules")]
        );
        let rest = sources.parts[0].context.join(INSIDE);
        assert!(!rest.join("data.bin").exists());
        assert_eq!(fs::read_dir(rest.join("modules")).unwrap().count(), 0);
        // An edit beside it copies only the rest, and an edit in it only what changed.
        tree.write("src/lib.rs", "edited");
        tree.write("modules/7.js", "edited");
        let edited = tree.read(&tree.root, &[], true);
        assert_eq!(edited.parts[1].name, sources.parts[1].name);
        let file = |sources: &Sources, name: &str| {
            fs::metadata(sources.parts[2].context.join(INSIDE).join(name)).unwrap().ino()
        };
        assert_eq!(file(&edited, "8.js"), file(&sources, "8.js"));
        assert_ne!(file(&edited, "7.js"), file(&sources, "7.js"));
    }

    #[test]
    fn links_that_lead_out_are_what_they_lead_to() {
        let tree = Tree::new(&["../LICENSE", "../shared/a/b.txt", "../shared/c.txt"]);
        fs::write(tree.around.join("notes"), "").unwrap();
        fs::create_dir(tree.around.join("elsewhere")).unwrap();
        for (target, link) in [
            ("../LICENSE", "LICENSE"),
            ("lib.rs", "src/other.rs"),
            ("../shared", "shared"),
            ("..", "up"),
            ("../../shared/a", "../shared/a/again"),
            ("../../notes", "notes"),
            ("../../elsewhere", "elsewhere"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, tree.root.join(link)).unwrap();
        }
        // One that leads to a folder around it is followed once.
        let again = ["shared/a/again/again", "shared/a/again/b.txt"];
        let names = [
            &["LICENSE", "dangling", "elsewhere", "notes"],
            &again[..],
            &["shared/a/b.txt", "shared/c.txt", "src/other.rs", "up"],
        ];
        assert_eq!(tree.copied(), names.concat());
        let copy = tree.read(&tree.root, &[], true).parts[0].context.join(INSIDE);
        for file in ["LICENSE", "notes"] {
            assert!(copy.join(file).symlink_metadata().unwrap().is_file());
        }
        for link in ["dangling", "elsewhere", "shared/a/again/again", "src/other.rs", "up"] {
            assert!(copy.join(link).is_symlink(), "{link}");
        }
    }

    /// In a package of somebody else's, they may lead to what is the user's.
    #[test]
    fn links_in_what_was_downloaded_stay() {
        let tree = Tree::new(&["../notes"]);
        symlink("../notes", tree.root.join("notes")).unwrap();
        let homes = Homes { user: None, cargo: tree.around.join("w"), settings: vec![] };
        let mut reader = Reader::new(&tree.cache, homes);
        reader.copies = true;
        let sources = reader.sources(&tree.root, &tree.unit(), &[]).unwrap();
        assert!(sources.parts[0].context.join(INSIDE).join("notes").is_symlink());
    }

    #[test]
    fn what_cannot_be_given_is_no_error() {
        use std::os::unix::ffi::OsStrExt;
        let tree = Tree::new(&["a.txt"]);
        fs::write(tree.root.as_std_path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            tree.root.join("pipe").as_std_path(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(tree.copied(), ["a.txt"]);
    }
}
