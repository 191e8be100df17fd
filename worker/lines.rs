//! Text of lines that each hold a name and a value, whatever is in the value.

use std::{fmt::Write, iter::Peekable, str::Lines};

/// A line: `name value`, the value without line ends.
pub fn field(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name} {}", escaped(value)).expect("a string takes all that is written to it");
}

/// A text on one line, which may come cut off or mixed with others: see [`on_one_line`].
pub fn one_line(text: &str) -> String {
    format!("{} {}", text.len(), escaped(text))
}

/// What [`one_line`] was made of; `None` if it did not come whole.
pub fn on_one_line(line: &str) -> Option<String> {
    let text = unescaped(line.split_once(' ')?.1);
    (one_line(&text) == line).then_some(text)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// Lines, read one after the other.
pub struct Fields<'a> {
    lines: Peekable<Lines<'a>>,
}

impl<'a> Fields<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { lines: text.lines().peekable() }
    }

    pub fn is_at_end(&mut self) -> bool {
        self.lines.peek().is_none()
    }

    /// The value of the next line, if that has this name.
    pub fn next_if(&mut self, name: &str) -> Option<String> {
        let value = self.lines.peek()?.strip_prefix(name)?.strip_prefix(' ')?;
        self.lines.next();
        Some(unescaped(value))
    }

    pub fn value(&mut self, name: &str) -> Result<String, String> {
        let found = self.lines.peek().copied().unwrap_or("the end").to_owned();
        self.next_if(name).ok_or_else(|| format!("`{name}` is missing before `{found}`"))
    }

    pub fn number(&mut self, name: &str) -> Result<usize, String> {
        let value = self.value(name)?;
        value.parse().map_err(|_| format!("`{value}` is no number of {name}"))
    }

    pub fn list(&mut self, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        while let Some(value) = self.next_if(name) {
            values.push(value);
        }
        values
    }

    pub fn pairs(&mut self, first: &str, second: &str) -> Result<Vec<(String, String)>, String> {
        let mut pairs = Vec::new();
        while let Some(value) = self.next_if(first) {
            pairs.push((value, self.value(second)?));
        }
        Ok(pairs)
    }
}

pub fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('r')) => text.push('\r'),
            ('\\', Some(other)) => text.push(other),
            (other, _) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_is_none() {
        let text = "cargo:a=\\n\r\nü\n";
        let line = one_line(text);
        assert!(!line.contains('\n') && !line.contains('\r'));
        assert_eq!(on_one_line(&line).as_deref(), Some(text));
        assert_eq!(on_one_line(&one_line("")).as_deref(), Some(""));
        for cut in (0..line.len()).filter(|at| line.is_char_boundary(*at)) {
            assert_eq!(on_one_line(&line[..cut]), None, "{cut}");
        }
    }
}
