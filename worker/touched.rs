//! What a task's processes were seen to touch, and what they wrote outside of their output folder,
//! as lines that client and worker agree on.

use super::lines::{Fields, field, unescaped};

/// What a task's processes touched, but for what is the image's or the worker's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// The name of the program that did it, where one is known.
    pub by: String,
    pub how: How,
    /// A path, a name or an address. A path that begins with `~` is in the home folder.
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// It asked whether there is something at a path, and what.
    Ask,
    /// It opened a file to read it, there or not.
    Read,
    /// It listed a folder.
    List,
    /// It opened a file to write to it; or made, moved or removed what is at a path.
    Write,
    /// It tried to, where it may not.
    Refuse,
    /// It made a link that leads to a path, by which it may read all that is there.
    Link,
    /// It started a program.
    Run,
    /// It looked for a program by a name that no folder of its `PATH` has.
    Lack,
    /// Its own code asked for a variable, set or not.
    Variable,
    /// A program or library of the image asked for a variable.
    ToolVariable,
    /// It spoke to an address, or tried to.
    Connect,
    /// It asked for the address of a host.
    Host,
    /// It asked for the time, by its own code or the image's `date`: the program or library.
    Clock,
    /// It did something that could not be seen, in words.
    Unseen,
}

impl How {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Ask, "ask"),
        (Self::Read, "read"),
        (Self::List, "list"),
        (Self::Write, "write"),
        (Self::Refuse, "refuse"),
        (Self::Link, "link"),
        (Self::Run, "run"),
        (Self::Lack, "lack"),
        (Self::Variable, "variable"),
        (Self::ToolVariable, "tool-variable"),
        (Self::Connect, "connect"),
        (Self::Host, "host"),
        (Self::Clock, "clock"),
        (Self::Unseen, "unseen"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(how, _)| *how == self).map_or("", |(_, name)| name)
    }
}

/// Before what a program touched: its name.
const BY: &str = "by";

/// What was touched, a line each.
pub fn touches(text: &str) -> impl Iterator<Item = Touch> + '_ {
    let mut by = String::new();
    text.lines().filter_map(move |line| {
        let (name, what) = line.split_once(' ')?;
        if name == BY {
            by = unescaped(what);
            return None;
        }
        let (how, _) = How::ALL.iter().find(|(_, known)| *known == name)?;
        Some(Touch { by: by.clone(), how: *how, what: unescaped(what) })
    })
}

/// What [`touches`] reads.
pub fn encode_touches<'a>(touches: impl Iterator<Item = &'a Touch>) -> String {
    let (mut text, mut last) = (String::new(), "");
    for Touch { by, how, what } in touches {
        if by != last {
            field(&mut text, BY, by);
            last = by;
        }
        field(&mut text, how.name(), what);
    }
    text
}

/// What is at a path that a task wrote to, outside of its output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub path: String,
    pub what: FileState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    File {
        mode: u32,
    },
    /// And where it leads.
    Link(String),
    /// A new folder.
    Folder,
    /// Nothing, where something was.
    Nothing,
}

/// What was written, in an order in which folders come before what is in them. A file's content is
/// called by its place in the list.
pub fn written(text: &str) -> Result<Vec<Written>, String> {
    let mut fields = Fields::of(text);
    let mut all = Vec::new();
    while !fields.is_at_end() {
        let path = fields.value("path")?;
        let what = match fields.value("what")?.as_str() {
            "file" => FileState::File { mode: fields.number("mode")? as u32 },
            "link" => FileState::Link(fields.value("target")?),
            "folder" => FileState::Folder,
            "nothing" => FileState::Nothing,
            other => return Err(format!("`{other}` is nothing that can be at a path")),
        };
        all.push(Written { path, what });
    }
    Ok(all)
}

/// What [`written`] reads.
pub fn encode_written(all: &[Written]) -> String {
    let mut text = String::new();
    for Written { path, what } in all {
        field(&mut text, "path", path);
        let name = match what {
            FileState::File { .. } => "file",
            FileState::Link(_) => "link",
            FileState::Folder => "folder",
            FileState::Nothing => "nothing",
        };
        field(&mut text, "what", name);
        match what {
            FileState::File { mode } => field(&mut text, "mode", &mode.to_string()),
            FileState::Link(target) => field(&mut text, "target", target),
            FileState::Folder | FileState::Nothing => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back() {
        let written_at = |path: &str, what| Written { path: path.to_owned(), what };
        let all = vec![
            written_at("/a\nb", FileState::Folder),
            written_at("/a\nb/c", FileState::File { mode: 0o755 }),
            written_at("/d", FileState::Link("../e".to_owned())),
            written_at("/f", FileState::Nothing),
        ];
        let text = encode_written(&all);
        assert_eq!(written(&text).unwrap(), all);
        assert!(written(&text[..text.len() - 8]).is_err());
        assert_eq!(written("").unwrap(), []);
    }

    #[test]
    fn what_was_touched_comes_back() {
        let touch = |by: &str, how, what: String| Touch { by: by.to_owned(), how, what };
        let all = ["", "c c", "rustc"].iter().flat_map(|by| {
            How::ALL.iter().map(move |(how, name)| touch(by, *how, format!("/a b\n{name}")))
        });
        let all: Vec<Touch> = all.collect();
        let text = encode_touches(all.iter());
        assert_eq!(touches(&text).collect::<Vec<_>>(), all);
        assert_eq!(text.lines().count(), all.len() + 2);
    }
}
