//! Entries that are missing from the lock.

use std::sync::Mutex;

use kernlab_core::outcome::Reason;

use super::*;

/// Collects the observed events, one word each.
#[derive(Default)]
struct Seen(Mutex<Vec<&'static str>>);

impl Observer for Seen {
    fn notice(&self, _: &str) {}

    fn observe(&self, _kernel: &str, event: Event<'_>) {
        let name = match event {
            Event::Resolve { .. } => "resolve",
            Event::Locked { .. } => "locked",
            Event::NotLocked { .. } => "not locked",
            _ => return,
        };
        self.0.lock().unwrap().push(name);
    }
}

impl Seen {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn published() -> Lab {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab
}

fn prepare(kernels: &Kernels, seen: &Seen) -> Result<Unpacked, Error> {
    kernels.prepare(kernels.entry("newest").unwrap(), seen)
}

#[test]
fn a_kernel_that_is_needed_is_resolved_and_added_to_the_lock() {
    let lab = published();
    let seen = Seen::default();
    assert_eq!(prepare(&lab.open(), &seen).unwrap().release, RELEASE);
    assert_eq!(seen.take(), ["resolve", "locked"]);
    let locked = fs::read_to_string(lab.path(LOCK_FILE)).unwrap();

    // The same as an update writes. Existing lock entries are not resolved again.
    fs::remove_file(lab.path(LOCK_FILE)).unwrap();
    lab.update();
    assert_eq!(fs::read_to_string(lab.path(LOCK_FILE)).unwrap(), locked);
    lab.server.remove(IN_RELEASE);
    prepare(&lab.open(), &seen).unwrap();
    assert_eq!(seen.take(), [""; 0]);
}

#[test]
fn what_is_locked_does_not_move() {
    let lab = published();
    lab.update();
    let before = fs::read_to_string(lab.path(LOCK_FILE)).unwrap();
    let newer = Package { name: "linux-image-6.1.0-2-cloud", version: "6.1.6-1", ..kernel() };
    let meta = Package { version: "6.1.6-1", depends: newer.name, ..meta() };
    lab.publish(&[meta, kernel(), newer]);
    assert_eq!(lab.prepare().unwrap().release, RELEASE);
    assert_eq!(fs::read_to_string(lab.path(LOCK_FILE)).unwrap(), before);
}

#[test]
fn adding_keeps_what_else_is_locked() {
    let lab = published();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let entry = matrix[matrix.find("[[kernel]]").unwrap()..].replace("newest", "another");
    let kernels = lab.open();
    lab.write(MATRIX_FILE, &format!("{matrix}{entry}"));
    lab.update();
    // This process read the matrix before the other entry was added.
    let mut lock = Lock::read(&lab.path(LOCK_FILE)).unwrap();
    lock.retain(|kernel| kernel.id == "another");
    lab.write(LOCK_FILE, &lock.render(std::iter::empty()));
    prepare(&kernels, &Seen::default()).unwrap();
    let lock = Lock::read(&lab.path(LOCK_FILE)).unwrap();
    let ids: Vec<_> = lock.kernels().map(|kernel| kernel.id.as_str()).collect();
    assert_eq!(ids, ["another", "newest"]);
}

#[test]
fn what_another_process_locked_of_another_source_does_not_move() {
    let lab = published();
    // This process read the matrix and the lock before both were changed.
    let kernels = lab.open();
    lab.update();
    let text = fs::read_to_string(lab.path(LOCK_FILE)).unwrap();
    let text = text.replace("source = \"deb ", "source = \"deb other ");
    lab.write(LOCK_FILE, &text);
    let error = prepare(&kernels, &Seen::default()).unwrap_err();
    assert!(chain(&error).contains("deb other "), "{}", chain(&error));
    assert_eq!(fs::read_to_string(lab.path(LOCK_FILE)).unwrap(), text);
}

#[test]
fn of_processes_at_once_one_resolves() {
    let lab = published();
    let seen = Seen::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Each with a handle of its own, like separate processes.
            scope.spawn(|| prepare(&lab.open(), &seen).unwrap());
        }
    });
    assert_eq!(seen.take(), ["resolve", "locked"]);
}

#[test]
fn a_repository_is_asked_once_for_all_its_kernels() {
    let lab = published();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let entry = matrix[matrix.find("[[kernel]]").unwrap()..].replace("newest", "another");
    lab.write(MATRIX_FILE, &format!("{matrix}{entry}"));
    let kernels = lab.open();
    for entry in &kernels.matrix().entries {
        kernels.prepare(entry, &Silent).unwrap();
    }
    let asked = lab.server.requests();
    assert_eq!(asked.iter().filter(|path| path.as_str() == IN_RELEASE).count(), 1, "{asked:?}");
}

#[test]
fn a_lock_that_cannot_be_written_holds_for_this_process() {
    let lab = published();
    // A directory in the way prevents replacing the file even for root, which ignores permissions.
    fs::create_dir(lab.path("kernels.lock.new")).unwrap();
    let seen = Seen::default();
    let kernels = lab.open();
    assert_eq!(prepare(&kernels, &seen).unwrap().release, RELEASE);
    assert_eq!(seen.take(), ["resolve", "not locked"]);
    assert!(!lab.path(LOCK_FILE).exists());
    assert_eq!(kernels.state(kernels.entry("newest").unwrap()), State::Stored);
}

#[test]
fn locked_only_and_offline_say_what_to_do() {
    let lab = published();
    let error = prepare(&lab.open().locked_only(), &Seen::default()).unwrap_err();
    assert_eq!(error.reason(), Reason::NotLocked);
    let expected = "kernel newest: not in the lock, and --locked or KERNLAB_LOCKED forbids \
                    adding to it: run `cargo xtask kernels update newest`";
    assert_eq!(chain(&error), expected);
    let error = prepare(&lab.open().offline(), &Seen::default()).unwrap_err();
    assert_eq!(error.reason(), Reason::NotLocked);
    assert!(chain(&error).contains("forbids asking its repository"), "{}", chain(&error));
    assert_eq!(lab.server.requests(), [""; 0]);
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn a_repository_out_of_reach_is_told_with_what_each_address_said() {
    let lab = published();
    lab.server.remove(IN_RELEASE);
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    let text = chain(&error);
    assert!(text.contains("http://127.0.0.1:") && text.contains("answered 404"), "{text}");
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn a_repository_that_says_nothing_keeps_no_other_from_being_locked() {
    let lab = published();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let tables = matrix[matrix.find("[repository").unwrap()..].replace("sample", "silent");
    lab.write(MATRIX_FILE, &format!("{matrix}{}", tables.replace("newest", "awaited")));
    let address = format!("http://{}", silent.local_addr().unwrap());
    let overlay = fs::read_to_string(lab.path(OVERLAY_FILE)).unwrap();
    lab.write(OVERLAY_FILE, &format!("{overlay}silent = [{address:?}]\n"));
    let kernels = lab.open();
    let (awaited, newest) = (kernels.entry("awaited").unwrap(), kernels.entry("newest").unwrap());
    std::thread::scope(|scope| {
        let awaited = scope.spawn(|| kernels.prepare(awaited, &Silent).unwrap_err());
        let asked = silent.accept().unwrap();
        // One thread of this process, and another process.
        kernels.prepare(newest, &Silent).unwrap();
        fs::remove_file(lab.path(LOCK_FILE)).unwrap();
        prepare(&lab.open(), &Seen::default()).unwrap();
        assert!(!awaited.is_finished());
        drop((asked, silent));
        assert_eq!(awaited.join().unwrap().reason(), Reason::Unreachable);
    });
    assert!(Lock::read(&lab.path(LOCK_FILE)).unwrap().get("newest").is_some());
}
