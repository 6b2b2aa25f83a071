//! Links the guest's program to fixed addresses: a cell starts it once, and would spend a tenth of its
//! time on relocating it.
//!
//! Sends its calls of syscall(2) through `src/object/watch.rs`: with these, loaders call the kernel.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=syscall");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        // What rustc passes for a static program, -static-pie, is undone by -no-pie.
        println!("cargo::rustc-link-arg-bins=-no-pie");
        println!("cargo::rustc-link-arg-bins=-static");
    }
}
