//! Looks for the same text in millions of lines.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A text to look for, prepared once.
pub(crate) struct Part(LazyLock<Finder<'static>>);

impl Part {
    pub(crate) const fn new(prepare: fn() -> Finder<'static>) -> Self {
        Part(LazyLock::new(prepare))
    }

    /// Where a text has it.
    pub(crate) fn at(&self, text: &str) -> Option<usize> {
        self.0.find(text.as_bytes())
    }
}
