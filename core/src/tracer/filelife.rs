//! `filelife`: files that are created and unlinked, with the time between.

use kernlab_abi::{EventHeader, FileLifeEvent, ProgramConfig};

use super::definition::{
    Definition, EventType, LayoutField, RawEvent, Wants, burst, lay_out, listed, names,
};
use crate::{
    attach::{AttachPoint, kprobe, kretprobe},
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::{Action, escape},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "filelife",
    scenarios: &[
        listed("create_unlink", "files that are created and unlinked, each with its lifetime"),
        listed("failed_unlink", "unlinks that the kernel refuses: no event, and the file lives on"),
        listed("open_creat", "every way in which open(2) may create a file"),
        listed("mknod", "mknod(2), which creates files and other things"),
        listed("two_at_once", "two threads inside of unlink(2) at the same time, after long lives"),
        burst("full_births", Burst::FULL_BIRTHS, "one more file that lives than there is room for"),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more unlink whose end the kernel doesn't show than there is room for",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "an unlink whose end the kernel doesn't show: it is counted as lost",
        ),
    ],
    wants,
    attach,
    event: EventType::of::<FileLifeEvent>(),
};

/// Asked before any file is created, whether by open(2) or mknod(2): security/security.c. Its second
/// parameter is the dentry on every release.
const PERMISSION: &str = "security_inode_create";
/// Called by open(2) once the file is there, with a mark if that was new: fs/open.c.
const OPEN: &str = "vfs_open";
/// Called by mknod(2) and not by open(2): fs/namei.c.
const CREATE: &str = "vfs_create";

/// What tells of the creation of a file.
const BIRTHS: [&str; 3] = [PERMISSION, OPEN, CREATE];

/// What ends the name of a file.
const END: &str = "vfs_unlink";

/// A function that came with `FMODE_CREATED`: in the series that also taught `struct file` to
/// remember how it was opened (4.19, commits 73a09dd94377 and 183266f26905). The mark itself is a
/// constant that no table of the kernel lists. RHEL 8 has neither.
const CREATED_SINCE: &str = "alloc_file_clone";

/// What stops a thread until user space has given it a page: fs/userfaultfd.c. By that, workloads hold
/// threads inside of unlink(2).
const HOLDS_THREADS: &str = "handle_userfault";

/// What an open file tells of its name.
const OPEN_FIELDS: [LayoutField; 2] = [
    ("file", "f_mode", |layout| &mut layout.file_f_mode),
    ("path", "dentry", |layout| &mut layout.path_dentry),
];

/// Tells a file from its directory, where the program has to find out which argument is which.
const MODE_FIELDS: [LayoutField; 1] = [("inode", "i_mode", |layout| &mut layout.inode_i_mode)];

/// Tells a dentry from anything else, where the program has to find out which argument is one.
const DENTRY_FIELDS: [LayoutField; 2] = [
    ("dentry", "d_parent", |layout| &mut layout.dentry_d_parent),
    ("dentry", "d_inode", |layout| &mut layout.dentry_d_inode),
];

const NAME_FIELDS: [LayoutField; 2] = [
    ("dentry", "d_name", |layout| &mut layout.dentry_d_name),
    ("qstr", "name", |layout| &mut layout.qstr_name),
];

fn wants() -> Wants {
    let fields: [&[LayoutField]; 4] = [&OPEN_FIELDS, &MODE_FIELDS, &DENTRY_FIELDS, &NAME_FIELDS];
    Wants {
        functions: [&BIRTHS[..], &[END]].concat(),
        symbols: vec![CREATED_SINCE, HOLDS_THREADS],
        fields: fields.into_iter().flat_map(names).collect(),
        ..Wants::default()
    }
}

fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let holds_threads = matches!(scenario.name, "two_at_once" | "full_pending" | "unseen_end");
    if holds_threads && !facts.has_symbol(HOLDS_THREADS) {
        let message = "the workload has no userfaultfd(2) to hold threads with: CONFIG_USERFAULTFD";
        return Err(Unsupported::new(Reason::MissingConfig, message));
    }
    let births = births(scenario, facts)?;
    require(facts, END, "it is part of every kernel")?;
    config.unlink_dentry_argument = dentry_argument(END, facts)?;
    let mut told = config.unlink_dentry_argument != 0;
    let mut attach = Vec::new();
    for (program, function) in births {
        match function {
            OPEN => lay_out(&OPEN_FIELDS, facts, &mut config.layout)?,
            CREATE => {
                config.create_dentry_argument = dentry_argument(CREATE, facts)?;
                if config.create_dentry_argument == 0 {
                    lay_out(&MODE_FIELDS, facts, &mut config.layout)?;
                    told = false;
                }
            }
            permission => expect_second(permission, facts)?,
        }
        attach.push(kprobe(program, function));
    }
    if !told {
        lay_out(&DENTRY_FIELDS, facts, &mut config.layout)?;
    }
    lay_out(&NAME_FIELDS, facts, &mut config.layout)?;
    attach.extend([kprobe("unlink_enter", END), kretprobe("unlink_exit", END)]);
    Ok(attach)
}

/// A program that hears of births, and the function that tells it.
type Birth = (&'static str, &'static str);

/// What to listen to, so that no file is missed, and none that there is no room for is counted twice. The
/// kernel also asks for permission to create a file that turns out to be there, so [`PERMISSION`] is only
/// listened to where open(2) doesn't tell. Some scenarios are there to prove one alone, which would not be
/// noticed beside the others.
fn births(scenario: &Scenario, facts: &KernelFacts) -> Result<Vec<Birth>, Unsupported> {
    let open_tells = facts.has_symbol(OPEN) && facts.has_symbol(CREATED_SINCE);
    let has = |(_, function): &Birth| facts.has_symbol(function);
    let (opened, created) = (("open_created", OPEN), ("create_enter", CREATE));
    let allowed = ("create_allowed", PERMISSION);
    match scenario.name {
        "mknod" => {
            require(facts, CREATE, "it is part of every kernel")?;
            Ok(vec![created])
        }
        "open_creat" if open_tells => Ok(vec![opened]),
        "failed_unlink" if has(&allowed) => Ok(vec![allowed]),
        _ if open_tells => Ok([opened, created].into_iter().filter(has).collect()),
        _ => {
            require(facts, PERMISSION, "CONFIG_SECURITY")?;
            Ok(vec![allowed])
        }
    }
}

fn require(facts: &KernelFacts, function: &str, needs: &str) -> Result<(), Unsupported> {
    if facts.has_symbol(function) {
        return Ok(());
    }
    Err(Unsupported::new(Reason::MissingSymbol, format!("the kernel has no {function}: {needs}")))
}

/// The number of the dentry among the arguments, or 0 where BTF doesn't describe the function. The
/// program then finds out on every call: see `dentry_argument` in filelife.bpf.c.
fn dentry_argument(function: &str, facts: &KernelFacts) -> Result<u32, Unsupported> {
    let Some(prototype) = facts.described(function) else {
        return Ok(0);
    };
    match prototype.position(&["dentry"]) {
        Some((number, dentry)) if dentry.type_name == "struct dentry *" => Ok(number),
        _ => Err(Unsupported::new(
            Reason::SignatureChanged,
            format!("{function} has no parameter dentry: {prototype}"),
        )),
    }
}

fn expect_second(function: &str, facts: &KernelFacts) -> Result<(), Unsupported> {
    match dentry_argument(function, facts)? {
        0 | 2 => Ok(()),
        number => Err(Unsupported::new(
            Reason::SignatureChanged,
            format!("{function} has its dentry as parameter {number}, not 2"),
        )),
    }
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for FileLifeEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        Ok(Action::Unlinked { name: escape(&self.name), lifetime: self.lifetime })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        btf::{Btf, sample::Builder},
        plan::{
            plan,
            tests::{facts, scenario},
        },
    };

    /// include/linux/fs.h of the releases that changed it.
    const DIR_FIRST: &[(&str, &str)] = &[("struct inode *", "dir"), ("struct dentry *", "dentry")];
    const DIR_SECOND: &[(&str, &str)] = &[
        ("struct mnt_idmap *", "idmap"),
        ("struct inode *", "dir"),
        ("struct dentry *", "dentry"),
    ];
    const NO_DIR: &[(&str, &str)] =
        &[("struct mnt_idmap *", "idmap"), ("struct dentry *", "dentry"), ("umode_t", "mode")];

    fn file_facts(
        symbols: &[&str],
        create: &[(&str, &str)],
        unlink: &[(&str, &str)],
    ) -> KernelFacts {
        permission_facts(symbols, DIR_FIRST, create, unlink)
    }

    fn permission_facts(
        symbols: &[&str],
        permission: &[(&str, &str)],
        create: &[(&str, &str)],
        unlink: &[(&str, &str)],
    ) -> KernelFacts {
        let mut builder = Builder::new();
        builder.structure("file", &[("f_mode", 4)]);
        builder.structure("path", &[("dentry", 8)]);
        builder.structure("dentry", &[("d_name", 32)]);
        builder.structure("qstr", &[("name", 8)]);
        builder.function("security_inode_create", permission);
        builder.function("vfs_create", create);
        builder.function("vfs_unlink", unlink);
        facts(symbols, Some(Btf::parse(builder.build()).unwrap()))
    }

    const FROM_4_19: &[&str] =
        &["security_inode_create", "vfs_open", "vfs_create", "vfs_unlink", "alloc_file_clone"];
    /// Without the mark of a file that opening created.
    const UP_TO_4_18: &[&str] = &["security_inode_create", "vfs_open", "vfs_create", "vfs_unlink"];
    /// CONFIG_SECURITY=n
    const WITHOUT_SECURITY: &[&str] = &["vfs_open", "vfs_create", "vfs_unlink", "alloc_file_clone"];

    #[rstest]
    #[case::up_to_5_11(DIR_FIRST, DIR_FIRST, 2, 2)]
    #[case::up_to_6_18(DIR_SECOND, DIR_SECOND, 3, 3)]
    #[case::from_6_19(NO_DIR, DIR_SECOND, 2, 3)]
    fn dentries_are_where_the_prototypes_have_them(
        #[case] create: &[(&str, &str)],
        #[case] unlink: &[(&str, &str)],
        #[case] created: u32,
        #[case] unlinked: u32,
    ) {
        let facts = file_facts(FROM_4_19, create, unlink);
        let config = plan(scenario("filelife/create_unlink"), &facts).unwrap().config;
        assert_eq!(
            (config.create_dentry_argument, config.unlink_dentry_argument),
            (created, unlinked)
        );
    }

    #[rstest]
    #[case::all(
        "filelife/create_unlink",
        FROM_4_19,
        &["open_created", "create_enter"]
    )]
    #[case::proves_open("filelife/open_creat", FROM_4_19, &["open_created"])]
    #[case::open_tells_nothing("filelife/open_creat", UP_TO_4_18, &["create_allowed"])]
    #[case::proves_permission("filelife/failed_unlink", FROM_4_19, &["create_allowed"])]
    #[case::proves_create("filelife/mknod", UP_TO_4_18, &["create_enter"])]
    #[case::no_security("filelife/create_unlink", WITHOUT_SECURITY, &["open_created", "create_enter"])]
    fn a_birth_is_heard_of_wherever_it_is_told(
        #[case] id: &str,
        #[case] symbols: &[&str],
        #[case] births: &[&str],
    ) {
        let plan = plan(scenario(id), &file_facts(symbols, NO_DIR, DIR_SECOND)).unwrap();
        let programs: Vec<_> = plan.attach.iter().map(|point| point.program.as_str()).collect();
        assert_eq!(programs, [births, &["unlink_enter", "unlink_exit"]].concat());
    }

    #[test]
    fn a_permission_that_is_asked_otherwise_is_not_listened_to() {
        let facts = permission_facts(UP_TO_4_18, DIR_SECOND, NO_DIR, DIR_SECOND);
        let refused = plan(scenario("filelife/create_unlink"), &facts).unwrap_err();
        assert_eq!(refused.reason, Reason::SignatureChanged);
    }

    #[rstest]
    #[case::open_tells_nothing(&["vfs_open", "vfs_create", "vfs_unlink"], "security_inode_create")]
    #[case::no_end(&["security_inode_create"], "vfs_unlink")]
    fn a_file_whose_birth_or_end_would_be_missed_is_not_traced(
        #[case] symbols: &[&str],
        #[case] missing: &str,
    ) {
        let facts = file_facts(symbols, NO_DIR, DIR_SECOND);
        let refused = plan(scenario("filelife/create_unlink"), &facts).unwrap_err();
        assert_eq!(refused.reason, Reason::MissingSymbol);
        assert!(refused.to_string().contains(missing), "{refused}");
    }

    #[rstest]
    #[case::holds("filelife/two_at_once", &["handle_userfault"], Ok(()))]
    #[case::does_not_hold("filelife/two_at_once", &[], Err(Reason::MissingConfig))]
    #[case::need_not("filelife/create_unlink", &[], Ok(()))]
    fn threads_are_held_inside_if_the_kernel_can(
        #[case] id: &str,
        #[case] symbols: &[&str],
        #[case] expected: Result<(), Reason>,
    ) {
        let facts = file_facts(&[FROM_4_19, symbols].concat(), NO_DIR, DIR_SECOND);
        let planned = plan(scenario(id), &facts);
        assert_eq!(planned.map(drop).map_err(|refused| refused.reason), expected);
    }

    #[test]
    fn a_function_without_a_dentry_is_refused() {
        let facts = file_facts(FROM_4_19, &[("struct path *", "path")], DIR_SECOND);
        let refused = plan(scenario("filelife/mknod"), &facts).unwrap_err();
        assert_eq!(refused.reason, Reason::SignatureChanged);
        assert_eq!(refused.to_string(), "vfs_create has no parameter dentry: (struct path *path)");
    }
}
