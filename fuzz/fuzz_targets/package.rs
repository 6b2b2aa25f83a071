#![no_main]

libfuzzer_sys::fuzz_target!(init: kernlab_fuzz::prepare(), |bytes: &[u8]| kernlab_fuzz::package(bytes));
