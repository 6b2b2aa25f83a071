//! Shows what happens: a bar on a terminal, a line for each file elsewhere.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernlab_vmtest::kernels::{Event, Observer, Unpacked, chain};

/// Bar, rate and time left of the file that is being downloaded.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    begun: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let is_terminal = console_is_terminal();
        let target = match is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}",
        ) {
            bar.set_style(style);
        }
        Progress { bar, is_terminal, begun: Mutex::new(Instant::now()) }
    }

    /// A kernel can be booted.
    pub(crate) fn ready(&self, kernel: &Unpacked) {
        self.line(&format!("{}: {} is ready", kernel.id, kernel.release));
    }

    /// Something went wrong: what is on the terminal makes room for the message.
    pub(crate) fn failed(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

impl Observer for Progress {
    fn observe(&self, kernel: &str, event: Event<'_>) {
        match event {
            Event::Wait { file } => {
                self.line(&format!("{kernel}: waiting for another process that downloads {file}"));
            }
            Event::Download { file, done, size } => {
                *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.bar.reset();
                self.bar.set_length(size);
                self.bar.set_position(done);
                self.bar.set_prefix(kernel.to_owned());
                self.bar.set_message(file.to_owned());
                if !self.is_terminal {
                    let resumed = match done {
                        0 => String::new(),
                        done => format!(", {} of it are here", HumanBytes(done)),
                    };
                    self.line(&format!(
                        "{kernel}: downloading {file} ({}{resumed})",
                        HumanBytes(size)
                    ));
                }
            }
            Event::Progress { done } => self.bar.set_position(done),
            Event::Downloaded => {
                let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = begun.elapsed().as_secs_f64();
                self.bar.finish_and_clear();
                self.line(&format!("{kernel}: downloaded in {seconds:.1} s"));
            }
            Event::AddressFailed { url, error } => {
                self.bar.finish_and_clear();
                self.line(&format!("{kernel}: {url}: {}", chain(error)));
            }
            Event::Unpack => self.line(&format!("{kernel}: unpacking")),
            _ => {}
        }
    }
}
