//! Which argument of a kernel function is which, told from calls whose arguments are known.

use super::discovered::Discovered;
use crate::btf::{Parameter, Prototype};

/// Arguments that are looked at: six in registers, two on the stack.
pub const ARGUMENTS: usize = 8;
/// Bytes that are kept of what an argument points to.
pub const TARGET_BYTES: usize = 64;

/// A function whose parameters differ between releases, and can be told from calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its symbol.
    pub function: &'static str,
    /// What makes the kernel call it.
    pub action: FileAction,
    /// How many of its arguments are looked at: as many as it has in every release. What the caller left
    /// in a register that is no argument may be equal to one: a 5.4 that GCC 12 built calls
    /// `vfs_unlink` with the dentry in the second and, left over, in the fourth.
    pub arguments: usize,
}

/// Something that a process can do, and that it knows the arguments of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Renaming what an inotify descriptor watches.
    Rename,
    /// mknod(2) of a regular file.
    Create,
    /// unlink(2).
    Unlink,
}

/// Every function that a plan may ask about.
pub const QUESTIONS: [Question; 4] = [
    // Six parameters in all releases that have it, and eight: fs/notify/inotify/inotify_fsnotify.c.
    Question { function: "inotify_handle_inode_event", action: FileAction::Rename, arguments: 6 },
    Question { function: "inotify_handle_event", action: FileAction::Rename, arguments: 8 },
    // Four parameters or five, and three or four: fs/namei.c. The dentry is never after the third.
    Question { function: "vfs_create", action: FileAction::Create, arguments: 4 },
    Question { function: "vfs_unlink", action: FileAction::Unlink, arguments: 3 },
];

/// A call, as it was at the function's entry. What could not be read is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// In order. What follows the function's last is whatever the caller left there.
    pub arguments: [u64; ARGUMENTS],
    /// What each argument points to.
    pub targets: [[u8; TARGET_BYTES]; ARGUMENTS],
    /// What each argument points to the name of, if it points to a `struct qstr`.
    pub names: [[u8; TARGET_BYTES]; ARGUMENTS],
}

/// What an inotify descriptor delivered for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// `IN_MOVED_FROM`, ...
    pub mask: u32,
    /// Ties the halves of a rename together.
    pub cookie: u32,
    /// Shorter than [`TARGET_BYTES`].
    pub name: String,
}

/// The bits of a mask that user space is told: `IN_MOVE | IN_ISDIR`, include/uapi/linux/inotify.h.
const TOLD: u32 = 0x4000_00c0;

/// The prototype of a function that is called once for each notification, in their order. Only its
/// first `count` arguments are looked at.
pub fn notifying_function(
    calls: &[Call],
    seen: &[Notification],
    count: usize,
) -> Result<Prototype, String> {
    if calls.len() != seen.len() {
        return Err(format!("{} calls led to {} notifications", calls.len(), seen.len()));
    }
    let number = |what: &str, holds: &dyn Fn(u32, &Notification) -> bool| {
        only(what, calls, count, |call, argument, index| {
            // The upper half of an argument of 32 bits is undefined.
            holds(call.arguments[argument] as u32, &seen[index])
        })
    };
    let mask = number("the mask", &|value, notification| value & TOLD == notification.mask & TOLD)?;
    let cookie = number("the cookie", &|value, notification| value == notification.cookie)?;
    let begins = |bytes: &[u8; TARGET_BYTES], index: usize| {
        let name = seen[index].name.as_bytes();
        bytes.starts_with(name) && bytes.get(name.len()) == Some(&0)
    };
    let text = only("the name", calls, count, |call, argument, index| {
        begins(&call.targets[argument], index)
    });
    let qstr = only("the name", calls, count, |call, argument, index| {
        begins(&call.names[argument], index)
    });
    let (name, type_name) = match (text, qstr) {
        (Ok(name), Err(_)) => (name, "const unsigned char *"),
        (Err(_), Ok(name)) => (name, "const struct qstr *"),
        (Ok(_), Ok(_)) => return Err("two arguments lead to the name".to_owned()),
        (Err(error), Err(_)) => return Err(error),
    };
    Ok(prototype(&[(mask, "u32", "mask"), (name, type_name, "name"), (cookie, "u32", "cookie")]))
}

/// The prototype of a function that is called for directory entries, whose addresses are given in
/// the order of the calls. Only its first `count` arguments are looked at.
pub fn entry_function(calls: &[Call], entries: &[u64], count: usize) -> Result<Prototype, String> {
    if calls.len() != entries.len() {
        return Err(format!("{} calls for {} entries", calls.len(), entries.len()));
    }
    let dentry = only("the entry", calls, count, |call, argument, index| {
        call.arguments[argument] == entries[index]
    })?;
    Ok(prototype(&[(dentry, "struct dentry *", "dentry")]))
}

/// The only argument for which something holds in every call; counted from 0.
fn only(
    what: &str,
    calls: &[Call],
    count: usize,
    holds: impl Fn(&Call, usize, usize) -> bool,
) -> Result<usize, String> {
    if calls.is_empty() {
        return Err("there was no call".to_owned());
    }
    let found: Vec<usize> = (0..count.min(ARGUMENTS))
        .filter(|&argument| {
            calls.iter().enumerate().all(|(index, call)| holds(call, argument, index))
        })
        .collect();
    match found[..] {
        [argument] => Ok(argument),
        [] => Err(format!("no argument is {what} in every call")),
        _ => {
            let numbers: Vec<_> = found.iter().map(|found| (found + 1).to_string()).collect();
            Err(format!("arguments {} are all {what} in every call", numbers.join(", ")))
        }
    }
}

/// A prototype in which only some parameters are known, by their index.
fn prototype(known: &[(usize, &str, &str)]) -> Prototype {
    let end = known.iter().map(|&(index, ..)| index + 1).max().unwrap_or(0);
    let parameters = (0..end).map(|index| {
        let (type_name, name) = known
            .iter()
            .find(|&&(other, ..)| other == index)
            .map_or(("?", ""), |&(_, type_name, name)| (type_name, name));
        Parameter { name: name.to_owned(), type_name: type_name.to_owned() }
    });
    Prototype { parameters: parameters.collect(), returns: None }
}

impl Discovered {
    /// Notes what calls of `function` told.
    pub fn note_prototype(&mut self, function: &str, found: Result<Prototype, String>) {
        match found {
            Ok(prototype) => {
                self.prototypes.insert(function.to_owned(), prototype);
            }
            Err(why) => {
                self.failures.insert(function.to_owned(), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RENAMES: [(u32, u32, &str); 4] = [
        (0x40, 71, "before"),
        (0x80, 71, "after all"),
        (0x4000_0040, 72, "directory"),
        (0x4000_0080, 72, "directory"),
    ];

    fn seen() -> Vec<Notification> {
        RENAMES.map(|(mask, cookie, name)| Notification { mask, cookie, name: name.into() }).into()
    }

    fn text(name: &str) -> [u8; TARGET_BYTES] {
        let mut bytes = [0; TARGET_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    /// Calls with these arguments, counted from 0, and noise in the others.
    fn calls(mask: usize, name: usize, is_qstr: bool, cookie: usize) -> Vec<Call> {
        let call = |(bits, value, spelt): (u32, u32, &str)| {
            let mut call = Call {
                arguments: std::array::from_fn(|n| 0xffff_8880_1234_5600 + 8 * n as u64),
                targets: [[0xaa; TARGET_BYTES]; ARGUMENTS],
                names: [[0; TARGET_BYTES]; ARGUMENTS],
            };
            // Bits of the kernel's own, and an undefined upper half.
            call.arguments[mask] = 0xdead_0000_0800_0000 | u64::from(bits);
            call.arguments[cookie] = 0xdead_0000_0000_0000 | u64::from(value);
            let to = if is_qstr { &mut call.names } else { &mut call.targets };
            to[name] = text(spelt);
            call
        };
        RENAMES.map(call).into()
    }

    #[rstest]
    #[case::of_4_18((2, 5, false, 6), "(?, ?, u32 mask, ?, ?, const unsigned char *name, u32 cookie)")]
    #[case::of_5_4((2, 5, true, 6), "(?, ?, u32 mask, ?, ?, const struct qstr *name, u32 cookie)")]
    #[case::of_5_9((1, 5, true, 6), "(?, u32 mask, ?, ?, ?, const struct qstr *name, u32 cookie)")]
    fn arguments_are_told_by_what_inotify_delivered(
        #[case] (mask, name, is_qstr, cookie): (usize, usize, bool, usize),
        #[case] expected: &str,
    ) {
        let found = notifying_function(&calls(mask, name, is_qstr, cookie), &seen(), 8).unwrap();
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn what_is_not_certain_is_not_told() {
        let right = calls(2, 5, true, 6);
        let mut twice = right.clone();
        twice.iter_mut().for_each(|call| call.arguments[0] = call.arguments[6]);
        let refusal = notifying_function(&twice, &seen(), 8).unwrap_err();
        assert_eq!(refusal, "arguments 1, 7 are all the cookie in every call");
        assert!(notifying_function(&twice, &seen(), 6).is_ok(), "the seventh is not looked at");
        let mut lost = right.clone();
        lost[3].names[5][3] = b'X';
        let refusal = notifying_function(&lost, &seen(), 8).unwrap_err();
        assert_eq!(refusal, "no argument is the name in every call");
        let refusal = notifying_function(&right[1..], &seen(), 8).unwrap_err();
        assert_eq!(refusal, "3 calls led to 4 notifications");
        assert_eq!(notifying_function(&[], &[], 8).unwrap_err(), "there was no call");
    }

    #[test]
    fn a_register_that_is_no_argument_is_not_taken_for_one() {
        let mut calls = calls(2, 5, true, 6);
        let entry = 0xffff_8880_dead_0000;
        // (dir, dentry, delegated_inode), and the dentry once more where a fourth would be.
        calls.iter_mut().for_each(|call| {
            (call.arguments[1], call.arguments[3]) = (entry, entry);
        });
        let unlink = QUESTIONS.iter().find(|question| question.function == "vfs_unlink").unwrap();
        let found = entry_function(&calls, &[entry; 4], unlink.arguments).unwrap();
        assert_eq!(found.to_string(), "(?, struct dentry *dentry)");
    }

    #[test]
    fn an_entry_is_told_by_its_address() {
        let calls = calls(2, 5, true, 6);
        let entries = [0xffff_8880_1234_5618; 4];
        let found = entry_function(&calls, &entries, 4).unwrap();
        assert_eq!(found.position(&["dentry"]).map(|(number, _)| number), Some(4));
        let refusal = entry_function(&calls, &entries, 3).unwrap_err();
        assert_eq!(refusal, "no argument is the entry in every call");
    }
}
