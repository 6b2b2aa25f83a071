//! Runs that share a store, or have little to run with.

use std::{process::Stdio, thread, time::Duration};

use super::bench::{Bench, Told, files, run};

#[test]
fn eight_runs_at_once_share_a_store_that_is_new() {
    let bench = Bench::with_package();
    let mut commands: Vec<_> = (0..8).map(|_| bench.exec()).collect();
    thread::scope(|scope| {
        let runs: Vec<_> =
            commands.iter_mut().map(|command| scope.spawn(|| run(command))).collect();
        runs.into_iter().for_each(|run| run.join().unwrap().expect_pass());
    });
    bench.expect_nothing_left();
    let saved = files(&bench.store().join("checkpoints"));
    let memories = saved.iter().filter(|file| file.ends_with("memory")).count();
    assert_eq!(memories, 1, "one boots, and the others wait: {saved:?}");
    bench.expect_right();
}

#[test]
fn a_collection_waits_for_no_run_and_takes_nothing_from_one() {
    let bench = Bench::with_package();
    let mut running = bench.exec();
    running.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = running.spawn().unwrap();
    let mut refused = 0;
    while running.try_wait().unwrap().is_none() {
        let mut collection = std::process::Command::new(env!("CARGO_BIN_EXE_kernlab"));
        bench.set_up(collection.args(["kernels", "gc"]));
        let told = Told::of(collection.output().unwrap());
        let is_refused = told.code == Some(3) && told.stderr.contains("other processes use");
        assert!(is_refused || told.code == Some(0), "{told:?}");
        refused += u32::from(is_refused);
        thread::sleep(Duration::from_millis(100));
    }
    Told::of(running.wait_with_output().unwrap()).expect_pass();
    assert!(refused > 0);
    bench.expect_right();
}

#[test]
fn one_processor_is_enough() {
    let bench = Bench::new();
    run(&mut bench.exec_by(&["taskset", "-c", "0"])).expect_pass();
    bench.expect_right();
}
