//! Boots real kernels whose guests behave well or badly.

mod accel;
mod boot;
mod confined;
mod hostile;
mod jobs;
mod killed;
mod primed;
mod root;
mod saved;
mod suitable;
mod survivors;
mod workbench;
