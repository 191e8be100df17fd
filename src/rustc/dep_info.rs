//! What a unit says of what it read: rustc's dep-info file (`*.d`) and messages, a build script's
//! directives.
//!
//! Source: `rustc_interface::passes::write_out_deps`. Paths are make rules with spaces escaped; `#
//! env-dep:NAME` tells of a variable looked for and not found, `# env-dep:NAME=VALUE` of one read,
//! with newlines and backslashes of both escaped.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The names of the variables that were looked up, there or not.
pub fn variables(dep_info: &str) -> Vec<String> {
    entries(dep_info)
        .map(|entry| unescape(entry.split_once('=').map_or(entry, |(name, _)| name)))
        .collect()
}

/// The values of the variables that were read.
pub fn values(dep_info: &str) -> Vec<String> {
    entries(dep_info).filter_map(|entry| Some(unescape(entry.split_once('=')?.1))).collect()
}

/// Dep-info that tells of the variable `other` instead of those `names`, which were looked up and
/// not found.
pub fn instead(
    dep_info: &str,
    names: &BTreeSet<String>,
    other: &str,
    value: Option<&str>,
) -> String {
    let is_named = |line: &str| {
        line.strip_prefix("# env-dep:").is_some_and(|entry| names.contains(&unescape(entry)))
    };
    let mut text: String = dep_info
        .split_inclusive('\n')
        .filter(|line| !is_named(line.trim_end_matches('\n')))
        .collect();
    if text.len() < dep_info.len() {
        let value = value.map(|value| format!("={}", escape(value))).unwrap_or_default();
        text += &format!("# env-dep:{other}{value}\n");
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn entries(dep_info: &str) -> impl Iterator<Item = &str> {
    dep_info.lines().filter_map(|line| line.strip_prefix("# env-dep:"))
}

/// The name in rustc's complaint about each `env!` of a missing variable, in its rendered or JSON
/// form.
pub fn undefined_variables(diagnostics: &str) -> Vec<String> {
    let parts = diagnostics.split("environment variable `").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("` not defined at compile time")?.0.to_owned()))
        .collect()
}

/// The files that rustc or a macro of the standard library could not read, as it names them.
pub fn unreadable_files(diagnostics: &str) -> Vec<String> {
    let parts = diagnostics.split("couldn't read `").skip(1);
    parts.filter_map(|part| Some(part.split_once("`:")?.0.to_owned())).collect()
}

/// The files that rustc's JSON messages point into.
pub fn pointed_at(diagnostics: &str) -> Vec<String> {
    let parts = diagnostics.split("\"file_name\":").skip(1);
    parts
        .filter_map(|part| serde_json::Deserializer::from_str(part).into_iter().next()?.ok())
        .collect()
}

/// One of rustc's JSON messages.
#[derive(Deserialize)]
struct Message {
    message: String,
    level: String,
    code: Option<Code>,
    #[serde(default)]
    children: Vec<Message>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

/// The errors among diagnostics, and what is no JSON as it is.
fn errors_in(diagnostics: &str) -> impl Iterator<Item = Result<Message, &str>> {
    diagnostics.lines().filter_map(|line| match serde_json::from_str::<Message>(line) {
        Ok(message) => (message.level == "error").then_some(Ok(message)),
        // Such as that metadata is there.
        Err(_) if line.starts_with('{') => None,
        Err(_) => Some(line.trim()).filter(|line| !line.is_empty()).map(Err),
    })
}

/// The errors among diagnostics: the messages of JSON ones, and what is no JSON as it is.
pub fn errors(diagnostics: &str) -> Vec<String> {
    let text = |error: Result<Message, &str>| match error {
        Ok(Message { message, .. }) => message,
        Err(line) => line.to_owned(),
    };
    errors_in(diagnostics).map(text).collect()
}

/// Whether diagnostics have errors, and all of them are about the code itself: none is about a
/// file or a crate that could not be read.
pub fn are_about_code(diagnostics: &str) -> bool {
    // Source: the error index of rustc.
    const OF_FILES: &[&str] =
        &["E0460", "E0461", "E0462", "E0463", "E0464", "E0514", "E0519", "E0523", "E0583", "E0786"];
    // The number of errors is one, too.
    let is_number = |message: &Message| message.message.starts_with("aborting due to");
    let is_about_code = |error: Result<Message, &str>| {
        error.ok().and_then(|message| message.code).is_some_and(|Code { code }| {
            code.starts_with('E') && !OF_FILES.contains(&code.as_str())
        })
    };
    let mut errors =
        errors_in(diagnostics).filter(|error| !error.as_ref().is_ok_and(is_number)).peekable();
    errors.peek().is_some() && errors.all(is_about_code)
}

/// What macros themselves complain of in rustc's JSON messages: errors without a code, and what is
/// said along with them.
pub fn complaints_of_macros(diagnostics: &str) -> Vec<String> {
    let of_macro = errors_in(diagnostics).flatten().filter(|message| message.code.is_none());
    of_macro
        .flat_map(|Message { message, children, .. }| {
            std::iter::once(message).chain(children.into_iter().map(|child| child.message))
        })
        .collect()
}

/// The values of a directive that a build script gave to cargo: `cargo::NAME=VALUE`, with one colon
/// or two.
pub fn directives(stdout: &str, name: &str) -> Vec<String> {
    let directive = |line: &str| {
        let line = line.trim_start().strip_prefix("cargo:")?;
        line.strip_prefix(':')
            .unwrap_or(line)
            .strip_prefix(name)?
            .strip_prefix('=')
            .map(str::to_owned)
    };
    stdout.lines().filter_map(directive).collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_code_are_told_from_others() {
        let error = |code: &str| format!(r#"{{"message":"a","code":{code},"level":"error"}}"#);
        let coded = |code: &str| error(&format!(r#"{{"code":"{code}","explanation":null}}"#));
        let end = r#"{"message":"aborting due to 2 previous errors","code":null,"level":"error"}"#;
        let warning = r#"{"message":"b","code":null,"level":"warning"}"#;
        let case = |lines: &[&str]| are_about_code(&lines.join("\n"));
        let artifact = r#"{"$message_type":"artifact","artifact":"/t/a.rmeta","emit":"metadata"}"#;
        assert!(case(&[artifact, &coded("E0308"), warning, &coded("E0425"), end]));
        assert!(!case(&[warning, end]) && !case(&[]));
        assert!(!case(&[&coded("E0308"), &coded("E0463"), end]), "a crate is not found");
        assert!(!case(&[&coded("E0308"), &error("null"), end]), "a macro complains");
        assert!(!case(&[&coded("E0308"), "thread 'rustc' panicked"]));
    }

    #[test]
    fn variables_are_named_there_or_not() {
        let text =
            "t/x.d: src/lib.rs\n\nsrc/lib.rs:\n\n# env-dep:A=1=2\n# env-dep:B\n# env-dep:C\\\\D\n";
        assert_eq!(variables(text), ["A", "B", "C\\D"]);
        assert_eq!(values(text), ["1=2"]);
        assert!(variables("x: y\n# checksum:blake3=0 file_len:1 src/a.rs\n").is_empty());
    }

    #[test]
    fn one_variable_takes_the_place_of_others() {
        let text = "x: y\n\n# env-dep:A_KEY\n# env-dep:A_KEY=1\n# env-dep:B\n";
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        let rest = "x: y\n\n# env-dep:A_KEY=1\n# env-dep:B\n";
        assert_eq!(instead(text, &names("A_KEY"), "S", None), format!("{rest}# env-dep:S\n"));
        assert_eq!(
            instead(text, &names("A_KEY"), "S", Some("a\\\n")),
            format!("{rest}# env-dep:S=a\\\\\\n\n")
        );
        assert_eq!(instead(text, &names("C"), "S", None), text);
    }

    #[test]
    fn spans_name_their_files() {
        let text = r#"{"message":"x","spans":[{"file_name":"/a \"b\".rs","line":1},{"file_name":"src/c.rs"}]}"#;
        assert_eq!(pointed_at(text), ["/a \"b\".rs", "src/c.rs"]);
        assert!(pointed_at("\"file_name\": 1").is_empty());
    }

    #[test]
    fn errors_without_a_code_are_macros() {
        let error = |code: &str| {
            format!(
                r#"{{"message":"a","code":{code},"level":"error","children":[{{"message":"b","level":"help","code":null}}]}}"#
            )
        };
        assert_eq!(complaints_of_macros(&error("null")), ["a", "b"]);
        assert!(complaints_of_macros(&error(r#"{"code":"E0308","explanation":null}"#)).is_empty());
        assert!(complaints_of_macros("error: a\n{\"level\":1}").is_empty());
    }

    #[test]
    fn errors_are_told_from_the_rest() {
        let text = "{\"message\":\"a\",\"level\":\"error\"}\n{\"message\":\"b\",\"level\":\"warning\"}\n{\"artifact\":1}\n\n plain \n";
        assert_eq!(errors(text), ["a", "plain"]);
    }

    #[test]
    fn directives_have_one_colon_or_two() {
        let text = "cargo:rerun-if-env-changed=A\ncargo::rerun-if-env-changed=B\ncargo:rerun-if-changed=C\n";
        assert_eq!(directives(text, "rerun-if-env-changed"), ["A", "B"]);
        assert_eq!(directives(text, "rerun-if-changed"), ["C"]);
    }

    #[test]
    fn a_failed_env_names_its_variable() {
        let text =
            "error: environment variable `FOO` not defined at compile time\n --> src/main.rs";
        assert_eq!(undefined_variables(text), ["FOO"]);
        assert!(undefined_variables("error: expected `;`").is_empty());
    }
}
