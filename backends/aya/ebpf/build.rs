//! Tells the sources which architecture's kernel they probe: `cfg(bpf_target_arch)`.

fn main() -> aya_build::Result<()> {
    aya_build::emit_bpf_target_arch_cfg()
}
