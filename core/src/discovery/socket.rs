//! `socket`: between a file and its protocol.

use std::collections::BTreeMap;

use super::{
    SocketSubject,
    image::Image,
    path::FILE_BYTES,
    search::{Search, valued},
    sock,
};

/// `struct socket`.
const SOCKET_BYTES: usize = 256;
/// The beginning of `struct proto_ops`.
const OPERATIONS_BYTES: usize = 64;
/// `struct sock`.
const SOCK_BYTES: usize = 1024;

/// Finds the way from a file to its sock, and the fields on it.
pub(super) fn search(search: &mut Search<'_>, files: &BTreeMap<u32, u64>) -> Option<()> {
    let subjects = search.subjects;
    let opened =
        subjects.sockets.iter().filter_map(|socket| Some((*files.get(&socket.fd)?, socket)));
    let opened = search.images(opened, FILE_BYTES);
    let (sockets, file) = sockets(search, &opened)?;

    let kinds: Vec<_> =
        sockets.iter().map(|(image, socket)| (image.clone(), socket.kind)).collect();
    let relation = "of SOCK_STREAM, SOCK_DGRAM and others, as each socket was made";
    search.settle("socket", "type", valued(&kinds, Image::u16), relation);

    let families: Vec<_> =
        sockets.iter().map(|(image, socket)| (image.clone(), u32::from(socket.family))).collect();
    let operations = search.leading(&families, OPERATIONS_BYTES, |_, family, target| {
        (0..target.len()).step_by(4).filter(|&at| target.u32(at) == Some(*family)).collect()
    });
    let relation = "of a pointer to operations that name the socket's family, for several families";
    search.settle("socket", "ops", operations.iter().map(|&(ops, _)| ops), relation);
    let relation = "of the family in socket.ops, for several families";
    search.settle("proto_ops", "family", operations.iter().map(|&(_, family)| family), relation);

    let mut pairs = search.leading(&sockets, SOCK_BYTES, |socket, _, target| {
        target.offsets_of(socket.address).collect()
    });
    // The file leads back as well.
    pairs.retain(|&(offset, _)| offset != file);
    let relation = "of a pointer, beside that to the file, to an object that points back";
    let sk = search.settle("socket", "sk", pairs.iter().map(|&(sk, _)| sk), relation)?;
    let relation = "of a pointer back to the socket";
    search.settle("sock", "sk_socket", pairs.iter().map(|&(_, back)| back), relation);

    let socks: Vec<_> = sockets
        .iter()
        .filter_map(|(image, socket)| Some((search.reader.pointer(image, sk)?, *socket)))
        .collect();
    let socks = search.images(socks, SOCK_BYTES);
    sock::search(search, &socks);
    Some(())
}

/// The sockets of files, and where each points to its file.
fn sockets<'a>(
    search: &mut Search<'a>,
    files: &[(Image, &'a SocketSubject)],
) -> Option<(Vec<(Image, &'a SocketSubject)>, usize)> {
    let pairs = search
        .leading(files, SOCKET_BYTES, |file, _, target| target.offsets_of(file.address).collect());
    let relation = "of a pointer to an object that points back to the file";
    let private = pairs.iter().map(|&(private, _)| private);
    let private = search.settle("file", "private_data", private, relation)?;
    let relation = "of a pointer back to the file, in private_data of every socket's file";
    let file = search.settle("socket", "file", pairs.iter().map(|&(_, back)| back), relation)?;
    let addresses: Vec<_> = files
        .iter()
        .filter_map(|(image, socket)| Some((search.reader.pointer(image, private)?, *socket)))
        .collect();
    Some((search.images(addresses, SOCKET_BYTES), file))
}
