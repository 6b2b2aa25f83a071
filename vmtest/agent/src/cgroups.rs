//! Control groups, where programs expect them: `/sys/fs/cgroup`.

use std::{fs, io, path::Path};

use nix::mount::{MsFlags, mount};

use crate::root;

const DIR: &str = "/sys/fs/cgroup";

/// The two interfaces of the kernel. A controller belongs to one of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A directory for each controller.
    V1,
    /// One directory for all.
    V2,
}

/// Mounts control groups for programs.
pub(crate) fn mount_cgroups(version: Version) -> io::Result<()> {
    root::inside(|| match version {
        Version::V2 => mount_at("cgroup2", DIR, None),
        Version::V1 => {
            mount_at("tmpfs", DIR, Some("mode=755"))?;
            let text = fs::read_to_string("/proc/cgroups")?;
            let mut last = io::Error::other("the kernel has no controllers");
            let mut mounted = 0;
            for controller in enabled(&text) {
                let dir = format!("{DIR}/{controller}");
                fs::create_dir(&dir)?;
                match mount_at("cgroup", &dir, Some(controller)) {
                    Ok(()) => mounted += 1,
                    // Newer kernels have controllers for the second version only.
                    Err(error) => {
                        last = error;
                        fs::remove_dir(&dir)?;
                    }
                }
            }
            if mounted == 0 { Err(last) } else { Ok(()) }
        }
    })
}

fn mount_at(kind: &str, dir: &str, options: Option<&str>) -> io::Result<()> {
    Ok(mount(Some(kind), Path::new(dir), Some(kind), MsFlags::empty(), options)?)
}

/// The controllers that `/proc/cgroups` lists as enabled: lines of name, hierarchy, number of
/// groups, and whether it is enabled.
fn enabled(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        (fields.nth(2)? == "1").then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_are_turned_off_are_left_out() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                    cpu\t0\t1\t1\nmemory\t0\t1\t0\nfreezer\t3\t1\t1\n";
        assert_eq!(enabled(text).collect::<Vec<_>>(), ["cpu", "freezer"]);
    }
}
