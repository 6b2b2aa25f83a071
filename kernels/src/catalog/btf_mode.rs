//! Which BTF modes a kernel supports. The image decides, whatever the entry says.

use kernlab_core::cell::BtfMode;

use crate::{
    catalog::{
        Kernels,
        error::{Error, ErrorKind},
        kernel::Unpacked,
        matrix::{Entry, Origin},
    },
    progress::Silent,
};

impl Unpacked {
    /// Refuses a mode that the image does not support. If the image can't be inspected, no mode is
    /// refused.
    pub fn check_mode(&self, entry: &Entry, mode: BtfMode) -> Result<(), Error> {
        match self.has_btf {
            Some(has_btf) if !mode.fits(has_btf) => {
                let advice = advice(entry, mode, has_btf);
                Err(ErrorKind::BtfMode { mode, has_btf, advice }.of(&self.id))
            }
            _ => Ok(()),
        }
    }
}

impl Kernels {
    /// Returns the same entries. Entries that exist only on the command line get their modes from
    /// their image, because no other source states them.
    pub fn with_modes_of_images(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        for entry in entries.iter_mut().filter(|entry| entry.origin == Origin::AdHoc) {
            // An error in the image is reported when the kernel is prepared.
            let has_btf = self.prepare(entry, &Silent).ok().and_then(|kernel| kernel.has_btf);
            if has_btf == Some(false) {
                entry.btf = vec![BtfMode::Absent];
            }
        }
        entries
    }
}

/// The remedy in the error message.
fn advice(entry: &Entry, mode: BtfMode, has_btf: bool) -> String {
    let fitting: Vec<BtfMode> = match has_btf {
        true => vec![BtfMode::Embedded, BtfMode::Masked],
        false => vec![BtfMode::Absent],
    };
    if !entry.btf.contains(&mode) {
        let names: Vec<_> = fitting.iter().map(|mode| mode.name()).collect();
        return format!("ask for {}", names.join(" or "));
    }
    let external = entry.btf.contains(&BtfMode::External).then_some(BtfMode::External);
    let names = fitting.into_iter().chain(external).map(|mode| format!("\"{mode}\""));
    let names: Vec<_> = names.collect();
    format!("its entry should say `btf = [{}]`", names.join(", "))
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Reason;
    use rstest::rstest;

    use super::*;
    use crate::{
        catalog::{
            matrix::Matrix,
            select::{Selection, select},
        },
        error_chain::chain,
    };

    fn entry(modes: &[BtfMode]) -> Entry {
        let image = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(image.path(), b"\x7fELF").unwrap();
        let selector = image.path().display().to_string();
        let chosen = select(&Matrix::default(), &Selection::of(&[selector])).unwrap();
        Entry { btf: modes.to_vec(), ..chosen.entries[0].clone() }
    }

    fn kernel(has_btf: Option<bool>) -> Unpacked {
        Unpacked { has_btf, ..Unpacked::sample("k", "5.4.0") }
    }

    use BtfMode::{Absent, Embedded, External, Masked};

    #[rstest]
    #[case::declared_absent(
        Some(true),
        &[Absent],
        Absent,
        "kernel k: the image has BTF, so no cell can run in the BTF mode absent: its entry should \
         say `btf = [\"embedded\", \"masked\"]`"
    )]
    #[case::declared_masked(
        Some(false),
        &[Masked, External],
        Masked,
        "kernel k: the image has no BTF, so no cell can run in the BTF mode masked: its entry \
         should say `btf = [\"absent\", \"external\"]`"
    )]
    #[case::asked_for(
        Some(false),
        &[Absent],
        Embedded,
        "kernel k: the image has no BTF, so no cell can run in the BTF mode embedded: ask for absent"
    )]
    fn a_mode_that_the_image_can_t_have_is_refused(
        #[case] has_btf: Option<bool>,
        #[case] modes: &[BtfMode],
        #[case] mode: BtfMode,
        #[case] message: &str,
    ) {
        let error = kernel(has_btf).check_mode(&entry(modes), mode).unwrap_err();
        assert_eq!(error.reason(), Reason::WrongBtfMode);
        assert_eq!(chain(&error), message);
    }

    #[rstest]
    #[case(Some(true), Embedded)]
    #[case(Some(true), Masked)]
    #[case(Some(true), External)]
    #[case(Some(false), Absent)]
    #[case(Some(false), External)]
    #[case::of_an_image_that_can_t_be_looked_into(None, Embedded)]
    #[case::of_an_image_that_can_t_be_looked_into(None, Absent)]
    fn any_other_mode_is_not(#[case] has_btf: Option<bool>, #[case] mode: BtfMode) {
        kernel(has_btf).check_mode(&entry(&[mode]), mode).unwrap();
    }
}
