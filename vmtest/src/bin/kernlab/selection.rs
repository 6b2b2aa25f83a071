//! Which kernels a command is about: the options that all of them have, and what goes wrong with them.

use clap::{Args, ValueEnum};
use kernlab_kernels::{Entry, Kernels, OpenError, Selection, Tier, Tiers, chain};

use crate::Exit;

/// Which kernels, named by options.
#[derive(Args, Clone, Debug)]
pub(crate) struct Selected {
    /// A kernel: an id, a release, a glob, `host`, `all`, or the path of an image. Repeatable; without
    /// it, the kernels of the default tier.
    #[arg(long = "kernel", value_name = "SEL")]
    kernels: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

/// How much a release means, and whether the lock may grow.
#[derive(Args, Clone, Debug)]
pub(crate) struct Scope {
    /// Which entries a release means. Without it, those of the default tier, and all of a release that
    /// has none there.
    #[arg(long)]
    tier: Option<TierName>,
    /// Take only kernels that are in kernels.lock, instead of adding what it lacks. KERNLAB_LOCKED=1 in
    /// the environment means the same for every command.
    #[arg(long)]
    locked: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TierName {
    Default,
    Extended,
    All,
}

/// The kernels of this checkout.
pub(crate) fn open() -> Result<Kernels, Exit> {
    Kernels::open().map_err(|error| report_error(&error))
}

/// The same, with the store to ourselves: for removing something from it.
pub(crate) fn open_exclusive() -> Result<Kernels, Exit> {
    Kernels::open_exclusive().map_err(|error| report_error(&error))
}

fn report_error(error: &OpenError) -> Exit {
    eprintln!("error: {}", chain(error));
    match error {
        OpenError::Place(_) | OpenError::Document(_) => Exit::Usage,
        OpenError::Store(_) => Exit::Infrastructure,
    }
}

impl Scope {
    /// The kernels, as far as the lock may be changed.
    pub(crate) fn limit(&self, kernels: Kernels) -> Kernels {
        if self.locked { kernels.locked_only() } else { kernels }
    }

    /// What these selectors mean.
    pub(crate) fn of(&self, selectors: &[String]) -> Selection {
        let tiers = match self.tier {
            None => Tiers::Preferred,
            Some(TierName::Default) => Tiers::Only(Tier::Default),
            Some(TierName::Extended) => Tiers::Only(Tier::Extended),
            Some(TierName::All) => Tiers::All,
        };
        Selection { selectors: selectors.to_owned(), tiers }
    }

    /// The entries that these selectors name. Says which of a release are left out.
    pub(crate) fn entries(
        &self,
        kernels: &Kernels,
        selectors: &[String],
    ) -> Result<Vec<Entry>, Exit> {
        let chosen = kernels.select(&self.of(selectors)).map_err(|error| {
            eprintln!("error: {error}");
            Exit::Usage
        })?;
        if let Some(left_out) = chosen.notice() {
            eprintln!("{left_out}");
        }
        Ok(chosen.entries)
    }
}

impl Selected {
    /// The kernels of this checkout.
    pub(crate) fn open(&self) -> Result<Kernels, Exit> {
        Ok(self.scope.limit(open()?))
    }

    /// What the options mean.
    pub(crate) fn selection(&self) -> Selection {
        self.scope.of(&self.kernels)
    }

    /// The kernels of this checkout, and those that are named.
    pub(crate) fn entries(&self) -> Result<(Kernels, Vec<Entry>), Exit> {
        let kernels = self.open()?;
        let entries = self.scope.entries(&kernels, &self.kernels)?;
        Ok((kernels, entries))
    }
}
