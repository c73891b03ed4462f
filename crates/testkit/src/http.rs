//! A blocking HTTP/1.1 client over a unix socket, kept alive. It shares nothing with the product's own.

use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take to begin, unless said otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Http {
    socket: PathBuf,
    patience: Duration,
    open: Option<BufReader<UnixStream>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{}: not JSON ({error}): {}", self.status, String::from_utf8_lossy(&self.body)),
        }
    }
    /// The answer itself, when its status is that.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// One request, as it is sent and, after a broken connection, sent again.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    key: Option<String>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: "GET", path: path.into(), key: None, body: None }
    }
    pub fn post(path: impl Into<String>, body: &Value) -> Request {
        Request { method: "POST", path: path.into(), key: None, body: Some(body.to_string().into_bytes()) }
    }
    pub fn put(path: impl Into<String>, body: &Value) -> Request {
        Request { method: "PUT", ..Request::post(path, body) }
    }
    pub fn delete(path: impl Into<String>) -> Request {
        Request { method: "DELETE", ..Request::get(path) }
    }
    #[must_use]
    pub fn key(mut self, key: &str) -> Request {
        self.key = Some(key.into());
        self
    }
}

impl Http {
    pub fn new(socket: &Path) -> Http {
        Http { socket: socket.into(), patience: PATIENCE, open: None }
    }
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Http {
        self.patience = patience;
        self
    }

    /// One try. After an error the connection is closed, and the next try opens another.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        let mut body = self.stream(request)?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        let Stream { status, headers, reader, left, .. } = body;
        if !matches!(left, Left::UntilClose) && !closes(&headers) {
            self.open = Some(reader);
        }
        Ok(Answer { status, headers, body: bytes })
    }

    /// Tries again whenever the connection breaks or cannot be made, until the deadline. Only for requests that may be
    /// repeated: reads, and those with a key.
    pub fn insist(&mut self, request: &Request, deadline: Duration) -> io::Result<Answer> {
        let until = Instant::now() + deadline;
        let mut last = None;
        let answer = crate::wait::within(deadline, || {
            self.patience =
                until.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)).min(PATIENCE);
            match self.send(request) {
                Ok(answer) => Some(answer),
                Err(error) => {
                    last = Some(error);
                    None
                }
            }
        });
        self.patience = PATIENCE;
        answer.ok_or_else(|| {
            let last = last.map_or_else(String::new, |e| e.to_string());
            io::Error::new(io::ErrorKind::TimedOut, format!("{} {}: {last}", request.method, request.path))
        })
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        match self.insist(&Request::get(path), PATIENCE) {
            Ok(answer) => answer,
            Err(error) => panic!("{error}"),
        }
    }
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        match self.send(&Request::post(path, body)) {
            Ok(answer) => answer,
            Err(error) => panic!("POST {path}: {error}"),
        }
    }

    /// Sends, and gives the answer's head at once and its body as it comes.
    pub fn stream(&mut self, request: &Request) -> io::Result<Stream> {
        let mut reader = match self.open.take() {
            Some(reader) => reader,
            None => BufReader::new(UnixStream::connect(&self.socket)?),
        };
        reader.get_ref().set_read_timeout(Some(self.patience))?;
        reader.get_ref().set_write_timeout(Some(self.patience))?;
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", request.method, request.path);
        if let Some(key) = &request.key {
            head += &format!("idempotency-key: {key}\r\n");
        }
        if let Some(body) = &request.body {
            head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body.as_deref().unwrap_or_default());
        reader.get_mut().write_all(&bytes)?;
        let status = line(&mut reader)?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| garbled(&status))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| garbled(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let left = match (value("transfer-encoding"), value("content-length")) {
            (Some(coding), _) if coding == "chunked" => Left::Chunked { in_chunk: 0, ended: false },
            (_, Some(len)) => Left::Length(len.parse().map_err(|_| garbled(&len))?),
            _ if status == 204 => Left::Length(0),
            _ => Left::UntilClose,
        };
        Ok(Stream { status, headers, reader, left })
    }
}

fn closes(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(n, v)| n == "connection" && v.eq_ignore_ascii_case("close"))
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}

fn line(reader: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

#[derive(Debug)]
enum Left {
    Length(u64),
    Chunked { in_chunk: u64, ended: bool },
    UntilClose,
}

/// An answer whose body is read as it comes. A body that breaks off before its end is an error, never a short body.
#[derive(Debug)]
pub struct Stream {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
    left: Left,
}

impl Stream {
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(patience))
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match &mut self.left {
            Left::UntilClose => self.reader.read(buf),
            Left::Length(0) => Ok(0),
            Left::Length(left) => {
                let n = self.reader.by_ref().take(*left).read(buf)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= n as u64;
                Ok(n)
            }
            Left::Chunked { ended: true, .. } => Ok(0),
            Left::Chunked { in_chunk, ended } => {
                if *in_chunk == 0 {
                    let size = line(&mut self.reader)?;
                    let size = size.split(';').next().unwrap_or_default();
                    *in_chunk = u64::from_str_radix(size, 16).map_err(|_| garbled(size))?;
                    if *in_chunk == 0 {
                        while !line(&mut self.reader)?.is_empty() {}
                        *ended = true;
                        return Ok(0);
                    }
                }
                let n = self.reader.by_ref().take(*in_chunk).read(buf)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *in_chunk -= n as u64;
                if *in_chunk == 0 {
                    let rest = line(&mut self.reader)?;
                    if !rest.is_empty() {
                        return Err(garbled(&rest));
                    }
                }
                Ok(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::net::UnixListener;

    /// Answers each request on one connection with the next of `answers`, then hangs up.
    fn fake(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("binds");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("accepts");
            let mut reader = BufReader::new(stream);
            for answer in answers {
                let mut len = 0;
                while let Ok(line) = line(&mut reader) {
                    if let Some(n) = line.strip_prefix("content-length: ") {
                        len = n.parse().expect("a length");
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; len];
                reader.read_exact(&mut body).expect("the body");
                reader.get_mut().write_all(answer.as_bytes()).expect("answers");
            }
        });
        (dir, path)
    }

    #[test]
    fn two_requests_on_one_connection_by_length_and_in_chunks() {
        let (_dir, path) = fake(&[
            "HTTP/1.1 201 Created\r\nContent-Length: 8\r\nKin-Offset: 7\r\n\r\n{\"a\": 1}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ]);
        let mut http = Http::new(&path);
        let first = http.post("/v1/runs", &json!({"argv": ["true"]}));
        assert_eq!((first.status, first.header("kin-offset")), (201, Some("7")));
        assert_eq!(first.json(), json!({"a": 1}));
        assert_eq!(http.send(&Request::get("/x")).expect("an answer").body, b"abcde");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        let (_dir, path) = fake(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"]);
        assert!(Http::new(&path).send(&Request::get("/x")).is_err());
        let (_dir, path) = fake(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"]);
        assert!(Http::new(&path).send(&Request::get("/x")).is_err());
    }
}
