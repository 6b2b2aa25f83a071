//! `inotify`: rename notifications with their cookie, on their way to an inotify descriptor.

use kernlab_abi::{
    EventHeader, InotifyEvent, NAME_IS_QSTR, NAME_IS_STRING, ProgramConfig, RENAME_MASK,
};

use super::definition::{
    Definition, EventType, LayoutField, RawEvent, Wants, lay_out, listed, names,
};
use crate::{
    attach::{AttachPoint, kprobe},
    btf::Prototype,
    decoder::{DecodeError, Decoder},
    event::{Action, RenameHalf, escape},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "inotify",
    scenarios: &[
        listed("rename_same_dir", "a rename within a watched directory"),
        listed("rename_cross_dir", "a rename from one watched directory to another"),
        listed("rename_exchange", "two names that are exchanged (RENAME_EXCHANGE)"),
        listed("long_name", "a name of 255 bytes"),
        listed("unwatched", "renames that nothing watches: no event"),
    ],
    wants,
    attach,
    event: EventType::of::<InotifyEvent>(),
};

/// `offsetof(struct qstr, name)`: a u64 of hash and length comes first on every release since
/// 3.9 (include/linux/dcache.h). Every kernel with BTF in the matrix checks it.
const QSTR_NAME: u32 = 8;

/// The functions that hand an event to an inotify group, newest first. Both are reached through a
/// pointer in `inotify_fsnotify_ops`, so neither is ever inlined.
///
/// `inotify_handle_inode_event` replaced the other in 5.11 (commit 1a2620a99803) and in 5.10.4.
const HANDLERS: [&str; 2] = ["inotify_handle_inode_event", "inotify_handle_event"];

const NAME: [LayoutField; 1] = [("qstr", "name", |layout| &mut layout.qstr_name)];

fn wants() -> Wants {
    Wants {
        functions: HANDLERS.to_vec(),
        searched: HANDLERS.to_vec(),
        fields: names(&NAME).collect(),
        ..Wants::default()
    }
}

fn attach(
    _: &Scenario,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let Some(handler) = HANDLERS.into_iter().find(|name| facts.has_symbol(name)) else {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has none of {}", HANDLERS.join(", ")),
        ));
    };
    let prototype = match &facts.btf {
        // One prototype in all releases that have it: fs/notify/inotify/inotify_fsnotify.c.
        None if handler == "inotify_handle_inode_event" => Prototype::known(&[
            ("struct fsnotify_mark *", "inode_mark"),
            ("u32", "mask"),
            ("struct inode *", "inode"),
            ("struct inode *", "dir"),
            ("const struct qstr *", "name"),
            ("u32", "cookie"),
        ]),
        // The other passes the name as a string up to 5.1 and as a qstr from 5.2 on, and its
        // arguments changed places in 5.9.
        _ => facts.prototype(handler)?,
    };
    let position = |names: &[&str]| {
        prototype.position(names).ok_or_else(|| {
            Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} has no parameter {}: {prototype}", names.join(" or ")),
            )
        })
    };
    let (name_argument, name) = position(&["name", "file_name"])?;
    config.mask_argument = position(&["mask"])?.0;
    config.cookie_argument = position(&["cookie"])?.0;
    config.name_argument = name_argument;
    config.name_kind = match name.type_name.as_str() {
        "const struct qstr *" => NAME_IS_QSTR,
        "const unsigned char *" => NAME_IS_STRING,
        other => {
            return Err(Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} passes the name as {other}: {prototype}"),
            ));
        }
    };
    match (&facts.btf, &facts.discovered) {
        // Not worth a search.
        (None, None) => config.layout.qstr_name = QSTR_NAME,
        _ => lay_out(&NAME, facts, &mut config.layout)?,
    }
    Ok(vec![kprobe("inotify_rename", handler)])
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for InotifyEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        // IN_MOVED_FROM, IN_MOVED_TO and IN_ISDIR: include/uapi/linux/inotify.h. Other bits are the
        // kernel's own and differ between releases.
        let half = match self.mask & RENAME_MASK {
            0x40 => RenameHalf::MovedFrom,
            0x80 => RenameHalf::MovedTo,
            _ => return Err(DecodeError::Mask(self.mask)),
        };
        Ok(Action::Rename {
            half,
            directory: self.mask & 0x4000_0000 != 0,
            cookie: self.cookie,
            name: escape(&self.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::tests::{decoded, header},
        *,
    };
    use crate::{
        btf::{Btf, sample::Builder},
        plan::{
            TypeSource, plan,
            tests::{btf, facts, scenario},
        },
    };

    /// fs/notify/inotify/inotify_fsnotify.c of the releases that changed it.
    const FROM_4_18: &[(&str, &str)] = &[
        ("struct fsnotify_group *", "group"),
        ("struct inode *", "inode"),
        ("u32", "mask"),
        ("const void *", "data"),
        ("int", "data_type"),
        ("const unsigned char *", "file_name"),
        ("u32", "cookie"),
        ("struct fsnotify_iter_info *", "iter_info"),
    ];
    const FROM_5_2: &[(&str, &str)] = &[
        ("struct fsnotify_group *", "group"),
        ("struct inode *", "inode"),
        ("u32", "mask"),
        ("const void *", "data"),
        ("int", "data_type"),
        ("const struct qstr *", "file_name"),
        ("u32", "cookie"),
        ("struct fsnotify_iter_info *", "iter_info"),
    ];
    const FROM_5_9: &[(&str, &str)] = &[
        ("struct fsnotify_group *", "group"),
        ("u32", "mask"),
        ("const void *", "data"),
        ("int", "data_type"),
        ("struct inode *", "dir"),
        ("const struct qstr *", "file_name"),
        ("u32", "cookie"),
        ("struct fsnotify_iter_info *", "iter_info"),
    ];
    const FROM_5_11: &[(&str, &str)] = &[
        ("struct fsnotify_mark *", "inode_mark"),
        ("u32", "mask"),
        ("struct inode *", "inode"),
        ("struct inode *", "dir"),
        ("const struct qstr *", "name"),
        ("u32", "cookie"),
    ];

    #[rstest]
    #[case::from_4_18("inotify_handle_event", FROM_4_18, 3, 6, NAME_IS_STRING, 7)]
    #[case::from_5_2("inotify_handle_event", FROM_5_2, 3, 6, NAME_IS_QSTR, 7)]
    #[case::from_5_9("inotify_handle_event", FROM_5_9, 2, 6, NAME_IS_QSTR, 7)]
    #[case::from_5_11("inotify_handle_inode_event", FROM_5_11, 2, 5, NAME_IS_QSTR, 6)]
    fn the_arguments_of_the_inotify_handler_come_from_its_prototype(
        #[case] handler: &str,
        #[case] parameters: &[(&str, &str)],
        #[case] mask: u32,
        #[case] name: u32,
        #[case] kind: u32,
        #[case] cookie: u32,
    ) {
        let facts = facts(&[handler], btf(handler, parameters));
        let plan = plan(scenario("inotify/unwatched"), &facts).unwrap();
        assert_eq!(plan.attach, [kprobe("inotify_rename", handler)]);
        let config = plan.config;
        assert_eq!(
            (config.mask_argument, config.name_argument, config.name_kind, config.cookie_argument),
            (mask, name, kind, cookie)
        );
        assert_eq!(plan.types, TypeSource::Core);
    }

    #[test]
    fn without_btf_only_an_unambiguous_handler_will_do() {
        let inotify = scenario("inotify/unwatched");
        let known = plan(inotify, &facts(&["inotify_handle_inode_event"], None)).unwrap();
        assert_eq!((known.config.cookie_argument, known.types), (6, TypeSource::Layout));
        let refused = plan(inotify, &facts(&["inotify_handle_event"], None)).unwrap_err();
        assert_eq!(refused.reason, Reason::LayoutNotFound);
        let refused = plan(inotify, &facts(&[], None)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the kernel has none of inotify_handle_inode_event, inotify_handle_event"
        );
    }

    #[rstest]
    #[case(&[("u32", "mask"), ("u32", "cookie")], "has no parameter name or file_name")]
    #[case(
        &[("u32", "mask"), ("u32", "cookie"), ("struct dentry *", "name")],
        "passes the name as struct dentry *: (u32 mask, u32 cookie, struct dentry *name)"
    )]
    fn a_handler_with_another_prototype_is_refused(
        #[case] parameters: &[(&str, &str)],
        #[case] message: &str,
    ) {
        let handler = "inotify_handle_inode_event";
        let facts = facts(&[handler], btf(handler, parameters));
        let refused = plan(scenario("inotify/unwatched"), &facts).unwrap_err();
        assert_eq!(refused.reason, Reason::SignatureChanged);
        assert!(refused.to_string().contains(message), "{refused}");
    }

    #[rstest]
    #[case::moved(&[("name", 16)], Ok(16))]
    #[case::gone(&[("hash", 0)], Err(Reason::MissingField))]
    fn a_layout_comes_from_btf_where_there_is_some(
        #[case] qstr: &[(&str, u32)],
        #[case] expected: Result<u32, Reason>,
    ) {
        let handler = "inotify_handle_inode_event";
        let mut builder = Builder::new();
        builder.structure("qstr", qstr);
        builder.function(handler, FROM_5_11);
        let facts = facts(&[handler], Some(Btf::parse(builder.build()).unwrap()));
        let planned = plan(scenario("inotify/unwatched"), &facts);
        let offset = planned.map(|plan| plan.config.layout.qstr_name).map_err(|error| error.reason);
        assert_eq!(offset, expected);
    }

    #[test]
    fn internal_bits_of_a_mask_are_dropped() {
        let event =
            InotifyEvent { header: header(), mask: 0x5800_0040, cookie: 9, name: [b'n'; 256] };
        let action = |event| decoded("inotify/unwatched", &event);
        let Action::Rename { half, directory, cookie, name } = action(event).unwrap() else {
            panic!("not a rename")
        };
        assert_eq!((half, directory, cookie), (RenameHalf::MovedFrom, true, 9));
        assert_eq!(name.len(), 256);
        assert_eq!(action(InotifyEvent { mask: 0xc0, ..event }), Err(DecodeError::Mask(0xc0)));
    }
}
