//! What changed between two kernels, whether or not a tracer cares.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::renames::{self, Renamed};
use crate::{btf::Listing, dossier::Offered};

/// Everything that a kernel is compared by.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// What its BTF describes, if it has any.
    pub types: Option<Listing>,
    /// The names of its functions.
    pub function_names: BTreeSet<String>,
    /// What it offers to BPF programs.
    pub offered: Offered,
}

/// Every change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WholeDifference {
    /// Functions that are no longer in the symbol table.
    pub functions_gone: Vec<String>,
    /// Functions that were not in it.
    pub functions_new: Vec<String>,
    /// Functions that likely only have another name. They are among those that are gone and new.
    pub renamed: Vec<Renamed>,
    /// Functions that both have and that are declared otherwise.
    pub functions: BTreeMap<String, Lines>,
    /// Structures and unions that are no longer there.
    pub structures_gone: Vec<String>,
    /// Structures and unions that were not there.
    pub structures_new: Vec<String>,
    /// Structures and unions that both have, and that differ.
    pub structures: BTreeMap<String, Lines>,
    /// Tracepoints that are no longer there: `sched:sched_switch`.
    pub tracepoints_gone: Vec<String>,
    /// Tracepoints that were not there.
    pub tracepoints_new: Vec<String>,
}

/// Lines that came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Only in the old kernel.
    pub old: Vec<String>,
    /// Only in the new one.
    pub new: Vec<String>,
}

impl WholeDifference {
    /// Compares two kernels; their types only if both have BTF.
    pub fn between(old: &Whole, new: &Whole) -> Self {
        let only = |ours: &BTreeSet<String>, theirs: &BTreeSet<String>| {
            ours.difference(theirs).cloned().collect()
        };
        let mut difference = WholeDifference {
            functions_gone: only(&old.function_names, &new.function_names),
            functions_new: only(&new.function_names, &old.function_names),
            tracepoints_gone: only(&old.offered.tracepoints, &new.offered.tracepoints),
            tracepoints_new: only(&new.offered.tracepoints, &old.offered.tracepoints),
            ..WholeDifference::default()
        };
        difference.renamed =
            renames::likely(old, new, &difference.functions_gone, &difference.functions_new);
        let (Some(old), Some(new)) = (&old.types, &new.types) else { return difference };
        difference.functions = changed(&old.functions, &new.functions, |all| all.iter().collect());
        difference.structures =
            changed(&old.structures, &new.structures, |all| all.iter().flatten().collect());
        let missing = |ours: &BTreeMap<String, _>, theirs: &BTreeMap<String, _>| {
            ours.keys().filter(|name| !theirs.contains_key(*name)).cloned().collect()
        };
        difference.structures_gone = missing(&old.structures, &new.structures);
        difference.structures_new = missing(&new.structures, &old.structures);
        difference
    }

    /// What concerns these names: of functions, structures, or tracepoints with or without category.
    #[must_use]
    pub fn named(mut self, is_meant: impl Fn(&str) -> bool) -> Self {
        for names in [
            &mut self.functions_gone,
            &mut self.functions_new,
            &mut self.structures_gone,
            &mut self.structures_new,
        ] {
            names.retain(|name| is_meant(name));
        }
        for names in [&mut self.tracepoints_gone, &mut self.tracepoints_new] {
            names.retain(|name| {
                is_meant(name) || name.split_once(':').is_some_and(|(_, name)| is_meant(name))
            });
        }
        self.renamed.retain(|renamed| is_meant(&renamed.old) || is_meant(&renamed.new));
        self.functions.retain(|name, _| is_meant(name));
        self.structures.retain(|name, _| is_meant(name));
        self
    }
}

/// What has a name in both and isn't the same.
fn changed<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    lines: impl Fn(&T) -> Vec<&String>,
) -> BTreeMap<String, Lines> {
    let only = |ours: &T, theirs: &T| -> Vec<String> {
        let theirs: BTreeSet<_> = lines(theirs).into_iter().collect();
        lines(ours).into_iter().filter(|line| !theirs.contains(line)).cloned().collect()
    };
    old.iter()
        .filter_map(|(name, old)| {
            let new = new.get(name).filter(|new| *new != old)?;
            Some((name.clone(), Lines { old: only(old, new), new: only(new, old) }))
        })
        // The same lines in another order: several structures of one name.
        .filter(|(_, lines)| *lines != Lines::default())
        .collect()
}

impl fmt::Display for WholeDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("functions that are gone", &self.functions_gone),
            ("functions that are new", &self.functions_new),
            ("structures that are gone", &self.structures_gone),
            ("structures that are new", &self.structures_new),
        ];
        for (title, names) in lists {
            writeln!(f, "{title}: {}", names.len())?;
            for name in names {
                writeln!(f, "  {name}")?;
            }
        }
        if !self.renamed.is_empty() {
            writeln!(f, "functions that are likely renamed: {}", self.renamed.len())?;
        }
        for Renamed { old, new, declaration, same_prototype } in &self.renamed {
            writeln!(f, "  {old} -> {new}")?;
            let prototype = match same_prototype {
                Some(true) => "same prototype",
                Some(false) => "another prototype",
                None => continue,
            };
            let declaration = declaration.as_deref().unwrap_or_default();
            writeln!(f, "    {prototype}: {declaration}")?;
        }
        let tracepoints = [
            ("tracepoints that are gone", &self.tracepoints_gone),
            ("tracepoints that are new", &self.tracepoints_new),
        ];
        for (title, names) in tracepoints.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "{title}: {}", names.len())?;
            for name in names {
                writeln!(f, "  {name}")?;
            }
        }
        let changes = [
            ("functions with another prototype", &self.functions),
            ("structures with other fields", &self.structures),
        ];
        for (title, changes) in changes {
            writeln!(f, "{title}: {}", changes.len())?;
            for (name, Lines { old, new }) in changes {
                writeln!(f, "  {name}")?;
                for line in old {
                    writeln!(f, "    - {line}")?;
                }
                for line in new {
                    writeln!(f, "    + {line}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{Btf, sample::Builder};

    fn whole(build: impl FnOnce(&mut Builder), symbols: &[&str]) -> Whole {
        let mut builder = Builder::new();
        build(&mut builder);
        let types = Some(Btf::parse(builder.build()).unwrap().listing());
        let function_names = symbols.iter().map(ToString::to_string).collect();
        Whole { types, function_names, ..Whole::default() }
    }

    #[test]
    fn everything_that_changed_is_told() {
        let old = whole(
            |builder| {
                builder.structure("file", &[("f_op", 40), ("f_mode", 68)]);
                builder.structure("gone", &[("x", 0)]);
                builder.function("open", &[("struct file *", "file")]);
                builder.function("same", &[]);
            },
            &["open", "same", "old"],
        );
        let new = whole(
            |builder| {
                builder.structure("file", &[("f_op", 16), ("f_mode", 68)]);
                builder.function("open", &[("struct path *", "path"), ("struct file *", "file")]);
                builder.function("same", &[]);
            },
            &["open", "same", "new"],
        );
        assert_eq!(
            WholeDifference::between(&old, &new).to_string(),
            "functions that are gone: 1\n  old\n\
             functions that are new: 1\n  new\n\
             structures that are gone: 1\n  gone\n\
             structures that are new: 0\n\
             functions with another prototype: 1\n  open\n    \
             - void open(struct file *file)\n    \
             + void open(struct path *path, struct file *file)\n\
             structures with other fields: 1\n  file\n    \
             - 40 long f_op\n    + 16 long f_op\n"
        );
        assert_eq!(WholeDifference::between(&old, &old), WholeDifference::default());
    }

    #[test]
    fn a_name_selects_what_changed_under_it() {
        let tracepoints = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let mut old = whole(
            |builder| {
                builder.function("do_unlinkat", &[("int", "dfd")]);
                builder.structure("file", &[("f_op", 40)]);
            },
            &["do_unlinkat", "do_a", "do_b", "do_c", "do_d", "do_e"],
        );
        let mut new = whole(
            |builder| {
                builder.function("filename_unlinkat", &[("int", "dfd")]);
                builder.structure("file", &[("f_op", 16)]);
            },
            &["filename_unlinkat", "another"],
        );
        old.offered.tracepoints = tracepoints(&["fs:unlinkat", "sched:sched_switch"]);
        new.offered.tracepoints = tracepoints(&["fs:unlinked", "sched:sched_switch"]);
        let all = WholeDifference::between(&old, &new);
        let of = |name: &str| all.clone().named(|found| found == name).to_string();
        assert_eq!(
            of("do_unlinkat"),
            "functions that are gone: 1\n  do_unlinkat\nfunctions that are new: 0\n\
             structures that are gone: 0\nstructures that are new: 0\n\
             functions that are likely renamed: 1\n  do_unlinkat -> filename_unlinkat\n    \
             same prototype: void filename_unlinkat(int dfd)\n\
             functions with another prototype: 0\nstructures with other fields: 0\n"
        );
        assert!(of("unlinked").contains("tracepoints that are new: 1\n  fs:unlinked\n"));
        assert!(of("file").contains("structures with other fields: 1\n  file\n"));
        assert_eq!(all.named(|_| false), WholeDifference::default());
    }

    #[test]
    fn without_btf_only_names_are_compared() {
        let old = whole(|builder| builder.function("open", &[]), &["open"]);
        let new = Whole::default();
        let difference = WholeDifference::between(&old, &new);
        assert_eq!(difference.functions_gone, ["open"]);
        assert!(difference.functions.is_empty() && difference.structures_gone.is_empty());
    }
}
