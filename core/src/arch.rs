//! What depends on the processor architecture: x86-64.

/// The lowest address that can belong to the kernel: Documentation/arch/x86/x86_64/mm.rst.
///
/// With four-level page tables what lies between the user's half and this isn't canonical.
pub fn kernel_address_min(five_level_paging: bool) -> u64 {
    if five_level_paging { 0xff00_0000_0000_0000 } else { 0xffff_8000_0000_0000 }
}
