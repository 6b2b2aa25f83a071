#pragma once

/* Generated from core/abi/src by core/abi/tests/header.rs. */

/**
 * Bytes of a task's name, terminator included: `TASK_COMM_LEN`, include/linux/sched.h.
 */
#define COMM_LEN 16

/**
 * Bytes kept of a file name: `NAME_MAX` and a terminator, include/uapi/linux/limits.h.
 */
#define NAME_LEN 256

/**
 * Bytes kept of a string argument.
 */
#define TEXT_LEN 32

/**
 * Arguments that a probe can capture: 6 or 8 in registers, the others on the stack.
 */
#define MAX_ARGUMENTS 12

/**
 * Words of an internet address of either version: `struct in6_addr`, include/uapi/linux/in6.h.
 */
#define ADDRESS_WORDS 4

/**
 * `AF_INET`, include/linux/socket.h.
 */
#define AF_INET 2

/**
 * `AF_INET6`, include/linux/socket.h.
 */
#define AF_INET6 10

/**
 * Arguments of user-space functions that are captured: 6 or 8 in registers, the others on the stack.
 */
#define USER_ARGUMENTS 10

/**
 * Bytes that `guarded_read` reads.
 */
#define READ_LEN 8

/**
 * [`ReadEvent::outcome`]: the bytes were read.
 */
#define READ_DONE 0

/**
 * [`ReadEvent::outcome`]: the program itself refused the address.
 */
#define READ_REFUSED_BY_GUARD 1

/**
 * [`ReadEvent::outcome`]: the kernel's helper refused the address.
 */
#define READ_REFUSED_BY_KERNEL 2

/**
 * Threads that can be between entry and exit of a call at the same time.
 */
#define MAX_PENDING 256

/**
 * The slot of the map `emitted` that counts all events which the loader should receive. The other slots
 * say why some of them never reached the buffer.
 */
#define EMITTED 0

/**
 * Slot of `emitted`: a call's entry was still in the map `pending` when its thread made the next one.
 */
#define LOST_UNSEEN 1

/**
 * Slot of `emitted`: the map `pending` had no room for a call.
 */
#define LOST_PENDING 2

/**
 * Slot of `emitted`: the map `births` had no room for a file.
 */
#define LOST_BIRTHS 3

/**
 * Slot of `emitted`: the map `totals` had no room for a file.
 */
#define LOST_TOTALS 4

/**
 * How many slots there are.
 */
#define EMITTED_SLOTS 5

/**
 * Bytes of the ring buffer: a power of two and a multiple of the page size.
 */
#define RING_BYTES (1 << 20)

/**
 * Pages of each CPU's perf buffer: a power of two.
 */
#define PERF_PAGES 64

/**
 * [`ProgramConfig::name_kind`]: the argument is a `const unsigned char *`.
 */
#define NAME_IS_STRING 0

/**
 * [`ProgramConfig::name_kind`]: the argument is a `const struct qstr *`.
 */
#define NAME_IS_QSTR 1

/**
 * The bits that tell a rename in an fsnotify mask: `FS_MOVED_FROM | FS_MOVED_TO`,
 * include/linux/fsnotify_backend.h.
 */
#define RENAME_MASK 192

/**
 * [`SyncEvent::call`]: sync(2).
 */
#define CALL_SYNC 0

/**
 * [`SyncEvent::call`]: syncfs(2).
 */
#define CALL_SYNCFS 1

/**
 * [`SyncEvent::call`]: fsync(2).
 */
#define CALL_FSYNC 2

/**
 * [`SyncEvent::call`]: fdatasync(2).
 */
#define CALL_FDATASYNC 3

/**
 * [`SyncEvent::call`]: msync(2).
 */
#define CALL_MSYNC 4

/**
 * [`SyncEvent::call`]: sync_file_range(2).
 */
#define CALL_SYNC_FILE_RANGE 5

/**
 * Pairs of a thread and a file that are counted in one session.
 */
#define MAX_TOTALS 1024

/**
 * Files whose creation was seen and whose end wasn't.
 */
#define MAX_BIRTHS 1024

/**
 * The bits of an inode's mode that tell its kind, and the kind of a directory: `S_IFMT` and
 * `S_IFDIR`, include/uapi/linux/stat.h.
 */
#define KIND_MASK 61440

/**
 * See [`KIND_MASK`].
 */
#define KIND_DIRECTORY 16384

/**
 * The bit of `file.f_mode` that says that opening the file created it, since 4.19:
 * `FMODE_CREATED`, include/linux/fs.h.
 */
#define FMODE_CREATED 1048576

/**
 * Field offsets in bytes.
 */
struct Layout {
  /**
   * `struct qstr`, `name`.
   */
  uint32_t qstr_name;
  /**
   * `struct task_struct`, `files`.
   */
  uint32_t task_struct_files;
  /**
   * `struct files_struct`, `fdt`.
   */
  uint32_t files_struct_fdt;
  /**
   * `struct fdtable`, `max_fds`.
   */
  uint32_t fdtable_max_fds;
  /**
   * `struct fdtable`, `fd`.
   */
  uint32_t fdtable_fd;
  /**
   * `struct file`, `f_op`.
   */
  uint32_t file_f_op;
  /**
   * `struct file`, `private_data`.
   */
  uint32_t file_private_data;
  /**
   * `struct socket`, `type`.
   */
  uint32_t socket_type;
  /**
   * `struct socket`, `sk`.
   */
  uint32_t socket_sk;
  /**
   * `struct socket`, `ops`.
   */
  uint32_t socket_ops;
  /**
   * `struct proto_ops`, `family`.
   */
  uint32_t proto_ops_family;
  /**
   * `struct sock`, the first byte of `sk_protocol`.
   */
  uint32_t sock_sk_protocol;
  /**
   * `struct sock_common`, `skc_family`.
   */
  uint32_t sock_common_skc_family;
  /**
   * `struct sock_common`, `skc_rcv_saddr`.
   */
  uint32_t sock_common_skc_rcv_saddr;
  /**
   * `struct sock_common`, `skc_daddr`.
   */
  uint32_t sock_common_skc_daddr;
  /**
   * `struct sock_common`, `skc_v6_rcv_saddr`.
   */
  uint32_t sock_common_skc_v6_rcv_saddr;
  /**
   * `struct sock_common`, `skc_v6_daddr`.
   */
  uint32_t sock_common_skc_v6_daddr;
  /**
   * `struct sock_common`, `skc_num`.
   */
  uint32_t sock_common_skc_num;
  /**
   * `struct sock_common`, `skc_dport`.
   */
  uint32_t sock_common_skc_dport;
  /**
   * `struct file`, `f_inode`.
   */
  uint32_t file_f_inode;
  /**
   * `struct file`, `f_mode`.
   */
  uint32_t file_f_mode;
  /**
   * `struct file`, `f_path`.
   */
  uint32_t file_f_path;
  /**
   * `struct path`, `dentry`.
   */
  uint32_t path_dentry;
  /**
   * `struct dentry`, `d_parent`.
   */
  uint32_t dentry_d_parent;
  /**
   * `struct dentry`, `d_name`.
   */
  uint32_t dentry_d_name;
  /**
   * `struct dentry`, `d_inode`.
   */
  uint32_t dentry_d_inode;
  /**
   * `struct inode`, `i_mode`.
   */
  uint32_t inode_i_mode;
  /**
   * `struct inode`, `i_ino`.
   */
  uint32_t inode_i_ino;
  /**
   * `struct inode`, `i_sb`.
   */
  uint32_t inode_i_sb;
  /**
   * `struct super_block`, `s_dev`.
   */
  uint32_t super_block_s_dev;
};

/**
 * The plan's decisions, as the programs read them. Arguments are numbered from 1.
 */
struct ProgramConfig {
  /**
   * Addresses below are not read: they are user addresses or not canonical, and
   * `bpf_probe_read` of one that isn't canonical makes 5.4 warn (`ex_handler_uaccess`,
   * arch/x86/mm/extable.c).
   */
  uint64_t kernel_address_min;
  /**
   * `socket_write`: the `f_op` of every file that is a socket, the address of `socket_file_ops`.
   */
  uint64_t socket_file_ops;
  /**
   * Addresses from here on can't belong to a process, for programs that read its memory.
   */
  uint64_t user_address_end;
  /**
   * The bits of a user address that processors ignore, and programs may keep a tag in.
   */
  uint64_t user_address_tag;
  /**
   * Only this process is traced.
   */
  uint32_t tgid;
  /**
   * `inotify`: which argument is the event mask.
   */
  uint32_t mask_argument;
  /**
   * `inotify`: which argument is the name.
   */
  uint32_t name_argument;
  /**
   * `inotify`: [`NAME_IS_STRING`] or [`NAME_IS_QSTR`].
   */
  uint32_t name_kind;
  /**
   * `inotify`: which argument is the cookie.
   */
  uint32_t cookie_argument;
  /**
   * `many_args`: how many arguments to capture.
   */
  uint32_t argument_count;
  /**
   * `many_args`: which argument is a string to capture as well; 0 for none.
   */
  uint32_t text_argument;
  /**
   * `socket_write`: the bits of the u16 at `sock_sk_protocol` that are the protocol.
   */
  uint32_t protocol_mask;
  /**
   * `filelife`: which argument of `vfs_create` is the dentry; 0 if the program has to find out.
   */
  uint32_t create_dentry_argument;
  /**
   * `filelife`: which argument of `vfs_unlink` is the dentry; 0 if the program has to find out.
   */
  uint32_t unlink_dentry_argument;
  /**
   * Where fields are in structures that carry no type information at run time.
   */
  struct Layout layout;
};

/**
 * What every event starts with.
 */
struct EventHeader {
  /**
   * `bpf_ktime_get_ns` in the probe: orders events of different CPUs.
   */
  uint64_t time;
  /**
   * Process.
   */
  uint32_t tgid;
  /**
   * Thread.
   */
  uint32_t tid;
  /**
   * The thread's name, zero-terminated.
   */
  uint8_t comm[COMM_LEN];
};

/**
 * One completed write(2) that did not fail.
 */
struct SysWriteEvent {
  /**
   * Who wrote.
   */
  struct EventHeader header;
  /**
   * Bytes asked for.
   */
  uint64_t count;
  /**
   * Bytes written.
   */
  int64_t ret;
  /**
   * Where to.
   */
  int32_t fd;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * What is known of a write between entry and exit.
 */
struct PendingWrite {
  /**
   * Bytes asked for.
   */
  uint64_t count;
  /**
   * Where to.
   */
  int32_t fd;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * A socket that is about to get its file.
 */
struct SockAllocEvent {
  /**
   * Who asked for it.
   */
  struct EventHeader header;
  /**
   * `SOCK_*`.
   */
  uint16_t socket_type;
  /**
   * `AF_*`.
   */
  uint16_t family;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * A completed write(2), writev(2), sendto(2) or sendmsg(2) to a socket that did not fail.
 *
 * Only in the families [`AF_INET`], whose addresses are in the first word, and [`AF_INET6`] do
 * addresses and ports have a meaning.
 */
struct SocketWriteEvent {
  /**
   * Who wrote.
   */
  struct EventHeader header;
  /**
   * Bytes written.
   */
  int64_t ret;
  /**
   * The socket's own address, in network byte order.
   */
  uint32_t local_address[ADDRESS_WORDS];
  /**
   * The address of the socket's peer, in network byte order.
   */
  uint32_t remote_address[ADDRESS_WORDS];
  /**
   * Where to.
   */
  int32_t fd;
  /**
   * `AF_*`.
   */
  uint16_t family;
  /**
   * `IPPROTO_*` in the families of the internet.
   */
  uint16_t protocol;
  /**
   * The socket's own port, in host byte order.
   */
  uint16_t local_port;
  /**
   * The port of the socket's peer, in network byte order; 0 if it has none.
   */
  uint16_t remote_port;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * What is known of a write to a socket between entry and exit.
 */
struct PendingSocketWrite {
  /**
   * Address of the `struct sock`.
   */
  uint64_t sock;
  /**
   * The descriptor.
   */
  int32_t fd;
  /**
   * The socket's own port then, in host byte order.
   */
  uint16_t local_port;
  /**
   * Zero.
   */
  uint16_t reserved;
};

/**
 * One half of a rename, on its way to an inotify group.
 */
struct InotifyEvent {
  /**
   * Who renamed.
   */
  struct EventHeader header;
  /**
   * The fsnotify mask, internal bits included.
   */
  uint32_t mask;
  /**
   * Ties the two halves of a rename together.
   */
  uint32_t cookie;
  /**
   * The entry's name in its directory, zero-terminated; what follows the zero is undefined.
   */
  uint8_t name[NAME_LEN];
};

/**
 * One call of a function, with its arguments as the calling convention delivered them.
 */
struct CallEvent {
  /**
   * Who called.
   */
  struct EventHeader header;
  /**
   * Registers and stack slots, whole: the upper half of a 32-bit argument is undefined.
   * What follows the last argument is undefined.
   */
  uint64_t arguments[MAX_ARGUMENTS];
  /**
   * The string argument, zero-terminated; what follows the zero is undefined, and so is all of it if the
   * function has none.
   */
  uint8_t text[TEXT_LEN];
};

/**
 * A thread asks for data to be written back.
 */
struct SyncEvent {
  /**
   * Who called.
   */
  struct EventHeader header;
  /**
   * Which way: one of the `CALL_` constants.
   */
  uint32_t call;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * One completed call of a function in user space.
 */
struct UserCallEvent {
  /**
   * Who called.
   */
  struct EventHeader header;
  /**
   * Registers and stack slots, whole: the upper bits of a narrower argument are undefined. So is what
   * follows the last argument.
   */
  uint64_t arguments[USER_ARGUMENTS];
  /**
   * The register with the result, whole as well.
   */
  uint64_t ret;
};

/**
 * What tells the calls of a function that are under way apart: a thread can be in several of them, each with
 * its place on the stack.
 */
struct UserCallKey {
  /**
   * `bpf_get_current_pid_tgid`.
   */
  uint64_t thread;
  /**
   * The stack pointer once the function has returned.
   */
  uint64_t stack;
};

/**
 * One attempt to read kernel memory at an address that came from user space.
 */
struct ReadEvent {
  /**
   * Whose address.
   */
  struct EventHeader header;
  /**
   * Where to read.
   */
  uint64_t address;
  /**
   * What was there; zeros if nothing was read.
   */
  uint8_t bytes[READ_LEN];
  /**
   * [`READ_DONE`], [`READ_REFUSED_BY_GUARD`] or [`READ_REFUSED_BY_KERNEL`].
   */
  uint32_t outcome;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * What is counted as one: a thread's dealings with a file.
 */
struct FileKey {
  /**
   * The thread: `pid_tgid`.
   */
  uint64_t thread;
  /**
   * The file's number in its file system.
   */
  uint64_t inode;
  /**
   * The file system.
   */
  uint32_t device;
  /**
   * Zero.
   */
  uint32_t reserved;
};

/**
 * What a thread has read from and written to a file. Calls that fail don't count.
 */
struct FileTotals {
  /**
   * Who, with the time of the first call.
   */
  struct EventHeader header;
  /**
   * Calls that read, the end of the file included.
   */
  uint64_t reads;
  /**
   * Bytes that they returned.
   */
  uint64_t bytes_read;
  /**
   * Calls that wrote.
   */
  uint64_t writes;
  /**
   * Bytes that they took.
   */
  uint64_t bytes_written;
  /**
   * The inode's mode: [`KIND_MASK`] tells what kind of file it is.
   */
  uint32_t mode;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * The name that the file was opened by, zero-terminated; what follows the zero is undefined.
   */
  uint8_t name[NAME_LEN];
};

/**
 * A read or write between entry and exit.
 */
struct PendingTransfer {
  /**
   * Where it will be counted.
   */
  struct FileKey key;
  /**
   * The totals that it will start if it is the first: zero.
   */
  struct FileTotals totals;
};

/**
 * The end of a file's name whose creation was seen.
 */
struct FileLifeEvent {
  /**
   * Who unlinked it.
   */
  struct EventHeader header;
  /**
   * Nanoseconds since the creation.
   */
  uint64_t lifetime;
  /**
   * The name at the end, zero-terminated; what follows the zero is undefined.
   */
  uint8_t name[NAME_LEN];
};

/**
 * An unlink between entry and exit.
 */
struct PendingUnlink {
  /**
   * Address of the dentry.
   */
  uint64_t dentry;
  /**
   * When the file was created: `bpf_ktime_get_ns`.
   */
  uint64_t born;
};

/**
 * A completed openat(2), whatever came of it.
 */
struct OpenEvent {
  /**
   * Who called.
   */
  struct EventHeader header;
  /**
   * `O_*`, as they were given.
   */
  uint32_t flags;
  /**
   * The descriptor, or an error's negative number.
   */
  int32_t ret;
  /**
   * The name as it was given, cut if it is longer, zero-terminated; what follows the zero is
   * undefined.
   */
  uint8_t name[NAME_LEN];
};

/**
 * What is known of an openat(2) between entry and exit.
 */
struct PendingOpen {
  /**
   * Address of the name, in the memory of the process.
   */
  uint64_t name;
  /**
   * `O_*`
   */
  uint32_t flags;
  /**
   * Zero.
   */
  uint32_t reserved;
};
