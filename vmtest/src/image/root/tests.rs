use std::{collections::BTreeMap, io::Write as _};

use kernlab_kernels::{Silent, chain};
use tar::{Builder, EntryType, Header};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    roots: RootStore,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Fixture { roots: RootStore::of(&store), dir }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn image(&self, source: &Path) -> Result<RootImage, RootError> {
        self.roots.image_of(source, &Silent)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(7);
    header.set_gid(300_000);
    header.set_mtime(1_000);
    header.set_size(0);
    header
}

const LONG: usize = 1_000_000;

/// What `docker export` writes, in an unusual order.
fn archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut link = header(EntryType::Link, 0o644);
    builder.append_link(&mut link, "second", "./usr/first").unwrap();
    let mut file = header(EntryType::Regular, 0o4755);
    file.set_size(5);
    builder.append_data(&mut file, "./usr/first", &b"first"[..]).unwrap();
    let mut long = header(EntryType::Regular, 0o600);
    long.set_size(LONG as u64);
    let name = format!("usr/{}/long", "deep/".repeat(40));
    builder.append_data(&mut long, name, io::repeat(b'l').take(LONG as u64)).unwrap();
    builder.append_data(&mut header(EntryType::Directory, 0o1777), "./tmp/", &[][..]).unwrap();
    builder.append_data(&mut header(EntryType::Directory, 0o700), "./", &[][..]).unwrap();
    let mut symbolic = header(EntryType::Symlink, 0o777);
    builder.append_link(&mut symbolic, "bin", "usr/bin").unwrap();
    let mut device = header(EntryType::Char, 0o666);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    builder.append_data(&mut device, "dev/null", &[][..]).unwrap();
    builder.append_data(&mut header(EntryType::Fifo, 0o600), "pipe", &[][..]).unwrap();
    builder.into_inner().unwrap()
}

use std::io::Read as _;

/// Paths with a line on each.
fn listed(image: &Path) -> BTreeMap<String, String> {
    use backhand::{FilesystemReader, InnerNode};
    let reader = io::BufReader::new(fs::File::open(image).unwrap());
    let system = FilesystemReader::from_reader(reader).unwrap();
    let line = |node: &backhand::Node<backhand::SquashfsFileReader>| match &node.inner {
        InnerNode::File(file) => {
            let mut content = Vec::new();
            system.file(file).reader().read_to_end(&mut content).unwrap();
            match content.len() {
                LONG if content.iter().all(|byte| *byte == b'l') => "long file".to_owned(),
                _ => format!("file {:?}", String::from_utf8(content).unwrap()),
            }
        }
        InnerNode::Symlink(target) => format!("link to {}", target.link.display()),
        InnerNode::Dir(_) => "directory".to_owned(),
        InnerNode::CharacterDevice(device) => format!("device {:#x}", device.device_number),
        InnerNode::NamedPipe => "pipe".to_owned(),
        other => panic!("{other:?}"),
    };
    let described = |node: &backhand::Node<backhand::SquashfsFileReader>| {
        let header = node.header;
        let attributes = format!("{:o} {}:{}", header.permissions, header.uid, header.gid);
        (node.fullpath.display().to_string(), format!("{attributes} {}", line(node)))
    };
    system.files().map(described).collect()
}

#[test]
fn an_archive_becomes_a_disk() {
    let fixture = Fixture::new();
    let image = fixture.image(&fixture.file("root.tar", &archive())).unwrap();
    let listed = listed(&image.path);
    let deep = format!("/usr/{}long", "deep/".repeat(40));
    for (path, expected) in [
        ("/", "700 7:300000 directory"),
        ("/usr", "755 0:0 directory"),
        ("/usr/first", "4755 7:300000 file \"first\""),
        ("/second", "4755 7:300000 file \"first\""),
        (&*deep, "600 7:300000 long file"),
        ("/tmp", "1777 7:300000 directory"),
        ("/bin", "777 7:300000 link to usr/bin"),
        ("/dev/null", "666 7:300000 device 0x103"),
        ("/pipe", "600 7:300000 pipe"),
    ] {
        assert_eq!(listed.get(path).map(String::as_str), Some(expected), "{path} in {listed:#?}");
    }
}

#[test]
fn compression_makes_no_difference() {
    let fixture = Fixture::new();
    let plain = fixture.image(&fixture.file("root.tar", &archive())).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive()).unwrap();
    let compressed = fixture.image(&fixture.file("root", &xz.finish().unwrap())).unwrap();
    assert_ne!(compressed.digest, plain.digest);
    assert_eq!(fs::read(compressed.path).unwrap(), fs::read(plain.path).unwrap());
}

#[test]
fn an_image_is_made_once() {
    let fixture = Fixture::new();
    let path = fixture.file("root.tar", &archive());
    let first = fixture.image(&path).unwrap();
    let inode = |image: &RootImage| fs::metadata(&image.path).unwrap().ino();
    let made = inode(&first);
    assert_eq!(fixture.image(&path).unwrap(), first);
    // Another file of the same content.
    assert_eq!(fixture.image(&fixture.file("copy.tar", &archive())).unwrap(), first);
    assert_eq!(inode(&first), made);
    fs::remove_file(&first.path).unwrap();
    assert_eq!(fixture.image(&path).unwrap(), first);
    assert!(listed(&first.path).contains_key("/usr/first"));
}

#[test]
fn a_damaged_image_is_made_again() {
    let fixture = Fixture::new();
    let root = fixture.dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "content").unwrap();
    for source in [fixture.file("root.tar", &archive()), root] {
        let image = fixture.image(&source).unwrap();
        let whole = fs::read(&image.path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&b"cut"[..], &flipped] {
            fs::write(&image.path, damaged).unwrap();
            assert_eq!(fixture.image(&source).unwrap(), image);
            assert!(fs::read(&image.path).unwrap() == whole);
        }
    }
}

#[test]
fn a_directory_is_known_by_what_is_in_it() {
    let fixture = Fixture::new();
    let root = fixture.dir.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/tool"), "one").unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    let first = fixture.image(&root).unwrap();
    assert_eq!(fixture.image(&root).unwrap(), first);
    let listed = listed(&first.path);
    assert!(listed["/usr/bin/tool"].ends_with("file \"one\""), "{listed:?}");
    assert!(listed["/bin"].ends_with("link to usr/bin"), "{listed:?}");
    fs::write(root.join("usr/bin/tool"), "second").unwrap();
    assert_ne!(fixture.image(&root).unwrap(), first);
}

/// Other users than root can't mount, but `/dev` has mounts everywhere.
#[test]
fn what_is_mounted_below_a_root_is_left_out() {
    let device = |path: &str| fs::metadata(path).unwrap().dev();
    assert_ne!(device("/dev/pts"), device("/dev"));
    let tree = directory::read(Path::new("/dev")).unwrap();
    let terminals: Vec<_> = tree.nodes.keys().filter(|path| path.starts_with("/pts")).collect();
    assert_eq!(terminals, [Path::new("/pts")]);
}

#[test]
fn other_files_are_refused() {
    let fixture = Fixture::new();
    let mut out = Builder::new(Vec::new());
    let mut file = header(EntryType::Regular, 0o644);
    // The crate refuses to write such a name.
    file.as_old_mut().name[..7].copy_from_slice(b"../evil");
    file.set_cksum();
    out.append(&file, &[][..]).unwrap();
    let mut holes = Builder::new(Vec::new());
    holes.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
    holes.append_data(&mut header(EntryType::Regular, 0o644), "a", &[][..]).unwrap();
    let mut vendor = Builder::new(Vec::new());
    vendor.append_data(&mut header(EntryType::new(b'M'), 0o644), "a", &[][..]).unwrap();
    let mut rich = Builder::new(Vec::new());
    let mut file = header(EntryType::Regular, 0o644);
    file.set_uid(1 << 32);
    rich.append_data(&mut file, "a", &[][..]).unwrap();
    let long = format!("usr/{}/a", "n".repeat(256));
    let mut named = Builder::new(Vec::new());
    named.append_data(&mut header(EntryType::Regular, 0o644), long, &[][..]).unwrap();
    let whole = archive();
    let marks = whole.len() - 1024;
    let mut dangling = Builder::new(Vec::new());
    dangling.append_link(&mut header(EntryType::Link, 0o644), "a", "b").unwrap();
    for (name, content, expected) in [
        ("text", &b"not a tar, but quite a bit of text".repeat(40)[..], "is not a tar archive"),
        ("empty", b"", "is empty"),
        ("out", &out.into_inner().unwrap(), "leads out of the root"),
        ("holes", &holes.into_inner().unwrap(), "is stored with holes"),
        ("vendor", &vendor.into_inner().unwrap(), "of a kind that only one vendor's tar knows"),
        ("rich", &rich.into_inner().unwrap(), "has more than 32 bits"),
        ("named", &named.into_inner().unwrap(), "a name of more than 255 bytes"),
        ("without-mark", &whole[..marks], "the mark at the end of a tar archive is missing"),
        (
            "within-a-file",
            &whole[..whole.len() / 2],
            "the mark at the end of a tar archive is missing",
        ),
        ("dangling", &dangling.into_inner().unwrap(), "a hard link to something that is not in it"),
    ] {
        let error = chain(&fixture.image(&fixture.file(name, content)).unwrap_err());
        assert!(error.contains(expected), "{name}: {error}");
    }
    let pipe = fixture.dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for endless in [&pipe, Path::new("/dev/zero")] {
        let error = fixture.image(endless).unwrap_err().to_string();
        assert!(error.contains("neither a directory nor a file with a tar archive"), "{error}");
    }
    let error = fixture.image(Path::new("/nonexistent")).unwrap_err();
    assert!(error.to_string().contains("could not read /nonexistent"), "{error}");
}

#[test]
fn a_name_that_fills_memory_is_refused() {
    let fixture = Fixture::new();
    let mut builder = Builder::new(Vec::new());
    let mut name = header(EntryType::GNULongName, 0o644);
    name.set_size(LONG as u64);
    name.set_cksum();
    builder.append(&name, io::repeat(b'n').take(LONG as u64)).unwrap();
    let mut file = header(EntryType::Regular, 0o644);
    builder.append_data(&mut file, "file", &[][..]).unwrap();
    let error = fixture.image(&fixture.file("names.tar", &builder.into_inner().unwrap()));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("names.tar has more than 64 KiB of a name or of attributes"),
        "{error}"
    );
}

/// Writes another content of the same size to the same file, or to one that takes its place, and sets
/// the old time of modification again.
fn rewrite(path: &Path, content: &[u8], replaced: bool) {
    let before = fs::metadata(path).unwrap();
    let changed = |state: &fs::Metadata| (state.ctime(), state.ctime_nsec());
    // Times of files advance in ticks.
    while fs::metadata(path).is_ok_and(|state| changed(&state) == changed(&before)) {
        if replaced {
            fs::remove_file(path).unwrap();
        }
        fs::write(path, content).unwrap();
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }
}

#[rstest::rstest]
fn a_rewrite_of_the_same_size_and_time_is_noticed(#[values(true, false)] replaced: bool) {
    let fixture = Fixture::new();
    let root = fixture.dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let archived = archive();
    let mut other = archived.clone();
    // The content of `usr/first`.
    let at = archived.windows(5).rposition(|bytes| bytes == b"first").unwrap();
    other[at..at + 5].copy_from_slice(b"other");
    let tar = fixture.file("root.tar", &archived);
    fs::write(root.join("file"), "one").unwrap();
    for (source, file, content) in
        [(&root, &root.join("file"), b"two".as_slice()), (&tar, &tar, &other)]
    {
        let first = fixture.image(source).unwrap();
        rewrite(file, content, replaced);
        let second = fixture.image(source).unwrap();
        assert_ne!(fs::read(&second.path).unwrap(), fs::read(&first.path).unwrap(), "{source:?}");
    }
}
