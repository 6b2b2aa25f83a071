//! Capabilities that a file gives to programs, as setcap(8) sets them.

use std::{
    ffi::{CStr, CString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr,
};

/// Where the kernel keeps them: `XATTR_NAME_CAPS` in `include/uapi/linux/xattr.h`.
const ATTRIBUTE: &CStr = c"security.capability";

/// Whether a file has capabilities. One that can't be asked has none.
pub(super) fn has_any(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end with a null byte and outlive the call. With a size of 0, nothing is
    // written.
    unsafe { libc::getxattr(path.as_ptr(), ATTRIBUTE.as_ptr(), ptr::null_mut(), 0) > 0 }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;

    /// `VFS_CAP_REVISION_2` with `cap_net_raw` permitted, as capabilities are laid out in
    /// `include/uapi/linux/capability.h`.
    const NET_RAW: [u32; 5] = [0x0200_0000, 1 << 13, 0, 0, 0];

    fn set(file: &Path, value: &[u8]) -> io::Result<()> {
        let path = CString::new(file.as_os_str().as_bytes()).unwrap();
        // SAFETY: both strings end with a null byte, and `value` has the length that is given.
        let result = unsafe {
            libc::setxattr(path.as_ptr(), ATTRIBUTE.as_ptr(), value.as_ptr().cast(), value.len(), 0)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[test]
    fn a_file_with_capabilities_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ping");
        fs::write(&file, "").unwrap();
        assert!(!has_any(&file) && !has_any(&dir.path().join("missing")));
        match set(&file, &NET_RAW.map(u32::to_le_bytes).concat()) {
            Ok(()) => assert!(has_any(&file)),
            Err(error) => {
                let why = error.raw_os_error();
                let refused = [libc::EPERM, libc::EOPNOTSUPP].map(Some);
                assert!(refused.contains(&why), "{error}");
            }
        }
    }
}
