//! Chooses the frame that names a splat.

use crate::{
    body::{Body, Trace},
    frame::Frame,
    headline::{Headline, Search},
    kind::Kind,
    skip_list::{is_entry, is_plumbing, waits, without_call_prefix},
};

/// The function that matters in a splat.
pub(crate) fn frame<'a>(headline: &Headline<'a>, body: &Body<'a>) -> Option<&'a str> {
    let found = match headline.search {
        Search::Nowhere => return None,
        Search::Stalled => stalled(headline, body),
        Search::Hung => hung(body),
        Search::Headless => top(headline, body, &body.headless),
        Search::Locks => locked(headline, body),
        Search::Became => {
            trace_headed(headline, body, "which became ").or_else(|| locked(headline, body))
        }
        Search::Owner => trace_headed(headline, body, "page last allocated ")
            .or_else(|| top(headline, body, &[])),
        Search::Worker => body.worked,
        Search::Top => top(headline, body, &[]),
    };
    found.or_else(|| headline.function.or(body.instruction).map(without_call_prefix))
}

/// The frames that may be meant: reliable ones, or all where none is.
fn trusted<'a>(frames: &[Frame<'a>]) -> impl Iterator<Item = &'a str> + Clone {
    let any_reliable = frames.iter().any(|frame| frame.reliable);
    let trusted = frames.iter().filter(move |frame| frame.reliable || !any_reliable);
    trusted.map(|frame| frame.function).collect::<Vec<_>>().into_iter()
}

fn first_meaningful<'a>(
    headline: &Headline,
    functions: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    functions.map(without_call_prefix).find(|function| !is_plumbing(function, headline.skip))
}

/// The innermost function that says something.
fn top<'a>(headline: &Headline<'a>, body: &Body<'a>, headless: &[Frame<'a>]) -> Option<&'a str> {
    // Some versions on 32-bit ARM print no heading.
    let first = body.traces.iter().find(|trace| is_own(trace));
    let first = first.map_or(&body.headless, |trace| &trace.frames);
    let named = headline.function.into_iter().chain(body.instruction);
    first_meaningful(headline, named.chain(trusted(headless)).chain(trusted(first)))
}

/// Whether a trace is of the splat, and not of where its memory came from.
fn is_own(trace: &Trace) -> bool {
    const OF_OTHERS: [&str; 6] = [
        "Allocated",
        "Freed",
        "Uninit was",
        "Local variable",
        "Last potentially",
        "stack backtrace:",
    ];
    trace.heading.starts_with("stack backtrace")
        || !OF_OTHERS.iter().any(|start| trace.heading.starts_with(start))
}

/// Where the locks were taken, as far as it says something.
fn locked<'a>(headline: &Headline<'a>, body: &Body<'a>) -> Option<&'a str> {
    let chain = trusted(&body.headless);
    let trace = body.traces.iter().flat_map(|trace| trusted(&trace.frames));
    first_meaningful(headline, body.locks.iter().copied().chain(chain).chain(trace))
        .or_else(|| body.locks.first().copied().map(without_call_prefix))
}

/// What says something in the trace under such a heading.
fn trace_headed<'a>(headline: &Headline<'a>, body: &Body<'a>, part: &str) -> Option<&'a str> {
    let trace = body.traces.iter().find(|trace| trace.heading.contains(part))?;
    first_meaningful(headline, trusted(&trace.frames))
}

/// What a task that waits was called to do.
fn hung<'a>(body: &Body<'a>) -> Option<&'a str> {
    let functions = trusted(&body.traces.first()?.frames).map(without_call_prefix);
    const KNOWN: [(&str, &str); 5] = [
        ("rtnl_lock", "rtnl_lock"),
        ("synchronize_rcu", "synchronize_rcu"),
        ("synchronize_srcu", "synchronize_rcu"),
        ("synchronize_net", "synchronize_rcu"),
        ("synchronize_sched", "synchronize_rcu"),
    ];
    // Waits that everybody does, and whose victim says little about their cause.
    let known = functions.clone().find_map(|function| {
        KNOWN.iter().find(|(part, _)| function.contains(part)).map(|(_, name)| *name)
    });
    known.or_else(|| {
        functions.clone().find(|function| !waits(function) && !is_plumbing(function, &[]))
    })
}

/// The function that never comes back: the outermost one under an entry to the kernel.
fn stalled<'a>(headline: &Headline<'a>, body: &Body<'a>) -> Option<&'a str> {
    // The watchdogs show the registers of what they interrupted, and the frames that the unwinder
    // vouches for begin there: kernel/watchdog.c, watchdog_timer_fn().
    let is_lockup = matches!(headline.kind, Kind::SoftLockup | Kind::HardLockup);
    let of_trace = |trace: &Trace<'a>| {
        let from = if is_lockup && trace.instruction.is_some() {
            0
        } else {
            interrupted(trace).unwrap_or(0)
        };
        let registers = trace.instruction.filter(|_| from == 0);
        // A console that is slow holds up whatever prints.
        if let Some(console) = registers.filter(|function| function.starts_with("console_")) {
            return Some(console);
        }
        let functions = registers.into_iter().chain(trusted(&trace.frames[from..]));
        let functions = functions
            .map(without_call_prefix)
            .filter(|function| !is_plumbing(function, headline.skip));
        let mut before = None;
        for function in functions {
            if is_entry(function) {
                if function.contains("smp_call_function") {
                    return Some("smp_call_function");
                }
                if before.is_some() {
                    return before;
                }
                continue;
            }
            before = Some(function);
        }
        before
    };
    // Traces of tasks that sleep, the kernel's RCU thread above all, tell less.
    let ran = |trace: &&Trace| trace.instruction.is_some() || interrupted(trace).is_some();
    let mut running = body.traces.iter().filter(ran);
    running
        .find_map(of_trace)
        .or_else(|| body.traces.iter().find_map(of_trace))
        // Entries alone: the innermost one says most.
        .or_else(|| {
            let from = |trace: &Trace| interrupted(trace).unwrap_or(0);
            let innermost = |trace: &Trace<'a>| {
                first_meaningful(headline, trusted(&trace.frames[from(trace)..]))
            };
            body.traces.iter().find_map(innermost)
        })
}

/// The frame behind the interrupt that the report was made in.
fn interrupted(trace: &Trace) -> Option<usize> {
    const INTERRUPTS: [&str; 4] = ["apic_timer_interrupt", "el1_irq", "el1h_64_irq", "__irq_svc"];
    let is_interrupt = |frame: &Frame| INTERRUPTS.iter().any(|part| frame.function.contains(part));
    let first = trace.frames.iter().position(is_interrupt);
    let named = first.map(|first| {
        first + trace.frames[first..].iter().take_while(|frame| is_interrupt(frame)).count()
    });
    named.or(trace.interrupted).map(|frame| frame.min(trace.frames.len()))
}
