//! What runs the programs of a guest: a processor like this machine's, or another.

use kernlab_kernels::{Arch, Busybox, Entry, Error, Kernels, Observer};

/// What runs the programs of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform(Option<Foreign>);

/// A platform whose programs this machine can't run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Foreign {
    arch: Arch,
    /// Its shell and its small tools.
    busybox: Option<Busybox>,
}

impl Platform {
    /// The platform of a kernel's guests. For one of another architecture, downloads what is their shell.
    pub fn of(kernels: &Kernels, entry: &Entry, observer: &dyn Observer) -> Result<Self, Error> {
        let Platform(foreign) = Platform::without_tools(entry.arch);
        let with_tools = foreign.map(|Foreign { arch, .. }| {
            let busybox = Some(kernels.busybox(entry, observer)?);
            Ok(Foreign { arch, busybox })
        });
        with_tools.transpose().map(Platform)
    }

    /// The platform of guests that have a root with its own tools.
    pub fn without_tools(arch: Arch) -> Self {
        let is_own = Arch::of_this_program() == Some(arch);
        Platform((!is_own).then_some(Foreign { arch, busybox: None }))
    }

    /// Its architecture.
    pub(super) fn arch(&self) -> Arch {
        self.foreign().or_else(Arch::of_this_program).unwrap_or_default()
    }

    /// Its architecture, if that is not this machine's.
    pub(super) fn foreign(&self) -> Option<Arch> {
        self.0.as_ref().map(|foreign| foreign.arch)
    }

    /// The shell and the small tools of its guests, if they are not this machine's.
    pub(super) fn busybox(&self) -> Option<&Busybox> {
        self.0.as_ref().and_then(|foreign| foreign.busybox.as_ref())
    }
}
