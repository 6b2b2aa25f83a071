//! The first `kernlab.toml` of a repository.

use super::manifest::{LONGEST_NAME, is_of_names};

/// What a suite runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tracer that is compiled from C, and prints events.
    C,
    /// A script of bpftrace.
    Bpftrace,
    /// A compiled BPF object, of which only loading matters.
    Object,
    /// A command that tests itself.
    Command,
}

impl Kind {
    /// All kinds, with the names that they have on the command line.
    pub const ALL: [(&'static str, Kind); 4] = [
        ("c", Kind::C),
        ("bpftrace", Kind::Bpftrace),
        ("object", Kind::Object),
        ("command", Kind::Command),
    ];
}

/// The text of a `kernlab.toml` with one suite, and comments on what to change. Characters that a
/// suite's name can't have become `-`.
pub fn starter(name: &str, kind: Kind) -> String {
    let allowed = name.trim_start_matches('.').chars().take(LONGEST_NAME);
    let name: String = allowed.map(|c| if is_of_names(c) { c } else { '-' }).collect();
    let name = if name.is_empty() { "tracer".to_owned() } else { name };
    let text = match kind {
        Kind::C => include_str!("init/c.toml"),
        Kind::Bpftrace => include_str!("init/bpftrace.toml"),
        Kind::Object => include_str!("init/object.toml"),
        Kind::Command => include_str!("init/command.toml"),
    };
    format!("{}{}", include_str!("init/head.toml"), text).replace("NAME", &name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;
    use crate::suite::manifest::{Project, Subject};

    #[rstest]
    #[case(Kind::C)]
    #[case(Kind::Bpftrace)]
    #[case(Kind::Object)]
    #[case(Kind::Command)]
    fn what_init_writes_can_be_read(#[case] kind: Kind) {
        let text = starter("my tool", kind);
        let project = Project::parse(Path::new("kernlab.toml"), &text).unwrap();
        assert_eq!(project.kernels, ["default"]);
        assert_eq!(project.suites.len(), 1);
        assert_eq!(project.suites[0].name, "my-tool");
        match (kind, &project.suites[0].subject) {
            (Kind::C | Kind::Command, Subject::Run(_))
            | (Kind::Bpftrace, Subject::Bpftrace(_))
            | (Kind::Object, Subject::Object(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::hidden(".tool", "tool")]
    #[case::up("..", "tracer")]
    #[case::nothing("", "tracer")]
    #[case::long(&"a".repeat(300), &"a".repeat(100))]
    #[case::other_letters("ä/b", "--b")]
    fn any_directory_gives_a_name(#[case] directory: &str, #[case] expected: &str) {
        let text = starter(directory, Kind::Command);
        let project = Project::parse(Path::new("kernlab.toml"), &text).unwrap();
        assert_eq!(project.suites[0].name, expected);
    }

    /// What is commented out is an example, and must be right as well.
    #[rstest]
    #[case(Kind::C)]
    #[case(Kind::Bpftrace)]
    #[case(Kind::Object)]
    #[case(Kind::Command)]
    fn what_is_commented_out_can_be_used(#[case] kind: Kind) {
        let text: Vec<String> = starter("", kind)
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned())
            .collect();
        Project::parse(Path::new("kernlab.toml"), &text.join("\n")).unwrap();
    }
}
