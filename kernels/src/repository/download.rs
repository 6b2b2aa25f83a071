//! Downloads over HTTP: resumable, limited in size, with timeouts.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use ureq::http::{Response, StatusCode, header};

use crate::{
    interruption,
    store::{Partial, StoreError},
};

const CONNECT: Duration = Duration::from_secs(15);
/// How long a server may stay silent, before or during a response.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one response may take: 70 MB take that long at 40 KB/s. The bytes received by then are
/// kept.
const ANSWER: Duration = Duration::from_secs(30 * 60);
/// A server that sends less than this in each second of [`WINDOW`] is given up.
const SLOWEST: u64 = 2 << 10;
/// The time over which the speed of a download is measured.
const WINDOW: Duration = Duration::from_secs(60);
/// How many times the download of a file from one URL is started or resumed, as long as every
/// attempt receives some bytes.
const ATTEMPTS: usize = 8;

/// Forbids the network: if set, an operation that needs a download fails.
pub const OFFLINE_VARIABLE: &str = "KERNLAB_OFFLINE";

#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Absent if downloads are forbidden.
    agent: Option<ureq::Agent>,
}

/// A file could not be downloaded from one URL.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The server answered with an error status.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The server did not answer, or its response is malformed.
    #[error("no usable response")]
    Transport(#[source] Box<ureq::Error>),
    /// The response broke off.
    #[error("the transfer broke off after {received} bytes")]
    BrokenOff {
        /// The number of bytes received so far, including earlier attempts.
        received: u64,
        source: io::Error,
    },
    /// The server's file has the wrong size.
    #[error("the server's file has {found} bytes, not {expected}")]
    WrongSize { expected: u64, found: u64 },
    /// The server's file has the wrong digest.
    #[error("the server's file does not have the expected SHA-256 digest")]
    WrongDigest,
    /// The server does not state the size of its file.
    #[error("the server does not state the size of the file")]
    NoSize,
    /// A signal asked this process to end.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
    /// Downloads are forbidden.
    #[error("downloads are forbidden offline")]
    Offline,
    /// A document exceeds the limit for documents of its kind.
    #[error("the server's document has more than {limit} bytes")]
    TooLarge { limit: u64 },
    /// The bytes could not be stored. No other URL would help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Client {
    /// A client that uses the proxy given by the environment, if any. It is offline if the
    /// environment forbids downloads.
    pub(crate) fn new() -> Self {
        match crate::is_set(OFFLINE_VARIABLE) {
            true => Client::offline(),
            false => Client::with(SILENCE, ureq::Proxy::try_from_env()),
        }
    }

    /// A client that refuses to download.
    pub(crate) fn offline() -> Self {
        Client { agent: None }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.agent.is_none()
    }

    /// A client without a proxy: tests serve their files on the loopback interface.
    #[cfg(test)]
    pub(crate) fn direct(silence: Duration) -> Self {
        Client::with(silence, None)
    }

    fn with(silence: Duration, proxy: Option<ureq::Proxy>) -> Self {
        let config = ureq::Agent::config_builder()
            .user_agent(concat!("kernlab/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_recv_body(Some(ANSWER))
            .build();
        Client { agent: Some(config.into()) }
    }

    /// Downloads a document of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, TransferError> {
        let response = self.request(url, 0)?;
        if response.status() != StatusCode::OK {
            return Err(TransferError::Status(response.status()));
        }
        let mut document = Vec::new();
        let mut body = paced(response).take(limit + 1);
        body.read_to_end(&mut document).map_err(|source| TransferError::BrokenOff {
            received: document.len() as u64,
            source,
        })?;
        if document.len() as u64 > limit {
            return Err(TransferError::TooLarge { limit });
        }
        Ok(document)
    }

    /// Reads a file from its beginning. Downloads no more than the caller reads.
    pub(crate) fn beginning(
        &self,
        url: &str,
        limit: u64,
    ) -> Result<impl Read + use<>, TransferError> {
        let response = self.request(url, 0)?;
        match response.status() {
            StatusCode::OK => Ok(paced(response).take(limit)),
            status => Err(TransferError::Status(status)),
        }
    }

    /// The size of a file in bytes.
    pub(crate) fn size(&self, url: &str) -> Result<u64, TransferError> {
        let agent = self.agent.as_ref().ok_or(TransferError::Offline)?;
        let response = agent.head(url).call();
        let response = response.map_err(|error| TransferError::Transport(Box::new(error)))?;
        match response.status() {
            StatusCode::OK => content_length(&response).ok_or(TransferError::NoSize),
            status => Err(TransferError::Status(status)),
        }
    }

    /// Completes a download and verifies its digest. On failure the received bytes stay, for
    /// another URL or a later attempt, unless they are known to be wrong.
    pub(crate) fn complete(
        &self,
        url: &str,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TransferError> {
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let before = partial.len();
            if !partial.is_complete() {
                outcome = self.resume(url, partial, progress);
            }
            if partial.is_complete() {
                if partial.is_good() {
                    return Ok(());
                }
                partial.restart()?;
                outcome = Err(TransferError::WrongDigest);
                if before == 0 {
                    break;
                }
                // The bytes of an earlier attempt may be wrong: start again from the beginning.
            } else if matches!(outcome, Err(TransferError::Store(_)))
                || outcome.as_ref().is_err_and(is_too_slow)
                || partial.len() <= before
            {
                break;
            }
        }
        outcome
    }

    /// Makes one request for the missing bytes.
    fn resume(
        &self,
        url: &str,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TransferError> {
        let response = self.request(url, partial.len())?;
        match response.status() {
            StatusCode::OK => {
                // A server may ignore the range request.
                partial.restart()?;
                expect_size(content_length(&response), partial.size())?;
            }
            StatusCode::PARTIAL_CONTENT if starts_at(&response, partial.len()) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.restart()?;
                return Err(TransferError::Status(response.status()));
            }
            status => return Err(TransferError::Status(status)),
        }
        let mut body = paced(response).take(partial.size() - partial.len());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let received = partial.len();
            match body.read(&mut buffer) {
                Ok(0) if partial.is_complete() => return Ok(()),
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(TransferError::BrokenOff { received, source });
                }
                Ok(length) => {
                    partial.append(&buffer[..length])?;
                    progress(partial.len());
                }
                Err(source) => return Err(TransferError::BrokenOff { received, source }),
            }
        }
    }

    fn request(&self, url: &str, from: u64) -> Result<Response<ureq::Body>, TransferError> {
        let agent = self.agent.as_ref().ok_or(TransferError::Offline)?;
        if let Some(signal) = interruption::pending() {
            return Err(TransferError::Interrupted(signal));
        }
        let mut request = agent.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| TransferError::Transport(Box::new(error)))
    }
}

/// The server sends too little.
#[derive(Debug, thiserror::Error)]
#[error("the server sent {received} bytes in {} s, which is too slow", window.as_secs())]
struct TooSlow {
    received: u64,
    window: Duration,
}

fn is_too_slow(error: &TransferError) -> bool {
    let TransferError::BrokenOff { source, .. } = error else { return false };
    source.get_ref().is_some_and(|inner| inner.is::<TooSlow>())
}

/// Measures the speed of a download, window by window.
struct Pace {
    since: Instant,
    received: u64,
}

impl Pace {
    /// Counts bytes that arrived now. An error if a window has passed in which too few did.
    fn count(&mut self, bytes: usize, now: Instant) -> Result<(), TooSlow> {
        self.received += bytes as u64;
        let window = now.duration_since(self.since);
        if window < WINDOW {
            return Ok(());
        }
        let Pace { received, .. } = std::mem::replace(self, Pace { since: now, received: 0 });
        match received < SLOWEST * window.as_secs() {
            true => Err(TooSlow { received, window }),
            false => Ok(()),
        }
    }
}

/// A body that ends with an error if it arrives too slowly.
struct Paced<R> {
    body: R,
    pace: Pace,
}

fn paced(response: Response<ureq::Body>) -> Paced<impl Read + use<>> {
    let pace = Pace { since: Instant::now(), received: 0 };
    Paced { body: response.into_body().into_reader(), pace }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(signal) = interruption::pending() {
            return Err(io::Error::other(format!("interrupted by {signal}")));
        }
        let length = self.body.read(buffer)?;
        if length > 0 {
            self.pace.count(length, Instant::now()).map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

fn content_length(response: &Response<ureq::Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn expect_size(found: Option<u64>, expected: u64) -> Result<(), TransferError> {
    match found {
        Some(found) if found != expected => Err(TransferError::WrongSize { expected, found }),
        _ => Ok(()),
    }
}

/// Whether a partial response starts at the requested offset: `Content-Range: bytes 3-5/6`.
fn starts_at(response: &Response<ureq::Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next())
        .is_some_and(|start| start.trim().parse() == Ok(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Digest,
        store::Store,
        test_support::server::{Manner, Server},
    };

    #[test]
    fn a_byte_a_second_is_too_slow() {
        let start = Instant::now();
        let mut pace = Pace { since: start, received: 0 };
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 1..60 {
            pace.count(1, at(second)).unwrap();
        }
        let error = pace.count(1, at(60)).unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "the server sent 60 bytes in 60 s, which is too slow");
        let received = 60;
        let error = TransferError::BrokenOff { received, source: io::Error::other(error) };
        assert!(is_too_slow(&error), "another attempt would be as slow");
        // A line of 4 KB a second is slow, but works.
        let mut pace = Pace { since: start, received: 0 };
        for second in 1..600 {
            pace.count(4 << 10, at(second)).unwrap();
        }
    }

    const CONTENT: &[u8] = b"the content of a kernel package";

    struct Download {
        _dir: tempfile::TempDir,
        store: Store,
        server: Server,
    }

    impl Download {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let server = Server::start();
            server.put("file", CONTENT);
            Download { _dir: dir, store, server }
        }

        /// The result of the download, and the requests that it made.
        fn run(&self) -> (Result<(), TransferError>, Vec<String>) {
            let mut partial = self.partial();
            let url = format!("{}/file", self.server.url());
            let client = Client::direct(Duration::from_secs(5));
            let outcome = client.complete(&url, &mut partial, &mut |_| {});
            if outcome.is_ok() {
                assert!(partial.commit(&self.store).unwrap().is_some());
            }
            (outcome, self.server.requests())
        }

        fn partial(&self) -> Partial {
            self.store.partial(Digest::of(CONTENT), CONTENT.len() as u64).unwrap()
        }
    }

    #[test]
    fn a_file_comes_at_once() {
        let (outcome, requests) = Download::new().run();
        outcome.unwrap();
        assert_eq!(requests, ["file"]);
    }

    #[test]
    fn what_breaks_off_is_resumed() {
        let download = Download::new();
        download.server.behave("file", &[Manner::CutAfter(3), Manner::CutAfter(4)]);
        let (outcome, requests) = download.run();
        outcome.unwrap();
        assert_eq!(requests, ["file", "file from 3", "file from 7"]);
    }

    #[test]
    fn what_an_earlier_process_left_is_resumed() {
        let download = Download::new();
        download.partial().append(&CONTENT[..5]).unwrap();
        let (outcome, requests) = download.run();
        outcome.unwrap();
        assert_eq!(requests, ["file from 5"]);
    }

    #[test]
    fn wrong_bytes_of_an_earlier_process_are_replaced() {
        let download = Download::new();
        download.partial().append(b"wrong").unwrap();
        let (outcome, requests) = download.run();
        outcome.unwrap();
        assert_eq!(requests, ["file from 5", "file"]);
    }

    #[test]
    fn a_server_may_send_the_whole_file_instead_of_a_part() {
        let download = Download::new();
        download.partial().append(&CONTENT[..5]).unwrap();
        download.server.behave("file", &[Manner::IgnoreRange]);
        download.run().0.unwrap();
    }

    #[test]
    fn a_server_without_progress_is_given_up_and_its_bytes_are_kept() {
        let download = Download::new();
        download.server.behave("file", &[Manner::CutAfter(6), Manner::CutAfter(0)]);
        let (outcome, requests) = download.run();
        assert!(
            matches!(outcome, Err(TransferError::BrokenOff { received: 6, .. })),
            "{outcome:?}"
        );
        assert_eq!(requests, ["file", "file from 6"]);
        assert_eq!(download.partial().len(), 6);
    }

    #[test]
    fn silence_ends_a_transfer() {
        let download = Download::new();
        download.server.behave("file", &[Manner::SilentAfter(6), Manner::SilentAfter(0)]);
        let (outcome, _) = download.run();
        assert!(
            matches!(outcome, Err(TransferError::BrokenOff { received: 6, .. })),
            "{outcome:?}"
        );
    }

    #[test]
    fn another_file_is_told_apart() {
        let download = Download::new();
        download.server.edit("file", |content| content[0] ^= 1);
        let (outcome, requests) = download.run();
        assert!(matches!(outcome, Err(TransferError::WrongDigest)), "{outcome:?}");
        assert_eq!(requests, ["file"]);
        assert_eq!(download.partial().len(), 0);
        download.server.put("file", "short");
        let (outcome, _) = download.run();
        assert!(matches!(outcome, Err(TransferError::WrongSize { found: 5, .. })), "{outcome:?}");
    }

    #[test]
    fn an_absent_file_and_an_absent_server() {
        let download = Download::new();
        download.server.remove("file");
        let (outcome, _) = download.run();
        assert!(
            matches!(outcome, Err(TransferError::Status(StatusCode::NOT_FOUND))),
            "{outcome:?}"
        );
        let url = format!("{}/file", download.server.url());
        drop(download.server);
        let client = Client::direct(SILENCE);
        let outcome = client.get(&url, 100);
        assert!(matches!(outcome, Err(TransferError::Transport(_))), "{outcome:?}");
    }

    #[test]
    fn the_size_of_a_file() {
        let download = Download::new();
        let url = format!("{}/file", download.server.url());
        let client = Client::direct(SILENCE);
        assert_eq!(client.size(&url).unwrap(), CONTENT.len() as u64);
        download.server.remove("file");
        let outcome = client.size(&url);
        assert!(matches!(outcome, Err(TransferError::Status(_))), "{outcome:?}");
        let outcome = Client::offline().size(&url);
        assert!(matches!(outcome, Err(TransferError::Offline)), "{outcome:?}");
    }

    #[test]
    fn a_document_is_bounded() {
        let server = Server::start();
        server.put("document", CONTENT);
        let url = format!("{}/document", server.url());
        let client = Client::direct(SILENCE);
        assert_eq!(client.get(&url, CONTENT.len() as u64).unwrap(), CONTENT);
        let outcome = client.get(&url, CONTENT.len() as u64 - 1);
        assert!(matches!(outcome, Err(TransferError::TooLarge { .. })), "{outcome:?}");
    }
}
