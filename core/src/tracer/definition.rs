//! What a tracer consists of.

use kernlab_abi::{EventHeader, Layout, ProgramConfig};

use crate::{
    arch::{Arch, SystemCall},
    attach::{AttachPoint, tracepoint},
    buffer::BufferKind,
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::{Action, Event, escape},
    facts::{Dependency, KernelFacts},
    outcome::Reason,
    scenario::{Kind, Scenario},
    unsupported::Unsupported,
};

/// What distinguishes a tracer from all others.
pub(super) struct Definition {
    /// The name in ids, file names and BPF objects: `sys_write`.
    pub(super) name: &'static str,
    /// The workloads that prove it.
    pub(super) scenarios: &'static [Workload],
    /// What its plans may depend on.
    pub(super) wants: fn() -> Wants,
    /// Where its programs go. What they read at run time goes into the configuration.
    pub(super) attach:
        fn(&Scenario, &KernelFacts, &mut ProgramConfig) -> Result<Vec<AttachPoint>, Unsupported>,
    /// What its programs report.
    pub(super) event: EventType,
}

/// A workload that proves a tracer: what its [`Scenario`] has beside the tracer.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
}

/// A workload each of whose events is listed in the golden snapshot.
pub(super) const fn listed(name: &'static str, about: &'static str) -> Workload {
    Workload { name, about, kind: Kind::Listed }
}

/// A listed workload that is about one kind of buffer.
pub(super) const fn through(
    name: &'static str,
    buffer: BufferKind,
    about: &'static str,
) -> Workload {
    Workload { name, about, kind: Kind::Through(buffer) }
}

/// A workload whose every event must wake the reader of its buffer.
pub(super) const fn live(name: &'static str, buffer: BufferKind, about: &'static str) -> Workload {
    Workload { name, about, kind: Kind::Live(buffer) }
}

/// A workload whose events are counted.
pub(super) const fn burst(name: &'static str, burst: Burst, about: &'static str) -> Workload {
    Workload { name, about, kind: Kind::Burst(burst) }
}

/// What the plans of a tracer may ask about or attach to.
#[derive(Default)]
pub(crate) struct Wants {
    /// Functions that plans attach to, or whose parameters they ask about.
    pub(crate) functions: Vec<&'static str>,
    /// System calls whose functions they attach to.
    pub(crate) system_calls: Vec<SystemCall>,
    /// Those of the functions whose parameters a plan asks about where they are not certain.
    pub(super) searched: Vec<&'static str>,
    /// Other symbols.
    pub(crate) symbols: Vec<&'static str>,
    /// Tracepoints of system calls, by name.
    pub(crate) tracepoints: Vec<&'static str>,
    /// Structures with one field each.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
}

impl Wants {
    /// With the functions that this architecture has for the system calls.
    pub(super) fn on(mut self, arch: Arch) -> Self {
        self.functions.extend(self.system_calls.iter().map(|&call| arch.function_of(call)));
        self
    }

    /// Is this gathered for the tracer?
    fn include(&self, dependency: &Dependency) -> bool {
        match dependency {
            Dependency::Symbol(name) => {
                self.functions.iter().chain(&self.symbols).any(|wanted| wanted == name)
            }
            Dependency::Tracepoint(name) => self.tracepoints.iter().any(|wanted| wanted == name),
            Dependency::Prototype(name) => self.functions.iter().any(|wanted| wanted == name),
            Dependency::Field(structure, field) => {
                self.fields.contains(&(structure.as_str(), field.as_str()))
            }
        }
    }
}

impl Definition {
    /// Where its programs go. A plan that depends on a fact that nobody gathers is refused: what was not
    /// looked for is not missing.
    pub(super) fn attach_points(
        &self,
        scenario: &Scenario,
        facts: &KernelFacts,
        config: &mut ProgramConfig,
    ) -> Result<Vec<AttachPoint>, Unsupported> {
        let (planned, mut asked) = facts.asked.during(|| (self.attach)(scenario, facts, config));
        asked.extend(planned.iter().flatten().flat_map(|point| point.target.dependencies()));
        let wants = (self.wants)().on(facts.arch);
        match asked.iter().find(|dependency| !wants.include(dependency)) {
            Some(forgotten) => Err(Unsupported::new(
                Reason::FactNotGathered,
                format!(
                    "the plan of {name} depends on {forgotten}, which was not looked for: \
                     `wants` in core/src/tracer/{name}.rs has to name it",
                    name = self.name
                ),
            )),
            None => planned,
        }
    }
}

/// An event with the time that orders it.
pub(super) type Decoded = Result<(u64, Event), DecodeError>;

/// How the bytes of an event become one.
pub(super) struct EventType {
    pub(super) size: usize,
    pub(super) decode: fn(&Decoder<'_>, &[u8]) -> Decoded,
}

impl EventType {
    pub(super) const fn of<T: RawEvent>() -> Self {
        EventType { size: size_of::<T>(), decode: decode::<T> }
    }
}

/// An event as the programs write it.
///
/// # Safety
///
/// Any bytes are a valid value.
pub(super) unsafe trait RawEvent: Copy {
    /// What every event starts with.
    fn header(&self) -> &EventHeader;

    /// The event's reserved bytes, which programs leave zero.
    fn reserved(&self) -> u32 {
        0
    }

    /// What the thread did.
    fn action(&self, decoder: &Decoder<'_>) -> Result<Action, DecodeError>;
}

pub(super) fn decode<T: RawEvent>(decoder: &Decoder<'_>, record: &[u8]) -> Decoded {
    let expected = size_of::<T>();
    if record.len() != expected {
        let tracer = decoder.scenario.tracer;
        return Err(DecodeError::Size { tracer, expected, got: record.len() });
    }
    // SAFETY: the record has T's size, and any bytes are a valid T.
    let raw = unsafe { record.as_ptr().cast::<T>().read_unaligned() };
    let &EventHeader { time, tgid, tid, comm } = raw.header();
    // It is an event of its thread all the same: the judge shows it among the others.
    let undecodable = |error: DecodeError| Action::Undecodable { why: error.to_string() };
    let action = match raw.reserved() {
        0 => raw.action(decoder),
        reserved => Err(DecodeError::Reserved(reserved)),
    };
    let action = action.unwrap_or_else(undecodable);
    Ok((time, Event { pid: tgid, tid, comm: escape(&comm), action }))
}

/// A field that programs read: structure, field, and where the plan's layout has its offset.
pub(super) type LayoutField = (&'static str, &'static str, fn(&mut Layout) -> &mut u32);

/// The fields, for [`Wants`].
pub(super) fn names(fields: &[LayoutField]) -> impl Iterator<Item = (&'static str, &'static str)> {
    fields.iter().map(|&(structure, field, _)| (structure, field))
}

/// Looks up the offsets of the fields.
pub(super) fn lay_out(
    fields: &[LayoutField],
    facts: &KernelFacts,
    layout: &mut Layout,
) -> Result<(), Unsupported> {
    for (structure, field, offset) in fields {
        *offset(layout) = facts.offset(structure, field)?;
    }
    Ok(())
}

/// Programs on tracepoints of system calls, each with the name of its tracepoint: all of them, or none.
pub(super) fn on_system_calls<'a>(
    programs: impl IntoIterator<Item = (&'a str, &'a str)>,
    facts: &KernelFacts,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let attached = |(program, name): (&str, &str)| match facts.has_tracepoint(name) {
        true => Ok(tracepoint(program, name)),
        false => Err(Unsupported::new(
            Reason::MissingConfig,
            format!("there is no tracepoint {name}: CONFIG_FTRACE_SYSCALLS"),
        )),
    };
    programs.into_iter().map(attached).collect()
}

/// Refuses a scenario that fills the map of calls under way, where their ends are seen by return probes: those
/// see only as many returns at a time as the kernel has instances for, at most ten, or twice as many as there
/// can be processors if that is more (`kretprobe.maxactive`, kernel/kprobes.c). The ends of all others would go
/// unseen.
pub(super) fn refuse_full_pending(scenario: &Scenario) -> Result<(), Unsupported> {
    if !scenario.burst().is_some_and(Burst::fills_pending) {
        return Ok(());
    }
    Err(Unsupported::new(
        Reason::HelperUnavailable,
        "return probes see the ends of no more than some ten calls at a time, and the map holds more",
    ))
}

/// Refuses the scenario about unseen ends where only tracepoints are left to see them: those miss none.
pub(super) fn refuse_unseen_end(scenario: &Scenario) -> Result<(), Unsupported> {
    if !wants_return_probes(scenario) {
        return Ok(());
    }
    let message = "the kernel lacks the functions behind the tracepoints, and tracepoints see every end of a call";
    Err(Unsupported::new(Reason::MissingSymbol, message))
}

/// Is the scenario about ends that return probes don't see?
pub(super) fn wants_return_probes(scenario: &Scenario) -> bool {
    scenario.burst().is_some_and(Burst::has_unseen_end)
}

/// On a kernel with this symbol, programs on syscall tracepoints can be preempted
/// (kernel/trace/bpf_trace.c, from 7.2 on). While a thread is preempted inside one, other threads on its
/// CPU go untraced for whole time slices, so entries and exits are paired wrongly.
pub(super) const FAULTABLE: &str = "trace_call_bpf_faultable";

/// What spinlocks are with PREEMPT_RT, and only then: kernel/locking/spinlock_rt.c.
const SLEEPING_LOCKS: &str = "rt_spin_lock";

/// What [`probes_functions`] asks about, for [`Wants`].
pub(super) const SKIPS: [&str; 2] = [FAULTABLE, SLEEPING_LOCKS];

/// Must a tracer use the functions behind the tracepoints of system calls? It must where the kernel skips
/// programs on those, and in the scenario about unseen ends, which is about return probes.
///
/// The kernel skips them where they can be preempted ([`FAULTABLE`]), and with PREEMPT_RT for a tracer that
/// sends events through perf buffers. There a thread wakes the reader of a perf buffer, and can be preempted
/// while it does (`perf_pending_irq`, kernel/events/core.c). Meanwhile it has the recursion context for software
/// events, of which each CPU has one (each task from 6.11 on, commit 0d40a6d83e3e). Without it
/// `perf_syscall_enter` and `perf_syscall_exit` return before they call programs, and count nothing
/// (kernel/trace/trace_syscalls.c). Programs on kprobes are called without it (`kprobe_perf_func`,
/// kernel/trace/trace_kprobe.c).
pub(super) fn probes_functions(scenario: &Scenario, facts: &KernelFacts) -> bool {
    if wants_return_probes(scenario) {
        return true;
    }
    let is_perf = matches!(BufferKind::of(scenario, facts), Ok(BufferKind::Perf));
    facts.has_symbol(FAULTABLE) || (is_perf && facts.has_symbol(SLEEPING_LOCKS))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        attach::{kprobe, tracepoint},
        plan::tests::{facts, scenario},
    };

    type Planned = Result<Vec<AttachPoint>, Unsupported>;

    /// A tracer that looks for one function, one tracepoint and one field.
    fn tracer(attach: fn(&Scenario, &KernelFacts, &mut ProgramConfig) -> Planned) -> Definition {
        Definition {
            name: "newsnoop",
            scenarios: &[],
            wants: || Wants {
                functions: vec!["vfs_read"],
                symbols: vec!["socket_file_ops"],
                tracepoints: vec!["sys_enter_read"],
                fields: vec![("file", "f_op")],
                ..Wants::default()
            },
            attach,
            event: EventType::of::<kernlab_abi::SysWriteEvent>(),
        }
    }

    /// A plan that asks this.
    fn asked(question: &str, facts: &KernelFacts) -> Planned {
        assert!(!facts.has_symbol("vfs_read"));
        match question.split_once(' ') {
            Some(("tracepoint", name)) if facts.has_tracepoint(name) => Ok(vec![]),
            Some(("tracepoint", _)) => {
                Err(Unsupported::new(Reason::MissingConfig, "no tracepoint"))
            }
            Some(("parameters", name)) => facts.prototype(name).map(|_| vec![]),
            Some(("field", name)) => facts.offset("file", name).map(|_| vec![]),
            Some(("attach", name)) => Ok(vec![tracepoint("program", name)]),
            Some(("probe", name)) => Ok(vec![kprobe("program", name)]),
            _ => unreachable!("no case asks {question}"),
        }
    }

    /// Each of these is a plan of its own, because a tracer is a function without a state.
    macro_rules! asks {
        ($question:literal) => {
            tracer(|_, facts, _| asked($question, facts))
        };
    }

    #[rstest]
    #[case::gathered(asks!("tracepoint sys_enter_read"), Reason::MissingConfig, "no")]
    #[case::forgotten(
        asks!("tracepoint sys_exit_read"),
        Reason::FactNotGathered,
        "the plan of newsnoop depends on the tracepoint sys_exit_read, which was not looked for"
    )]
    #[case::attached(
        asks!("attach sys_exit_read"),
        Reason::FactNotGathered,
        "depends on the tracepoint sys_exit_read"
    )]
    #[case::probed(asks!("probe vfs_write"), Reason::FactNotGathered, "the symbol vfs_write")]
    #[case::a_symbol_has_no_parameters(
        asks!("parameters socket_file_ops"),
        Reason::FactNotGathered,
        "depends on the parameters of socket_file_ops"
    )]
    #[case::field(asks!("field f_mode"), Reason::FactNotGathered, "the field file.f_mode")]
    #[case::gathered_field(asks!("field f_op"), Reason::LayoutNotFound, "there is no BTF")]
    fn what_was_not_looked_for_is_not_missing(
        #[case] tracer: Definition,
        #[case] reason: Reason,
        #[case] message: &str,
    ) {
        let facts = facts(&[], None);
        // What another tracer asked is no matter of this one.
        assert!(!facts.has_symbol("key_alloc"));
        let scenario = scenario("sys_write/threads");
        let planned = tracer.attach_points(scenario, &facts, &mut ProgramConfig::default());
        let refused = planned.unwrap_err();
        assert_eq!(refused.reason, reason);
        assert!(refused.message.contains(message), "{refused}");
        let asked = facts.asked.into_dependencies();
        assert!(asked.contains(&Dependency::Symbol("key_alloc".to_owned())), "it is kept");
    }
}
