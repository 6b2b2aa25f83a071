//! The Linux distribution of this machine, from `os-release`.

use std::fs;

/// What os-release(5) says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// `debian`, `ubuntu`, `fedora`, `arch`, ...
    pub(crate) id: String,
    /// The distributions that it derives from, closest first.
    pub(crate) like: Vec<String>,
    /// The release's name, if it has one: `bookworm`.
    pub(crate) codename: Option<String>,
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackageManager {
    /// Of Debian, Ubuntu and their derivatives.
    Apt,
    /// Of Fedora and the RHEL family.
    Dnf,
    /// Of Arch and its derivatives.
    Pacman,
}

impl Distribution {
    /// The distribution of this machine; an empty one if there is no os-release.
    pub(crate) fn of_this_machine() -> Self {
        let paths = ["/etc/os-release", "/usr/lib/os-release"];
        let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
        Distribution::parse(&text.unwrap_or_default())
    }

    /// Reads the format of os-release(5). Absent and malformed fields stay empty.
    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
            let args = shlex::split(values.find_map(|rest| rest.strip_prefix('='))?)?;
            args.into_iter().next()
        };
        Distribution {
            id: value("ID").unwrap_or_default(),
            like: value("ID_LIKE")
                .map(|like| like.split_whitespace().map(Into::into).collect())
                .unwrap_or_default(),
            codename: value("VERSION_CODENAME"),
        }
    }

    /// The distribution's package manager, if we know it.
    pub(crate) fn package_manager(&self) -> Option<PackageManager> {
        std::iter::once(&self.id).chain(&self.like).find_map(|id| match id.as_str() {
            "debian" | "ubuntu" => Some(PackageManager::Apt),
            "fedora" | "rhel" => Some(PackageManager::Dnf),
            "arch" => Some(PackageManager::Pacman),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{PackageManager::*, *};

    #[rstest]
    #[case::debian("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian", Some(Apt))]
    #[case::mint("ID=linuxmint\nID_LIKE=\"ubuntu debian\"", Some(Apt))]
    #[case::fedora("ID=fedora\nVERSION_ID=42", Some(Dnf))]
    #[case::rocky("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", Some(Dnf))]
    #[case::manjaro("ID=manjaro\nID_LIKE=arch", Some(Pacman))]
    #[case::nix("ID=nixos", None)]
    #[case::empty("", None)]
    #[case::malformed("ID=\"debian", None)]
    fn package_managers(#[case] os_release: &str, #[case] expected: Option<PackageManager>) {
        assert_eq!(Distribution::parse(os_release).package_manager(), expected);
    }

    #[test]
    fn every_field_is_read() {
        let text = "# made up\nVERSION_CODENAME=noble\nID_LIKE='debian'\nID=ubuntu\nNAME=\"U b\"\n";
        let expected = Distribution {
            id: "ubuntu".into(),
            like: vec!["debian".into()],
            codename: Some("noble".into()),
        };
        assert_eq!(Distribution::parse(text), expected);
    }
}
