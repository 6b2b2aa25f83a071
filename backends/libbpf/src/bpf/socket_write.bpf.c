/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Completed writes to sockets, seen at the tracepoints of the system calls or at the functions behind
 * them; the plan decides. On entry the descriptor tells which socket it is: another thread may
 * give the descriptor to another file while the call is under way. On exit the socket tells its
 * addresses: the call itself may have given it some, as sendto(2) does to a socket without a port. A
 * connection that was reset meanwhile has no port any more (inet_put_port), so that is also read on entry.
 */
#include "arch.h"
#include "syscall.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingSocketWrite);
} pending SEC(".maps");

#ifdef KERNLAB_CORE
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct file {
	const void *f_op;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct files_struct *files;
};

struct in6_addr {
	__u32 words[ADDRESS_WORDS];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct socket {
	void *sk;
};

#pragma clang attribute pop
#endif

#define READ_FIELD(config, to, structure, field, address)                                       \
	read_kernel(config, &(to), sizeof(to), (address) + FIELD_OFFSET(config, structure, field))

/* The struct sock behind a descriptor of the current task; 0 if it isn't one of a socket. */
static __always_inline __u64 sock_of_descriptor(const struct ProgramConfig *config, __u32 fd)
{
	__u64 task = bpf_get_current_task();
	__u64 files = pointer_at(config, task + FIELD_OFFSET(config, task_struct, files));
	__u64 table = pointer_at(config, files + FIELD_OFFSET(config, files_struct, fdt));
	__u64 array = pointer_at(config, table + FIELD_OFFSET(config, fdtable, fd));
	__u64 file, socket;
	__u32 max_fds;

	if (READ_FIELD(config, max_fds, fdtable, max_fds, table) || fd >= max_fds)
		return 0;
	file = pointer_at(config, array + sizeof(file) * (__u64)fd);
	if (pointer_at(config, file + FIELD_OFFSET(config, file, f_op)) != config->socket_file_ops)
		return 0;
	socket = pointer_at(config, file + FIELD_OFFSET(config, file, private_data));
	return pointer_at(config, socket + FIELD_OFFSET(config, socket, sk));
}

static __always_inline int enter(const struct ProgramConfig *config, __s32 fd)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingSocketWrite write = { .fd = fd };

	/* What is there is of a call whose exit was not seen. */
	if (!bpf_map_delete_elem(&pending, &thread))
		count_lost(LOST_UNSEEN);
	write.sock = sock_of_descriptor(config, fd);
	READ_FIELD(config, write.local_port, sock_common, skc_num, write.sock);
	/* Where there is no room, the call is lost. */
	if (write.sock && bpf_map_update_elem(&pending, &thread, &write, BPF_ANY))
		count_lost(LOST_PENDING);
	return 0;
}

static __always_inline int leave(const struct ProgramConfig *config, void *ctx, __s64 ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct SocketWriteEvent event = {};
	struct PendingSocketWrite *write;
	__u16 local_port;
	__u64 sock;

	write = bpf_map_lookup_elem(&pending, &thread);
	if (!write)
		return 0;
	sock = write->sock;
	event.fd = write->fd;
	local_port = write->local_port;
	bpf_map_delete_elem(&pending, &thread);
	event.ret = ret;
	if (event.ret < 0)
		return 0;
	READ_FIELD(config, event.family, sock_common, skc_family, sock);
	/* Not relocated: it was a bit field, and CO-RE would find the word that holds it. */
	read_kernel(config, &event.protocol, sizeof(event.protocol),
		    sock + config->layout.sock_sk_protocol);
	event.protocol &= config->protocol_mask;
	if (event.family == AF_INET6) {
		READ_FIELD(config, event.local_address, sock_common, skc_v6_rcv_saddr, sock);
		READ_FIELD(config, event.remote_address, sock_common, skc_v6_daddr, sock);
	} else {
		READ_FIELD(config, event.local_address[0], sock_common, skc_rcv_saddr, sock);
		READ_FIELD(config, event.remote_address[0], sock_common, skc_daddr, sock);
	}
	READ_FIELD(config, event.local_port, sock_common, skc_num, sock);
	if (!event.local_port)
		event.local_port = local_port;
	READ_FIELD(config, event.remote_port, sock_common, skc_dport, sock);
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}

SEC("tracepoint")
int socket_write_enter(struct sys_enter *ctx)
{
	const struct ProgramConfig *config = traced_config();

	return config ? enter(config, ctx->args[0]) : 0;
}

SEC("tracepoint")
int socket_write_exit(struct sys_exit *ctx)
{
	const struct ProgramConfig *config = traced_config();

	return config ? leave(config, ctx, ctx->ret) : 0;
}

SEC("kprobe")
int socket_write_entry(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u64 fd;

	if (!config || syscall_argument(config, ctx, 1, &fd))
		return 0;
	return enter(config, fd);
}

SEC("kretprobe")
int socket_write_return(void *ctx)
{
	const struct ProgramConfig *config = traced_config();

	return config ? leave(config, ctx, return_value(ctx)) : 0;
}
