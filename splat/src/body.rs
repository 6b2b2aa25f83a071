//! What follows the headline of a splat: registers, stack traces, and what else its title needs.

use crate::{
    frame::{self, Frame, after_addresses},
    message::{Message, Position, lines, of_line},
};

/// How many lines of a log a splat is looked for in.
const REACH: usize = 3000;

/// How many messages a splat can have.
const LONGEST: usize = 1500;

/// How many messages below a headline its proof can be.
const PROOF: usize = 40;

/// What was found behind a headline.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    /// Whether anything there is what only the kernel prints about its own trouble.
    pub(crate) confirmed: bool,
    /// The function that the processor was in, from the first line of registers.
    pub(crate) instruction: Option<&'a str>,
    /// Frames in front of the first heading of a trace.
    pub(crate) headless: Vec<Frame<'a>>,
    /// The stack traces, without empty ones.
    pub(crate) traces: Vec<Trace<'a>>,
    /// Where the locks of a report were taken, in the order of the report.
    pub(crate) locks: Vec<&'a str>,
    /// `Read` or `Write`.
    pub(crate) access: Option<&'static str>,
    /// The line below the headline.
    pub(crate) said: Option<&'a str>,
    /// The function that a worker ran last.
    pub(crate) worked: Option<&'a str>,
    /// The last line that belongs to it.
    pub(crate) last_line: usize,
}

/// A stack trace.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    /// The line above the frames.
    pub(crate) heading: &'a str,
    /// The function in the line of registers in front of it, where there is one.
    pub(crate) instruction: Option<&'a str>,
    /// The frames, innermost first.
    pub(crate) frames: Vec<Frame<'a>>,
    /// At which of the frames an interrupt stopped what ran before.
    pub(crate) interrupted: Option<usize>,
}

/// How much of a log all its splats together may read: one made of headlines must not take long.
const BYTES: usize = 32 << 20;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) const WHOLE: Budget = Budget(BYTES);
}

/// Reads the splat whose headline is at `headline`, up to whatever `ends` recognises.
pub(crate) fn read<'a>(
    log: &'a str,
    headline: &Message<'a>,
    budget: &mut Budget,
    mut ends: impl FnMut(&Message<'a>) -> bool,
) -> Body<'a> {
    let mut reader = Reader::new(headline);
    let from = Position { offset: headline.offset, line: headline.line };
    for (position, line) in lines(log, from).take(REACH) {
        let mut over = false;
        match budget.0.checked_sub(line.len() + 1) {
            Some(left) => budget.0 = left,
            None => break,
        }
        of_line(position, line, |message| {
            let behind = message.line > headline.line || follows(&message, headline);
            if behind && !over && reader.concerns(&message) {
                over = ends(&message) || !reader.take(&message);
            }
        });
        if over {
            break;
        }
    }
    reader.finish()
}

/// Whether a message stands behind another one on the same line.
fn follows(message: &Message, other: &Message) -> bool {
    message.text.as_ptr() as usize > other.text.as_ptr() as usize
}

#[derive(Default)]
struct Reader<'a> {
    caller: Option<&'a str>,
    /// Processors print on behalf of the splat's own.
    all_processors: bool,
    taken: usize,
    /// In how many more messages the proof of the headline can be.
    proof_left: usize,
    trace: Option<Trace<'a>>,
    pending_instruction: Option<&'a str>,
    /// Frames that follow are a trace without a heading, as on 32-bit ARM and RISC-V.
    frames_follow: bool,
    lock_wanted: bool,
    /// The next trace is of something else that the kernel was told to print.
    next_is_foreign: bool,
    /// So is the one that is being read.
    is_foreign: bool,
    body: Body<'a>,
}

impl<'a> Reader<'a> {
    fn new(headline: &Message<'a>) -> Self {
        Reader {
            caller: headline.caller,
            proof_left: PROOF + 1,
            next_is_foreign: is_of_starved_thread(headline.text),
            body: Body { last_line: headline.line, ..Body::default() },
            ..Reader::default()
        }
    }

    /// Whether a message was printed by whoever printed the headline.
    fn concerns(&self, message: &Message) -> bool {
        match (self.caller, message.caller) {
            (Some(own), Some(other)) => {
                own == other || self.all_processors && other.starts_with('C')
            }
            _ => true,
        }
    }

    /// Takes a message in; false when it is the last one.
    fn take(&mut self, message: &Message<'a>) -> bool {
        let text = message.text;
        self.taken += 1;
        self.proof_left = self.proof_left.saturating_sub(1);
        if self.taken > LONGEST {
            return false;
        }
        if text.contains("Sending NMI") || text.contains("sending NMI") {
            self.all_processors = true;
        }
        if reports_something_else(text) {
            self.proof_left = 0;
        }
        self.body.confirmed |= self.proof_left > 0 && confirms(text);
        if ends_a_trace(text) {
            self.close_trace();
            self.frames_follow = text.starts_with("task:");
        }
        if is_of_starved_thread(text) {
            self.close_trace();
            self.next_is_foreign = true;
        } else if text.starts_with("FAULT_INJECTION: ") {
            // Of another task, perhaps in the middle of a trace.
            self.next_is_foreign = true;
        } else if announces_stalled_processor(text) {
            self.next_is_foreign = false;
        }
        if is_heading(text) {
            self.open_trace(text);
            // Some put the first frame behind the heading.
            if let Some((_, rest)) = text.split_once("race:") {
                self.take_frame(rest);
            }
        } else if let Some(instruction) = frame::instruction_pointer(text) {
            self.body.confirmed |= self.proof_left > 0;
            if self.body.traces.is_empty() && self.trace.is_none() {
                self.body.instruction = self.body.instruction.or(instruction);
            }
            match &mut self.trace {
                // Registers of what an interrupt stopped, in the middle of a trace.
                Some(trace) if !trace.frames.is_empty() => {
                    trace.interrupted.get_or_insert(trace.frames.len());
                    let function = instruction.map(|function| Frame { function, reliable: true });
                    trace.frames.extend(function);
                }
                _ => {
                    self.pending_instruction = instruction.or(self.pending_instruction);
                    self.frames_follow = true;
                }
            }
        } else {
            self.take_frame(text);
        }
        self.take_details(text);
        self.body.last_line = message.line;
        !text.starts_with("---[ end ")
    }

    fn take_frame(&mut self, text: &'a str) {
        if let Some(trace) = &mut self.trace
            && matches!(text, "</IRQ>" | "<EOI>" | "</NMI>")
        {
            trace.interrupted.get_or_insert(trace.frames.len());
        }
        let text = text.trim_start();
        let text = ["<IRQ> ", "<EOI> ", "</IRQ> ", "<NMI> ", "<<EOE>> ", "<TASK> "]
            .iter()
            .fold(text, |text, mark| text.strip_prefix(mark).unwrap_or(text).trim_start());
        let Some(frame) = frame::frame(text) else { return };
        self.body.confirmed |= self.proof_left > 0;
        if self.trace.is_none() && std::mem::take(&mut self.frames_follow) {
            self.open_trace("");
        }
        match &mut self.trace {
            Some(trace) => trace.frames.push(frame),
            None => self.body.headless.push(frame),
        }
    }

    /// What only some kinds of splats say.
    fn take_details(&mut self, text: &'a str) {
        self.body.access = self.body.access.or_else(|| access(text));
        if let Some((_, place)) = text.split_once(", at: ").or_else(|| text.split_once(" at: "))
            && let Some(function) = frame::located(after_addresses(place.trim_start()))
        {
            self.body.locks.push(function);
            self.lock_wanted = false;
        } else if text.ends_with(" at:") && !text.contains("which became") {
            self.lock_wanted = true;
        } else if self.lock_wanted {
            let function = frame::located(after_addresses(text));
            self.body.locks.extend(function);
            self.lock_wanted = function.is_none() && text.is_empty();
        }
        // Since 6.10 in a line that begins with `preempt=`: kernel/workqueue.c, process_one_work().
        let worked = text.strip_prefix("last function: ").or_else(|| {
            text.strip_prefix("preempt=0x").and_then(|rest| Some(rest.split_once(" workfn=")?.1))
        });
        if let Some(function) = worked {
            let end = function.find(['+', ' ']).unwrap_or(function.len());
            self.body.worked.get_or_insert(&function[..end]);
        }
        if self.body.said.is_none() && !text.is_empty() {
            self.body.said = Some(text);
        }
    }

    fn open_trace(&mut self, heading: &'a str) {
        self.close_trace();
        self.frames_follow = false;
        self.is_foreign = std::mem::take(&mut self.next_is_foreign);
        let instruction = self.pending_instruction.take();
        self.trace = Some(Trace { heading, instruction, ..Trace::default() });
    }

    fn close_trace(&mut self) {
        let is_foreign = std::mem::take(&mut self.is_foreign);
        match self.trace.take() {
            Some(trace) if !trace.frames.is_empty() => {
                self.body.traces.extend(Some(trace).filter(|_| !is_foreign));
            }
            // The frames have another heading.
            _ => self.next_is_foreign |= is_foreign,
        }
    }

    fn finish(mut self) -> Body<'a> {
        self.close_trace();
        self.body
    }
}

/// Whether memory was read or written, where a line tells it: mm/kasan/report.c.
pub(crate) fn access(text: &str) -> Option<&'static str> {
    const ACCESSES: [(&str, &str); 4] = [
        ("Read of size ", "Read"),
        ("Write of size ", "Write"),
        ("Read at addr ", "Read"),
        ("Write at addr ", "Write"),
    ];
    ACCESSES.iter().find(|(start, _)| text.contains(start)).map(|(_, access)| *access)
}

/// Whether a line stands above the frames of a stack trace.
fn is_heading(text: &str) -> bool {
    const HEADINGS: [&str; 9] = [
        "Call Trace:",
        "Call trace:",
        "Backtrace:",
        "backtrace:",
        "backtrace (crc ",
        "Allocated",
        "Freed",
        "stack backtrace:",
        "Exception stack",
    ];
    HEADINGS.iter().any(|heading| text.starts_with(heading))
        || text.starts_with("Uninit was ")
        || text.starts_with("Local variable ")
        || text.starts_with("page last allocated ")
        || text.contains("which became ") && text.ends_with(" at:")
        || text.ends_with("Call Trace:")
}

/// Whether a line announces the stack of RCU's own thread, which waits for a processor:
/// kernel/rcu/tree_stall.h, rcu_check_gp_kthread_starvation().
pub(crate) fn is_of_starved_thread(text: &str) -> bool {
    text.contains(" kthread starved for ") || text.contains("RCU grace-period kthread stack dump")
}

/// Whether the next trace is of a processor that stalls: kernel/sched/core.c, dump_cpu_task(). Old
/// versions print it right behind the line about RCU's own thread, whose stack they don't show.
fn announces_stalled_processor(text: &str) -> bool {
    text.starts_with("Task dump for CPU ") || text.starts_with("NMI backtrace for cpu ")
}

/// Whether a line stands below a trace: what follows is of another processor, or of a program.
fn ends_a_trace(text: &str) -> bool {
    text.starts_with("NMI backtrace for cpu")
        || text.starts_with("RIP: 0033:")
        || text.starts_with("Sending NMI")
        || text.starts_with("CPU: ")
        || text.starts_with("task:")
}

/// Whether a line begins a report that is no splat and has a trace of its own: mm/page_alloc.c,
/// lib/fault-inject.c, kernel/irq/spurious.c, drivers/tty/sysrq.c.
fn reports_something_else(text: &str) -> bool {
    const REPORTS: [&str; 6] = [
        ": page allocation failure: ",
        ": page allocation stalls for ",
        "FAULT_INJECTION: ",
        ": nobody cared (try booting with ",
        "sysrq: Show ",
        "SysRq : Show ",
    ];
    REPORTS.iter().any(|words| text.contains(words))
}

/// Whether a line is one that the kernel prints when it reports trouble, and nobody else does.
fn confirms(text: &str) -> bool {
    const SIGNS: [&str; 17] = [
        "Call Trace:",
        "Call trace:",
        "Backtrace:",
        "RIP: 00",
        "EIP: ",
        "pc : ",
        "PC is at ",
        "Hardware name: ",
        "Modules linked in:",
        "---[ end ",
        "Kernel Offset: ",
        "Rebooting in ",
        "INFO: Slab 0x",
        "INFO: Object 0x",
        "Internal error: ",
        "unreferenced object",
        "Mem-Info:",
    ];
    SIGNS.iter().any(|sign| text.starts_with(sign))
        || text.starts_with("CPU: ") && (text.contains(" PID: ") || text.contains(" Comm: "))
        || text.starts_with("Pid: ") && text.contains(", comm: ")
}
