//! Tests acceleration on the machine that runs the tests, whatever it supports.

use std::{
    thread,
    time::{Duration, Instant},
};

use kernlab_kernels::Store;
use kernlab_vmtest::{
    accel::decide,
    lab::{BOOT_TIMEOUT, Bootable, Guest},
    qemu::{Binary, MachineSpec},
};

use super::workbench::{image, kernel, program};

#[test]
fn the_answer_is_found_once_and_its_machine_boots() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let qemu = Binary::find(kernel().arch).unwrap();
    let image = image(&program("kernlab-agent"), &[]);
    let ask = || decide(&store, &qemu, kernel(), &image).unwrap();
    kernel();

    // All ask at the same time; at most one boots a kernel and has news.
    let started = Instant::now();
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let accelerator = answers[0].accelerator;
    assert!(answers.iter().all(|answer| answer.accelerator == accelerator), "{answers:?}");
    let news = answers.iter().filter(|answer| answer.news.is_some()).count();
    assert!(news <= 1 || !std::path::Path::new("/dev/kvm").exists(), "{answers:?}");

    let again = Instant::now();
    assert_eq!(ask().accelerator, accelerator);
    assert!(again.elapsed() < Duration::from_millis(500), "{:?}", again.elapsed());

    let machine =
        MachineSpec::new(kernel().arch, accelerator, kernel().image.fastest(), &image.path);
    let guest = Guest::boot(&Bootable::new(qemu, machine), BOOT_TIMEOUT).unwrap();
    guest.power_off();
}
