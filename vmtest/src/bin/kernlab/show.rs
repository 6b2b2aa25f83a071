//! Shows a run: on a terminal, the current work, redrawn in place; elsewhere, a line for each
//! kernel that is done and for each cell that failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::preparing::Preparing;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernlab_core::{
    cell::CellName,
    outcome::{Outcome, Reason, Severity},
};
use kernlab_kernels::{Event, Observer};
use kernlab_vmtest::{
    report::table::{self, counted},
    run::{RunObserver, plan::RunPlan, progress::ProgressEvent},
    terminal::shown,
};

/// Shows a run on standard error.
pub(crate) struct Terminal {
    bar: ProgressBar,
    state: Mutex<State>,
    preparing: Preparing,
    shows_cells: bool,
}

#[derive(Default)]
struct State {
    /// What each running cell is doing.
    running: BTreeMap<String, &'static str>,
    /// The progress of each kernel's cells.
    kernels: BTreeMap<String, KernelState>,
    /// The current step of preparing each kernel.
    preparing: BTreeMap<String, String>,
    /// Kernels whose waiting cells were already reported.
    awaited: BTreeSet<String>,
}

struct KernelState {
    left: usize,
    counts: BTreeMap<Outcome, usize>,
    began: Option<Instant>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Terminal {
            bar: ProgressBar::with_draw_target(None, target),
            state: Mutex::default(),
            preparing: Preparing::default(),
            shows_cells: true,
        }
    }

    /// Shows only what needs attention: notices and downloads, but no cell.
    pub(crate) fn quiet() -> Self {
        Terminal { shows_cells: false, ..Terminal::new() }
    }

    /// The width of the table in columns.
    pub(crate) fn width(&self) -> usize {
        if std::io::stdout().is_terminal() {
            console::Term::stdout().size().1.into()
        } else {
            table::WIDTH
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays, above the redrawn part.
    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            say!("{text}");
        } else {
            self.bar.println(shown(text));
        }
    }

    fn redraw(&self, state: &State) {
        let kernels = state.preparing.iter().map(|(kernel, doing)| format!("{kernel}: {doing}"));
        let cells = state.running.iter().map(|(cell, stage)| format!("{stage} {cell}"));
        let text = cells.chain(kernels).collect::<Vec<_>>().join("  ");
        self.bar.set_message(shown(&text).into_owned());
    }
}

impl RunObserver for Terminal {
    fn begin(&self, _dir: &Path, plan: &RunPlan) {
        if !self.shows_cells {
            return;
        }
        let mut state = self.state();
        let attempts: Vec<_> = plan.attempts().map(|attempt| attempt.to_string()).collect();
        for cell in &attempts {
            let kernel = state.kernels.entry(kernel_of(cell)).or_insert_with(|| KernelState {
                left: 0,
                counts: BTreeMap::new(),
                began: None,
            });
            kernel.left += 1;
        }
        let kernels = state.kernels.len();
        let times = match plan.options.execution.repeats().get() {
            1 => String::new(),
            times => format!(", {times} times each"),
        };
        let (cells, kernels) = (counted(plan.cells.len(), "cell"), counted(kernels, "kernel"));
        self.line(&format!("{cells} on {kernels}{times}"));
        self.bar.set_length(attempts.len() as u64);
        self.bar.set_style(
            ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {wide_msg}")
                .expect("the template is valid")
                .progress_chars("=> "),
        );
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn cell(&self, cell: &str, event: &ProgressEvent) {
        if !self.shows_cells {
            return;
        }
        let mut state = self.state();
        match event {
            ProgressEvent::Notice(line) => self.line(line),
            ProgressEvent::Waiting => {
                let kernel = kernel_of(cell);
                if self.bar.is_hidden() && state.awaited.insert(kernel.clone()) {
                    let doing = state.preparing.get(&kernel);
                    let doing = doing.map_or("not started", String::as_str);
                    self.line(&format!("cells wait for {kernel}: {doing}"));
                }
                state.running.insert(cell.to_owned(), "waits:");
            }
            ProgressEvent::Booting => {
                state.running.insert(cell.to_owned(), "boots");
                if let Some(kernel) = state.kernels.get_mut(&kernel_of(cell)) {
                    kernel.began.get_or_insert_with(Instant::now);
                }
            }
            ProgressEvent::Tracing => {
                state.running.insert(cell.to_owned(), "traces");
            }
            ProgressEvent::Finished { outcome, reason } => {
                state.running.remove(cell);
                self.bar.inc(1);
                let kernel = kernel_of(cell);
                // The other modes of the kernel may still work.
                let of_mode = *reason == Some(Reason::WrongBtfMode);
                if outcome.severity() != Severity::Expected {
                    let verdict = outcome.described(*reason);
                    let is_reported = |kernel: &KernelState| kernel.counts.contains_key(outcome);
                    match outcome {
                        // The kernel is unavailable, and one line about that is enough.
                        Outcome::Unavailable
                            if state.kernels.get(&kernel).is_some_and(is_reported) => {}
                        Outcome::Unavailable if of_mode => {
                            let mode = CellName::of(cell).btf;
                            self.line(&format!("{kernel}/{mode}: {verdict}"));
                        }
                        Outcome::Unavailable => self.line(&format!("{kernel}: {verdict}")),
                        _ => self.line(&format!("{cell}: {verdict}")),
                    }
                }
                if let Some(of_kernel) = state.kernels.get_mut(&kernel) {
                    of_kernel.left = of_kernel.left.saturating_sub(1);
                    *of_kernel.counts.entry(*outcome).or_default() += 1;
                    if of_kernel.left == 0 {
                        self.line(&of_kernel.summary(&kernel));
                    }
                }
            }
        }
        self.redraw(&state);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl KernelState {
    fn summary(&self, kernel: &str) -> String {
        let counts: Vec<_> =
            self.counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        format!("{kernel}: {} in {seconds:.1} s", counts.join(", "))
    }
}

fn kernel_of(cell: &str) -> String {
    CellName::of(cell).kernel.to_owned()
}

impl Observer for Terminal {
    fn notice(&self, line: &str) {
        self.line(line);
    }

    fn observe(&self, kernel: &str, event: Event<'_>) {
        if let Some(line) = self.preparing.line(kernel, &event, !self.bar.is_hidden()) {
            self.line(&line);
        }
        let mut state = self.state();
        if matches!(event, Event::Ready) {
            state.preparing.remove(kernel);
        } else if let Some(message) = self.preparing.message(kernel, &event) {
            state.preparing.insert(kernel.to_owned(), message);
        }
        self.redraw(&state);
        self.bar.tick();
    }
}
