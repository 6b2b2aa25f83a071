//! From threads to open files: `task_struct`, `files_struct`, `fdtable`.

use std::collections::BTreeMap;

use super::{
    Subjects, TaskSubject,
    image::Image,
    search::{Search, agreeing, partitioning},
};

/// More than any configuration's `struct task_struct`; what follows is searched as well, and tells
/// nothing.
const TASK_BYTES: usize = 16 << 10;
/// `struct files_struct` before its embedded array of files, lock debugging included.
const FILES_BYTES: usize = 512;
/// `struct fdtable`.
const FDTABLE_BYTES: usize = 64;

/// Finds the fields of tasks and descriptor tables, and returns the `struct file` of every
/// descriptor that the subjects name.
pub(super) fn search(search: &mut Search<'_>) -> Option<BTreeMap<u32, u64>> {
    let subjects = search.subjects;
    let tasks = subjects.sharers.iter().chain([&subjects.loner]).map(|task| (task.address, task));
    let tasks = search.images(tasks, TASK_BYTES);
    names_and_ids(search, &tasks);

    let tables = tables(search, &tasks);
    search.settle(
        "task_struct",
        "files",
        tables.iter().map(|table| table.files),
        "whose pointer two threads share, a thread with descriptors of its own does not, and that \
         leads to the open files of both",
    )?;
    search.settle(
        "files_struct",
        "fdt",
        tables.iter().map(|table| table.fdt),
        "that leads from both tables to all open files, and to none for closed descriptors",
    )?;
    search.settle(
        "fdtable",
        "fd",
        tables.iter().map(|table| table.fd),
        "of an array with the same file for duplicates, and none for closed descriptors",
    )?;
    let table = &tables[0];
    search.settle(
        "fdtable",
        "max_fds",
        max_fds(search.subjects, &table.fdtables),
        "of a power of two that lies between the open descriptors and the large one, and beyond \
         it in the table that grew",
    );
    Some(table.open.clone())
}

fn names_and_ids(search: &mut Search<'_>, tasks: &[(Image, &TaskSubject)]) {
    let comm = agreeing(tasks, 1, |image, offset, task| {
        let name = task.comm.as_bytes();
        (0..name.len()).all(|at| image.u8(offset + at) == Some(name[at]))
            && image.u8(offset + name.len()) == Some(0)
    });
    search.settle("task_struct", "comm", comm, "of every thread's name");
    let pid = agreeing(tasks, 4, |image, offset, task| {
        image.u32(offset) == Some(task.pid) && image.u32(offset + 4) == Some(task.tgid)
    });
    let relation = "of every thread's id, followed by the process's";
    if let Some(pid) = search.settle("task_struct", "pid", pid, relation) {
        search.follow("task_struct", "tgid", pid + 4, "follows pid in every thread");
    }
}

/// One way from tasks to files.
struct Table {
    files: usize,
    fdt: usize,
    fd: usize,
    /// `struct fdtable` of a sharer, and of the loner.
    fdtables: [Image; 2],
    /// Descriptors and their `struct file`.
    open: BTreeMap<u32, u64>,
}

fn tables(search: &mut Search<'_>, tasks: &[(Image, &TaskSubject)]) -> Vec<Table> {
    let loner = search.subjects.loner.address;
    let shares: Vec<(Image, bool)> =
        tasks.iter().map(|(image, task)| (image.clone(), task.address != loner)).collect();
    let mut tables = Vec::new();
    for files in partitioning(&shares, Image::u64) {
        let structure = |search: &mut Search<'_>, shared| {
            let (task, _) = shares.iter().find(|&&(_, other)| other == shared)?;
            let pointer = search.reader.pointer(task, files)?;
            search.reader.image(pointer, FILES_BYTES)
        };
        let (Some(shared), Some(own)) = (structure(search, true), structure(search, false)) else {
            continue;
        };
        for fdt in (0..shared.len()).step_by(8) {
            let fdtable = |search: &mut Search<'_>, files: &Image| {
                let pointer = search.reader.pointer(files, fdt)?;
                search.reader.image(pointer, FDTABLE_BYTES)
            };
            let (Some(first), Some(second)) = (fdtable(search, &shared), fdtable(search, &own))
            else {
                continue;
            };
            let fdtables = [first, second];
            for fd in (0..FDTABLE_BYTES).step_by(8) {
                if let Some(open) = open_files(search, &fdtables, fd) {
                    let fdtables = fdtables.clone();
                    tables.push(Table { files, fdt, fd, fdtables, open });
                }
            }
        }
    }
    tables
}

/// The files that both tables have, if `fd` is where a `struct fdtable` has its array.
fn open_files(
    search: &mut Search<'_>,
    fdtables: &[Image; 2],
    fd: usize,
) -> Option<BTreeMap<u32, u64>> {
    let subjects = search.subjects;
    let (large, its_origin) = subjects.high;
    let named = subjects.files.iter().map(|file| file.fd);
    let named = named.chain(subjects.sockets.iter().map(|socket| socket.fd)).chain([its_origin]);
    let copies = subjects.duplicates.iter().map(|&(_, copy)| copy);
    let highest = named.clone().chain(copies).max()?;
    let array = |search: &mut Search<'_>, table: &Image, last: u32| {
        let pointer = search.reader.pointer(table, fd)?;
        search.reader.image(pointer, 8 * (last as usize + 1))
    };
    let shared = array(search, &fdtables[0], highest)?;
    let own = array(search, &fdtables[1], large)?;
    let slot = |image: &Image, fd: u32| image.u64(8 * fd as usize);

    let mut open = BTreeMap::new();
    for fd in named {
        let file = slot(&shared, fd).filter(|&file| search.reader.is_kernel(file))?;
        if slot(&own, fd) != Some(file) || open.insert(fd, file).is_some_and(|old| old != file) {
            return None;
        }
    }
    let mut distinct: Vec<u64> = open.values().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let closed = |&fd: &u32| slot(&shared, fd) == Some(0) && slot(&own, fd) == Some(0);
    let same = |&(one, other): &(u32, u32)| slot(&shared, one) == slot(&shared, other);
    let right = distinct.len() == open.len()
        && subjects.closed.iter().all(closed)
        && subjects.duplicates.iter().all(same)
        && slot(&own, large) == slot(&own, its_origin);
    right.then_some(open)
}

fn max_fds(subjects: &Subjects, [shared, own]: &[Image; 2]) -> Vec<usize> {
    let (large, _) = subjects.high;
    let highest = subjects.files.iter().map(|file| file.fd).max().unwrap_or(0);
    let sizes = |offset| Some((shared.u32(offset)?, own.u32(offset)?));
    (0..FDTABLE_BYTES)
        .step_by(4)
        .filter(|&offset| {
            sizes(offset).is_some_and(|(before, after)| {
                before.is_power_of_two()
                    && after.is_power_of_two()
                    && (highest + 1..=large).contains(&before)
                    && after > large
            })
        })
        .collect()
}
