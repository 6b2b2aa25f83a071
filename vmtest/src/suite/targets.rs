//! Where a tracer attaches, as far as its files and its command line tell: functions and tracepoints of
//! the kernel.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use kernlab_core::{
    needs::{embedded_objects, of_object},
    section::{Place, Section},
};
use regex::Regex;

/// The largest file that is looked into, in bytes.
const LARGEST: u64 = 32 << 20;
/// Beyond this, in bytes, a text is no script.
const LONGEST_TEXT: usize = 1 << 20;

/// The targets that files, and words of a command line, name.
pub(super) fn of<'a>(
    files: impl IntoIterator<Item = &'a Path>,
    words: &[String],
) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    for word in words {
        of_text(word, &mut targets);
    }
    for file in files {
        let is_small = fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
        // A file that can't be read any more has been packed before.
        let Some(bytes) = is_small.then(|| fs::read(file).ok()).flatten() else { continue };
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.len() <= LONGEST_TEXT => of_text(text, &mut targets),
            _ => of_objects(&bytes, &mut targets),
        }
    }
    targets
}

/// The probes of bpftrace, the calls of bcc, and sections in source text.
fn of_text(text: &str, targets: &mut BTreeSet<String>) {
    static PROBE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let kinds =
            "kprobe|kretprobe|k|kr|fentry|fexit|kfunc|kretfunc|f|fr|tracepoint|t|rawtracepoint|rt";
        Regex::new(&format!(r"(?m)(?:^|[\s,;'\x22])(?:{kinds}):([\w.]+(?::[\w.]+)?)")).ok()
    });
    static CALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"attach_k(?:ret)?probe\([^)]*\bevent\s*=\s*b?["'](\w+)["']"#).ok()
    });
    static SECTION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"SEC\("([^"]+)"\)"#).ok());
    let matches = |regex: &'static LazyLock<Option<Regex>>| {
        regex.iter().flat_map(|regex| regex.captures_iter(text)).map(|found| found[1].to_owned())
    };
    for found in matches(&PROBE) {
        // A module stands before a function, a category before a tracepoint.
        let name = found.rsplit(':').next().unwrap_or(&found).to_owned();
        targets.insert(name);
    }
    targets.extend(matches(&CALL));
    for section in matches(&SECTION) {
        of_section(&section, targets);
    }
}

fn of_objects(bytes: &[u8], targets: &mut BTreeSet<String>) {
    for (_, object) in embedded_objects(bytes) {
        let Ok(needs) = of_object(&object) else { continue };
        for program in needs.programs {
            of_section(&program.section, targets);
        }
    }
}

fn of_section(section: &str, targets: &mut BTreeSet<String>) {
    let Some(Section { place: Some(place), .. }) = Section::of(section) else { return };
    match &place {
        Place::Tracepoint { name, .. }
        | Place::RawTracepoint(name)
        | Place::BtfTracepoint(name)
        | Place::KprobeMulti(name) => drop(targets.insert(name.clone())),
        place => targets.extend(place.function().map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("kprobe:vfs_unlink /comm == \"x\"/ { printf(\"%s\", str(arg1)); }", &["vfs_unlink"])]
    #[case("BEGIN { } kr:do_it,\nt:sched:sched_switch { }", &["do_it", "sched_switch"])]
    #[case("kfunc:vmlinux:vfs_open { }", &["vfs_open"])]
    #[case("b.attach_kprobe(event=\"blk_start\", fn_name=\"trace\")", &["blk_start"])]
    #[case("SEC(\"fentry/do_unlinkat\")\nint BPF_PROG(f)", &["do_unlinkat"])]
    #[case("SEC(\"tp_btf/sys_enter\") SEC(\"license\")", &["sys_enter"])]
    #[case("echo ok: nothing; skip:this", &[])]
    fn texts_name_targets(#[case] text: &str, #[case] expected: &[&str]) {
        let mut targets = BTreeSet::new();
        of_text(text, &mut targets);
        assert_eq!(targets.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn scripts_are_read_and_what_is_gone_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("a.bt");
        fs::write(&script, "kprobe:one { }").unwrap();
        let words = ["bpftrace", "-e", "kprobe:two { }"].map(str::to_owned);
        let targets = of([script.as_path(), Path::new("/nonexistent")], &words);
        assert_eq!(targets, ["one", "two"].map(str::to_owned).into());
    }
}
