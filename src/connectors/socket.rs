//! A line-based TCP conversation, bounded by one deadline.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Failure, Offer, http::Guard, settings};

/// Bytes of a line, or of a counted body, that are read; a longer one ends the conversation.
pub const LINE_MAX: usize = 64 * 1024;

/// Lines of one message; more end the conversation.
pub const FIELDS_MAX: usize = 512;

/// Why a conversation broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The peer accepted no bytes before the deadline.
    #[error("nothing was taken in time")]
    NotSent,
    /// The peer sent nothing before the deadline.
    #[error("no answer in time")]
    NoAnswer,
    /// The peer closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// A line is longer than [`LINE_MAX`].
    #[error("a line of more than {LINE_MAX} bytes")]
    LongLine,
    /// A counted body is longer than [`LINE_MAX`].
    #[error("an answer of {0} bytes: expected at most {LINE_MAX}")]
    LongBody(usize),
    /// A message has more than [`FIELDS_MAX`] lines.
    #[error("a message of more than {FIELDS_MAX} lines")]
    LongMessage,
    /// The length of a body is not a number.
    #[error("Content-Length is {0:?}")]
    Length(String),
    /// Other messages came instead of the expected one.
    #[error("{messages} messages and no {expected} among them")]
    Missing {
        /// How many came.
        messages: usize,
        /// What was expected.
        expected: String,
    },
    /// The operating system reports an error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// One conversation.
pub struct Socket {
    stream: BufReader<TcpStream>,
    until: Instant,
}

impl Socket {
    /// Opens a conversation for an offer: the deadline is the shorter of the connector's time-out and the transfer's remaining time.
    ///
    /// # Errors
    /// [`Failure::Again`] where nobody answers, [`Failure::Never`] where the address may not be called.
    pub async fn open(
        address: &str,
        allow_private: bool,
        timeout_s: f64,
        offer: &Offer,
    ) -> Result<Self, Failure> {
        let timeout = settings::timeout(timeout_s).map_or(offer.remaining, |t| t.min(offer.remaining));
        let address = host_and_port(address).map_err(Failure::Never)?;
        Self::connect(Guard { allow_private }, address, timeout).await
    }

    async fn connect(guard: Guard, (host, port): (&str, u16), timeout: Duration) -> Result<Self, Failure> {
        let until = Instant::now() + timeout;
        let again = |why: String| Failure::Again { after: None, why: format!("no connection: {why}") };
        let connecting = async {
            let addresses = guard.resolve(host, port).await?;
            TcpStream::connect(addresses.as_slice()).await.map_err(|error| again(error.to_string()))
        };
        let stream = timeout_at(until, connecting)
            .await
            .map_err(|_| again(format!("none within {timeout:.1?}")))??;
        let _ = stream.set_nodelay(true);
        Ok(Self { stream: BufReader::new(stream), until })
    }

    /// Sends text as it is.
    ///
    /// # Errors
    /// When it cannot be sent before the deadline.
    pub async fn send(&mut self, text: &str) -> Result<(), SocketError> {
        let sent = timeout_at(self.until, self.stream.write_all(text.as_bytes())).await;
        Ok(sent.map_err(|_| SocketError::NotSent)??)
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// When there is none before the deadline, or it is too long.
    pub async fn line(&mut self) -> Result<String, SocketError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_MAX as u64);
        let read = timeout_at(self.until, bounded.read_until(b'\n', &mut line)).await;
        read.map_err(|_| SocketError::NoAnswer)??;
        if line.pop_if(|b| *b == b'\n').is_none() {
            return Err(if line.len() < LINE_MAX { SocketError::Closed } else { SocketError::LongLine });
        }
        line.pop_if(|b| *b == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// As [`Socket::line`].
    pub async fn exactly(&mut self, len: usize) -> Result<String, SocketError> {
        if len > LINE_MAX {
            return Err(SocketError::LongBody(len));
        }
        let mut body = vec![0; len];
        let read = timeout_at(self.until, self.stream.read_exact(&mut body)).await;
        read.map_err(|_| SocketError::NoAnswer)??;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// `Key: value` lines up to an empty one.
    ///
    /// # Errors
    /// As [`Socket::line`], and when there are more than [`FIELDS_MAX`].
    pub async fn fields(&mut self) -> Result<Vec<(String, String)>, SocketError> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            if fields.len() >= FIELDS_MAX {
                return Err(SocketError::LongMessage);
            }
            let (key, value) = line.split_once(':').unwrap_or((&line, ""));
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
}

/// The first field of that name, whatever its case.
pub fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// `host:port`, or `[::1]:port`.
pub fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let expected = || format!("is {text:?}: expected host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let good = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b) || bare.is_some() && b == b':';
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() && host.bytes().all(good) => Ok((host, port)),
        Ok(_) | Err(_) => Err(expected()),
    }
}
