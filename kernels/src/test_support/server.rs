//! An HTTP server on the loopback interface that can be made to misbehave.
//!
//! This file does not depend on the rest of the crate, because its integration tests include it as
//! well.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// How the server answers one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Correctly.
    Well,
    /// The connection breaks off after this many bytes of the file.
    CutAfter(usize),
    /// The whole file, even if only a part was requested.
    IgnoreRange,
    /// This many bytes, then silence until the client gives up.
    SilentAfter(usize),
}

/// The files of a server, and the requests that it received.
#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    manners: HashMap<String, VecDeque<Manner>>,
    requests: Vec<String>,
}

/// A server that stops when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (state, ended) = (Arc::clone(&state), Arc::clone(&ended));
            move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::Acquire) {
                        break;
                    }
                    let state = Arc::clone(&state);
                    // A client that disconnects early is not an error of the test.
                    thread::spawn(move || drop(stream.and_then(|stream| answer(&state, stream))));
                }
            }
        });
        Server { address, state, ended, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().files.insert(path.to_owned(), content.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path);
    }

    /// Moves a file to another path.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut state = self.state.lock().unwrap();
        let content = state.files.remove(from).unwrap();
        state.files.insert(to.to_owned(), content);
    }

    /// Changes the content of a file.
    pub(crate) fn edit(&self, path: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(self.state.lock().unwrap().files.get_mut(path).unwrap());
    }

    /// Sets how the next requests for a file are answered. Later requests are answered correctly.
    pub(crate) fn behave(&self, path: &str, manners: &[Manner]) {
        let manners = manners.iter().copied().collect();
        self.state.lock().unwrap().manners.insert(path.to_owned(), manners);
    }

    /// The requests since the last call: `path` or `path from N`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread from accept(2).
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(state: &Mutex<State>, mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let is_head = request.starts_with("HEAD ");
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let mut from = 0;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    let (content, manner) = {
        let mut state = state.lock().unwrap();
        state.requests.push(match from {
            0 if is_head => format!("{path} size"),
            0 => path.clone(),
            from => format!("{path} from {from}"),
        });
        let manner = state.manners.get_mut(&path).and_then(VecDeque::pop_front);
        (state.files.get(&path).cloned(), manner.unwrap_or(Manner::Well))
    };
    let Some(content) = content else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let (status, body) = match manner {
        Manner::IgnoreRange => ("200 OK".to_owned(), &content[..]),
        _ if from == 0 => ("200 OK".to_owned(), &content[..]),
        _ if from >= content.len() => ("416 Range Not Satisfiable".to_owned(), &[][..]),
        _ => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            (format!("206 Partial Content\r\nContent-Range: {range}"), &content[from..])
        }
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    match manner {
        _ if is_head => Ok(()),
        Manner::Well | Manner::IgnoreRange => stream.write_all(body),
        Manner::CutAfter(length) => stream.write_all(&body[..length.min(body.len())]),
        Manner::SilentAfter(length) => {
            stream.write_all(&body[..length.min(body.len())])?;
            // Ends when the client closes the connection.
            io::copy(&mut stream, &mut io::sink()).map(drop)
        }
    }
}
