//! A script that runs one cell again on any machine.

use super::{CellReport, Report, printable};

/// A POSIX shell script that runs the cell again, and says what was seen when it ran.
pub fn script(report: &Report, cell: &CellReport) -> String {
    let command = cell.repro_command();
    let release = match &cell.release {
        Some(release) => format!("{} ({release})", cell.kernel),
        None => cell.kernel.clone(),
    };
    let message = printable(&cell.message);
    let seen = format!(
        "kernel: {release}\nwhat was seen:\n  {}: {}\n{}what is seen here:\n",
        cell.id(),
        cell.verdict(),
        message.lines().map(|line| format!("  {line}\n")).collect::<String>(),
    );
    let program = command.split(' ').next().unwrap_or_default();
    let install = match program {
        "cargo" => "Rust is missing: run scripts/bootstrap in a checkout of kernlab",
        _ => "kernlab is missing: run cargo xtask install in a checkout of kernlab",
    };
    let (run, started, id) = (&report.run.id, &report.run.started, cell.id());
    let [run, started, id] = [run, started, &id].map(|text| printable(text).replace('\n', " "));
    let end = delimiter(&seen);
    format!(
        "\
#!/bin/sh
# Runs one cell of the run {run} of {started} again:
#   {id}
# Usage: sh SCRIPT [DIRECTORY]; the directory is that of the project, by default this one.
set -eu

if ! command -v {program} >/dev/null; then
    echo '{install}' >&2
    exit 3
fi
cd \"${{1:-.}}\"

cat >&2 <<'{end}'
{seen}{end}

# What is quoted is for the program.
# shellcheck disable=SC2016
exec {command}
"
    )
}

/// A word that no line of the text is.
fn delimiter(text: &str) -> String {
    let mut word = "END".to_owned();
    while text.lines().any(|line| line == word) {
        word.push('D');
    }
    word
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{super::sample, *};

    #[test]
    fn a_cell_of_a_suite() {
        let report = sample::suites();
        insta::assert_snapshot!(script(&report, &report.cells[0]));
    }

    /// Runs a script with a `kernlab` that prints its arguments and where it is.
    fn run(script: &str, has_program: bool) -> (Option<i32>, String, String) {
        use std::{fs, os::unix::fs::PermissionsExt as _};

        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir_all(bin.join("work")).unwrap();
        fs::write(dir.path().join("script"), script).unwrap();
        if has_program {
            let program = bin.join("kernlab");
            fs::write(&program, "#!/bin/sh\necho \"$# $*\"\npwd\nexit 7\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = Command::new("/bin/sh")
            .arg(dir.path().join("script"))
            .arg(bin.join("work"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[test]
    fn a_script_runs_the_cell_and_nothing_that_the_report_says() {
        let mut report = sample::suites();
        let cell = &mut report.cells[0];
        cell.message = "it's $(touch /tmp/x) `y` \"z\" \\\nEND".to_owned();
        cell.again = Some("kernlab test --kernel k -- sh -c 'echo $HOME'".to_owned());
        let script = script(&report, &report.cells[0]);
        let (code, stdout, stderr) = run(&script, true);
        assert_eq!(code, Some(7), "{stderr}");
        assert!(stdout.starts_with("7 test --kernel k -- sh -c echo $HOME\n"), "{stdout}");
        assert!(stdout.ends_with("/bin/work\n"), "{stdout}");
        assert!(stderr.contains("  it's $(touch /tmp/x) `y` \"z\" \\\n  END\n"), "{stderr}");
        let (code, _, stderr) = run(&script, false);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains("kernlab is missing"), "{stderr}");
    }
}
