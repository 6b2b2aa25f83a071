//! How fast a log is read: `cargo bench -p kernlab-splat`.

use std::time::Instant;

/// What a boot prints, and a splat: lines as most logs have them.
const PARTS: [&str; 2] = [
    include_str!("../tests/cases/none/boot.txt"),
    include_str!("../tests/cases/warning/bpf_check.txt"),
];

fn main() {
    let ordinary = PARTS[0].repeat(10_000_000 / PARTS[0].len());
    let with_splats = format!("{}{}", PARTS[0].repeat(20), PARTS[1]);
    let with_splats = with_splats.repeat(10_000_000 / with_splats.len());
    let dressed: String =
        ordinary.lines().map(|line| format!("Nov 28 04:13:33 hostx kernel: {line}\n")).collect();
    for (name, log) in
        [("ordinary", ordinary), ("with splats", with_splats), ("of syslog", dressed)]
    {
        let began = Instant::now();
        let splats = kernlab_splat::scan(&log).len();
        let took = began.elapsed().as_secs_f64();
        println!("{name}: {:.0} MB/s, {splats} splats", log.len() as f64 / 1e6 / took);
    }
}
