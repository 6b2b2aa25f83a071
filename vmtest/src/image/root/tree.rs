//! The content of a root file system, before it is written.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// What is in a root file system: nodes by their absolute paths, directories before their content.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<PathBuf, Node>,
}

/// A file of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The permissions, with set-user-id and the like.
    pub(crate) mode: u16,
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Seconds since 1970.
    pub(crate) time: u32,
}

impl Attributes {
    /// Those of a directory that is needed, and that nobody described.
    const DIRECTORY: Attributes = Attributes { mode: 0o755, user: 0, group: 0, time: 0 };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File(Content),
    SymbolicLink(PathBuf),
    CharacterDevice(u32),
    BlockDevice(u32),
    Pipe,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// In an archive, at this position.
    Archived { position: u64, length: u64 },
    /// In a file of this machine.
    File(PathBuf),
}

/// NAME_MAX of limits.h.
const LONGEST_NAME: usize = 255;
/// PATH_MAX of limits.h, without the byte at the end.
const LONGEST_TARGET: usize = 4095;
/// How many symbolic links Linux follows on the way to a file (`MAXSYMLINKS`, include/linux/namei.h).
const MOST_LINKS: usize = 40;

impl Tree {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.keys().all(|path| path == Path::new("/"))
    }

    /// What is at an absolute path, behind symbolic links.
    pub(crate) fn resolve(&self, path: &Path) -> Option<&Node> {
        let mut path = path.to_owned();
        for _ in 0..=MOST_LINKS {
            let link = path.ancestors().find_map(|above| match self.nodes.get(above) {
                Some(Node { kind: Kind::SymbolicLink(target), .. }) => Some((above, target)),
                _ => None,
            });
            let Some((link, target)) = link else { return self.nodes.get(&path) };
            let rest = path.strip_prefix(link).ok()?;
            path = normal(&link.parent()?.join(target).join(rest));
        }
        None
    }

    /// Adds a node, which takes the place of an earlier one of this path. The error completes "the
    /// entry ...".
    pub(crate) fn add(&mut self, path: &Path, node: Node) -> Result<(), &'static str> {
        if path.file_name().is_some_and(|name| name.len() > LONGEST_NAME) {
            return Err(
                "has a name of more than 255 bytes, which no file system of Linux can hold",
            );
        }
        if let Kind::SymbolicLink(target) = &node.kind
            && !(1..=LONGEST_TARGET).contains(&target.as_os_str().len())
        {
            return Err("is a link whose target is empty or has more than 4095 bytes");
        }
        for above in path.ancestors().skip(1) {
            match self.nodes.get(above) {
                Some(Node { kind: Kind::Directory, .. }) => break,
                Some(_) => return Err("is below something that is not a directory"),
                None if above.file_name().is_some_and(|name| name.len() > LONGEST_NAME) => {
                    return Err("is in a directory with a name of more than 255 bytes");
                }
                None => {
                    let attributes = Attributes::DIRECTORY;
                    let node = Node { attributes, kind: Kind::Directory };
                    self.nodes.insert(above.to_owned(), node);
                }
            }
        }
        let is_directory = node.kind == Kind::Directory;
        let replaced = self.nodes.insert(path.to_owned(), node);
        let was_directory = replaced.is_some_and(|node| node.kind == Kind::Directory);
        if was_directory && !is_directory {
            self.nodes.retain(|other, _| other == path || !other.starts_with(path));
        }
        Ok(())
    }
}

/// The absolute path of a name such as `./usr/bin` or `usr/bin/`; none if it leads out of the root.
pub(crate) fn absolute(name: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::from("/");
    for component in name.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// An absolute path without `.` and `..`. Nothing is above the root.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// The number of a device, as Linux encodes it since 2.6 (`new_encode_dev`, include/linux/kdev_t.h).
pub(crate) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn node(kind: Kind) -> Node {
        Node { attributes: Attributes::DIRECTORY, kind }
    }

    #[rstest]
    #[case("./usr/bin/", Some("/usr/bin"))]
    #[case("/etc", Some("/etc"))]
    #[case(".", Some("/"))]
    #[case("a/../../b", None)]
    fn names_become_paths(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(absolute(Path::new(name)), expected.map(PathBuf::from));
    }

    #[test]
    fn directories_above_are_added() {
        let mut tree = Tree::default();
        tree.add(Path::new("/a/b/c"), node(Kind::Pipe)).unwrap();
        let paths: Vec<_> = tree.nodes.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c"]);
        assert!(tree.add(Path::new("/a/b/c/d"), node(Kind::Pipe)).is_err());
    }

    #[test]
    fn the_last_node_of_a_path_counts() {
        let mut tree = Tree::default();
        tree.add(Path::new("/a/b"), node(Kind::Pipe)).unwrap();
        tree.add(Path::new("/a"), node(Kind::SymbolicLink("b".into()))).unwrap();
        assert_eq!(tree.nodes.len(), 2, "{tree:?}");
    }

    #[rstest]
    #[case::a_name("/a/NAME", Kind::Pipe, "has a name of more")]
    #[case::a_directory("/NAME/a", Kind::Pipe, "is in a directory with a name")]
    #[case::a_target("/a", Kind::SymbolicLink("b/".repeat(2048).into()), "is a link whose target")]
    #[case::nothing("/a", Kind::SymbolicLink("".into()), "is a link whose target")]
    fn what_no_file_system_holds_is_refused(
        #[case] path: &str,
        #[case] kind: Kind,
        #[case] why: &str,
    ) {
        let path = path.replace("NAME", &"n".repeat(256));
        let error = Tree::default().add(Path::new(&path), node(kind)).unwrap_err();
        assert!(error.starts_with(why), "{error}");
        assert_eq!(Tree::default().add(Path::new(&"/n".repeat(255)), node(Kind::Pipe)), Ok(()));
    }

    #[rstest]
    #[case::a_file("/usr/bin/dash", true)]
    #[case::through_a_directory_and_a_file("/bin/sh", true)]
    #[case::out_of_the_root("/up/usr/bin/dash", true)]
    #[case::in_a_circle("/round", false)]
    #[case::to_nothing("/nowhere", false)]
    fn links_are_followed(#[case] path: &str, #[case] is_there: bool) {
        let mut tree = Tree::default();
        for (path, target) in [
            ("/bin", "usr/bin"),
            ("/usr/bin/sh", "/bin/dash"),
            ("/up", "../.."),
            ("/round", "/round"),
            ("/nowhere", "missing"),
        ] {
            tree.add(Path::new(path), node(Kind::SymbolicLink(target.into()))).unwrap();
        }
        tree.add(Path::new("/usr/bin/dash"), node(Kind::Pipe)).unwrap();
        let found = tree.resolve(Path::new(path));
        assert_eq!(found.is_some_and(|node| node.kind == Kind::Pipe), is_there);
    }

    #[test]
    fn large_device_numbers_are_split() {
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(259, 0x12345), 0x1231_0345);
    }
}
