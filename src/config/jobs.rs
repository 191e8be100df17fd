//! How many processes a command may run at once: `-j`.

use std::thread;

use crate::config::env::Env;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// One on each processor of the machine that runs them.
    All,
    AtMost(usize),
}

impl Jobs {
    /// What options of cargo, or the environment, ask for; `None` if neither does.
    ///
    /// Source: the cargo book, "Build options"; a negative number is that many less than there are
    /// processors here.
    pub fn asked(options: &[String], env: &Env) -> Option<Self> {
        let mut asked = None;
        for (at, word) in options.iter().enumerate() {
            let value = match word.as_str() {
                "-j" | "--jobs" => options.get(at + 1).map(String::as_str),
                word => word.strip_prefix("--jobs=").or_else(|| word.strip_prefix("-j")),
            };
            asked = value.or(asked);
        }
        match asked.or(env.get("CARGO_BUILD_JOBS"))? {
            "default" => Some(Self::All),
            number => match number.parse::<isize>().ok()? {
                0 => None,
                less @ ..0 => {
                    Some(Self::AtMost(processors().saturating_sub(less.unsigned_abs()).max(1)))
                }
                number => Some(Self::AtMost(number.unsigned_abs())),
            },
        }
    }

    /// What cargo tells its build scripts: the number of processors here is what nobody asked for.
    pub fn from_num_jobs(number: &str) -> Self {
        match number.parse() {
            Ok(number) if number > 0 && number != processors() => Self::AtMost(number),
            _ => Self::All,
        }
    }

    /// For those who need a number, on a machine with so many processors.
    pub fn number(self, processors: usize) -> usize {
        match self {
            Self::All => processors,
            Self::AtMost(number) => number,
        }
    }
}

/// Those of this machine.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(line: &str, env: &[(&str, &str)], expected: Option<Jobs>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(Jobs::asked(&words, &Env::with(env)), expected);
    }

    #[test]
    fn options_come_before_the_environment() {
        let env = &[("CARGO_BUILD_JOBS", "7")];
        for line in [
            "build -j 3",
            "build -j3",
            "build --jobs=3",
            "build --jobs 3 --release",
            "build -j 9 -j 3",
        ] {
            case(line, env, Some(Jobs::AtMost(3)));
        }
        case("build", env, Some(Jobs::AtMost(7)));
        case("build -j default", env, Some(Jobs::All));
        case("build -j -100000", &[], Some(Jobs::AtMost(1)));
        case("build -j x", &[], None);
    }

    #[test]
    fn the_usual_number_is_no_bound() {
        assert_eq!(Jobs::from_num_jobs(&processors().to_string()), Jobs::All);
        assert_eq!(Jobs::from_num_jobs("1000"), Jobs::AtMost(1000));
    }
}
