/* A tracer that behaves as its first argument says. It needs no library, so that it can be
 * compiled wherever the lab can. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

/* Loads a socket filter that drops everything, which any kernel accepts. */
static int load(const char *name)
{
	struct bpf_insn instructions[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (unsigned long)instructions;
	attr.insn_cnt = 2;
	attr.license = (unsigned long)"GPL";
	strncpy(attr.prog_name, name, sizeof(attr.prog_name) - 1);
	return bpf(BPF_PROG_LOAD, &attr);
}

static int pin(int program, const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = (unsigned long)path;
	attr.bpf_fd = program;
	return bpf(BPF_OBJ_PIN, &attr);
}

int main(int argc, char **argv)
{
	const char *does = argc > 1 ? argv[1] : "";
	int has_types = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	int program = load(strcmp(does, "falls-back") ? "probe" : has_types ? "typed" : "untyped");

	if (program < 0) {
		perror("load");
		return 1;
	}
	if (!strcmp(does, "crashes")) {
		int trigger = open("/proc/sysrq-trigger", O_WRONLY);

		/* The kernel is gone as soon as this was written. */
		return write(1, "{\"event\": \"last\"}\n", 18) != 18 ||
		       write(2, "last words\n", 11) != 11 || write(trigger, "c", 1) != 1;
	}
	if (!strcmp(does, "pins") && pin(program, "/sys/fs/bpf/left")) {
		perror("pin");
		return 1;
	}
	/* Joins the group of a child: this is what a daemon or a shell with job control does. */
	if (!strcmp(does, "leaves-its-group")) {
		int child = fork();

		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			pause();
			_exit(0);
		}
		if (setpgid(child, child) || setpgid(0, child)) {
			perror("setpgid");
			return 1;
		}
	}
	/* The workload's events come from here. */
	if (!strcmp(does, "reports") || !strcmp(does, "loses")) {
		puts("{\"event\": \"first\", \"pid\": 10}");
		if (!strcmp(does, "reports"))
			puts("{\"event\": \"second\", \"pid\": 11}");
		fflush(stdout);
	}
	pause();
	return 0;
}
