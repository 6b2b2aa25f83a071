//! Boots real kernels whose guests behave well or badly.

#[path = "lab/accel.rs"]
mod accel;
#[path = "lab/boot.rs"]
mod boot;
#[path = "lab/confined.rs"]
mod confined;
#[path = "lab/hostile.rs"]
mod hostile;
#[path = "lab/jobs.rs"]
mod jobs;
#[path = "lab/killed.rs"]
mod killed;
#[path = "lab/primed.rs"]
mod primed;
#[path = "lab/root.rs"]
mod root;
#[path = "lab/saved.rs"]
mod saved;
#[path = "lab/suitable.rs"]
mod suitable;
#[path = "lab/survivors.rs"]
mod survivors;
#[path = "lab/workbench.rs"]
mod workbench;
