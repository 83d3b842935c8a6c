//! A proxy between store and server. It counts round trips, and drops selected messages.

use emmett_postgresql::testing::Database;
use postgres::config::Host;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// The proxy of one database. Its connections end with the client's.
pub(crate) struct Proxy {
    url: String,
    address: String,
    state: Arc<State>,
}

/// What a connection loses, and breaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The statement never gets to the server.
    Statement,
    /// The server carries the statement out, and its answer is lost.
    Answer,
    /// The server carries the statement out, and its answer is lost behind its beginning.
    PartOfAnswer,
    /// The server carries the statement out, and in the place of its answer a pooler says with this SQLSTATE that it has lost
    /// the server.
    Pooler(&'static str),
}

/// A statement that was prepared, and on which connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Prepared {
    pub(crate) connection: usize,
    pub(crate) sql: String,
}

#[derive(Default)]
struct State {
    log: Mutex<Log>,
    target: Mutex<Option<Target>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Log {
    connections: usize,
    /// The SQL of each turn: what was sent until the server had to answer.
    turns: Vec<String>,
    /// The turns in which nothing was asked but whether the server is there.
    pings: usize,
    prepared: Vec<Prepared>,
    loss: Option<(String, Loss)>,
    loses_always: bool,
    translated: Vec<String>,
}

impl Proxy {
    /// Begins to listen. The store connects to [`url`](Proxy::url) then.
    pub(crate) fn to(database: &Database) -> anyhow::Result<Self> {
        Self::to_server(database.url())
    }

    pub(crate) fn to_server(url: &str) -> anyhow::Result<Self> {
        let server: postgres::Config = url.parse()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        *state.target() = Some(Target::of(&server));
        let accepting = Arc::clone(&state);
        thread::Builder::new()
            .name("test:proxy".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            url: url_through(&server, address.port()),
            address: address.to_string(),
            state,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Leads new connections to another server; those that there are stay.
    pub(crate) fn lead_to(&self, url: &str) -> anyhow::Result<()> {
        *self.state.target() = Some(Target::of(&url.parse()?));
        Ok(())
    }

    /// How many round trips `run` takes, on all connections together. A connection that has rested for a second is asked
    /// whether it is alive; those round trips are [`pings`](Proxy::pings).
    pub(crate) fn count<T>(&self, run: impl FnOnce() -> T) -> (T, usize) {
        let (done, turns) = self.watch(run);
        (done, turns.len())
    }

    /// The SQL of each round trip that `run` takes.
    pub(crate) fn watch<T>(&self, run: impl FnOnce() -> T) -> (T, Vec<String>) {
        let before = self.log().turns.len();
        let done = run();
        (done, self.log().turns[before..].to_vec())
    }

    /// Every statement that a connection was told to keep.
    pub(crate) fn prepared(&self) -> Vec<Prepared> {
        self.log().prepared.clone()
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.log().connections
    }

    /// How often a connection was asked whether it is alive.
    pub(crate) fn pings(&self) -> usize {
        self.log().pings
    }

    /// Has answers say this in another language.
    pub(crate) fn translate(&self, english: &str) {
        self.log().translated.push(english.to_owned());
    }

    /// Breaks the connection at the next round trip that carries out SQL with this text in it. Once.
    pub(crate) fn lose(&self, loss: Loss, sql: &str) {
        self.log().loss = Some((sql.to_owned(), loss));
    }

    /// Breaks each connection there.
    pub(crate) fn always_lose(&self, loss: Loss, sql: &str) {
        self.lose(loss, sql);
        self.log().loses_always = true;
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> MutexGuard<'_, Option<Target>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same database with the proxy as its host.
fn url_through(server: &postgres::Config, port: u16) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let password = server.get_password().map_or_else(String::new, |password| {
        format!(" password='{}'", quoted(&String::from_utf8_lossy(password)))
    });
    format!(
        "host=127.0.0.1 port={port} sslmode=disable dbname='{}' user='{}'{password}",
        quoted(server.get_dbname().unwrap_or_default()),
        quoted(server.get_user().unwrap_or_default()),
    )
}

#[derive(Clone)]
enum Target {
    Tcp(String),
    Socket(PathBuf),
}

impl Target {
    fn of(server: &postgres::Config) -> Self {
        let port = server.get_ports().first().copied().unwrap_or(5432);
        match server.get_hosts().first() {
            Some(Host::Unix(directory)) => Self::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            Some(Host::Tcp(name)) => Self::Tcp(format!("{name}:{port}")),
            None => Self::Tcp(format!("localhost:{port}")),
        }
    }
}

/// Both ends of a connection are used by two threads.
trait Wire: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn close(&self);
}

impl Wire for TcpStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn close(&self) {
        drop(self.shutdown(Shutdown::Both));
    }
}

impl Wire for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn close(&self) {
        drop(self.shutdown(Shutdown::Both));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming().flatten() {
        if state.closed.load(Ordering::Acquire) {
            return;
        }
        // A server that refuses shows itself as a closed connection.
        drop(client.set_nodelay(true));
        drop(match state.target().clone() {
            None => Ok(()),
            Some(Target::Tcp(address)) => {
                TcpStream::connect(address).and_then(|server| relay(client, server, state))
            }
            Some(Target::Socket(path)) => {
                UnixStream::connect(path).and_then(|server| relay(client, server, state))
            }
        });
    }
}

fn relay<S: Wire>(client: TcpStream, server: S, state: &Arc<State>) -> io::Result<()> {
    let connection = {
        let mut log = state.log();
        log.connections += 1;
        log.connections
    };
    let losing = Arc::new(OnceLock::new());
    let mut answers = Answers {
        server: server.twin()?,
        client: client.twin()?,
        losing: Arc::clone(&losing),
        state: Arc::clone(state),
    };
    let mut statements = Statements {
        connection,
        client,
        server,
        losing,
        state: Arc::clone(state),
        names: HashMap::new(),
        sql: String::new(),
        unsent: Vec::new(),
    };
    thread::Builder::new()
        .name("test:proxy:answers".into())
        .spawn(move || {
            drop(answers.relay());
            answers.close();
        })?;
    thread::Builder::new()
        .name("test:proxy:statements".into())
        .spawn(move || {
            drop(statements.relay());
            statements.close();
        })?;
    Ok(())
}

/// From the client to the server.
struct Statements<S> {
    connection: usize,
    client: TcpStream,
    server: S,
    /// What is lost of the answer to the present turn, which is the last one.
    losing: Arc<OnceLock<Loss>>,
    state: Arc<State>,
    /// The SQL of the prepared statements.
    names: HashMap<Vec<u8>, String>,
    /// The SQL of the present turn.
    sql: String,
    /// The messages of the present turn.
    unsent: Vec<u8>,
}

impl<S: Wire> Statements<S> {
    fn relay(&mut self) -> io::Result<()> {
        // The first message has no type.
        let startup = self.body()?;
        self.server
            .write_all(&[&length_of(&startup)[..], &startup].concat())?;
        loop {
            let mut kind = [0];
            self.client.read_exact(&mut kind)?;
            let body = self.body()?;
            self.unsent
                .extend([&kind[..], &length_of(&body), &body].concat());
            self.note(kind[0], &body);
            match kind[0] {
                b'P' | b'B' | b'D' | b'E' | b'C' => {}
                b'Q' | b'S' => self.end_turn()?,
                _ => self.send()?,
            }
        }
    }

    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.client.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - length.len()];
        self.client.read_exact(&mut body)?;
        Ok(body)
    }

    fn note(&mut self, kind: u8, body: &[u8]) {
        let mut fields = body.split(|byte| *byte == 0);
        let mut next = || fields.next().unwrap_or_default().to_vec();
        match kind {
            b'Q' => self.sql = text(&next()),
            b'P' => {
                let (name, sql) = (next(), text(&next()));
                // The server keeps no statement that has no name.
                if !name.is_empty() {
                    self.state.log().prepared.push(Prepared {
                        connection: self.connection,
                        sql: sql.clone(),
                    });
                }
                self.sql = format!("{PREPARE}{sql}");
                self.names.insert(name, sql);
            }
            b'B' => {
                let (_portal, name) = (next(), next());
                self.sql = self.names.get(&name).cloned().unwrap_or_default();
            }
            b'C' if self.sql.is_empty() => CLOSE.clone_into(&mut self.sql),
            _ => {}
        }
    }

    fn end_turn(&mut self) -> io::Result<()> {
        let sql = std::mem::take(&mut self.sql);
        let loss = {
            let mut log = self.state.log();
            let known = log.loss.clone();
            let loss = known.filter(|(part, _)| !sql.starts_with(PREPARE) && sql.contains(part));
            if loss.is_some() && !log.loses_always {
                log.loss = None;
            }
            match &*sql {
                "" => log.pings += 1,
                // The client does not wait for the answer to this one.
                CLOSE => {}
                _ => log.turns.push(sql),
            }
            loss
        };
        match loss {
            Some((_, Loss::Statement)) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some((_, loss)) => _ = self.losing.set(loss),
            None => {}
        }
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        self.server.write_all(&std::mem::take(&mut self.unsent))
    }

    fn close(&self) {
        self.client.close();
        // The server must have the time to carry out what it got.
        if self.losing.get().is_none() {
            self.server.close();
        }
    }
}

const PREPARE: &str = "PREPARE ";
const CLOSE: &str = "CLOSE";

fn length_of(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4)
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// From the server to the client.
struct Answers<S> {
    server: S,
    client: TcpStream,
    /// What is lost of the answer to the present turn, which is the last one.
    losing: Arc<OnceLock<Loss>>,
    state: Arc<State>,
}

impl<S: Wire> Answers<S> {
    fn relay(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.server.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.translate(&mut buffer[..count]);
            let loss = self.losing.get();
            if !matches!(loss, Some(Loss::Answer | Loss::Pooler(_))) {
                self.client.write_all(&buffer[..count])?;
            }
            if loss.is_some() {
                self.swallow(buffer[..count].to_vec())?;
                return self.speak_as_pooler();
            }
        }
    }

    fn translate(&self, answer: &mut [u8]) {
        for english in &self.state.log().translated {
            let text = english.as_bytes();
            while let Some(start) = answer.windows(text.len()).position(|part| part == text) {
                answer[start..start + text.len()].fill(b'?');
            }
        }
    }

    /// Reads until the server is ready for the next query: then it has done everything.
    fn swallow(&mut self, mut answer: Vec<u8>) -> io::Result<()> {
        while !is_complete(&answer) {
            let mut more = vec![0; 64 * 1024];
            let count = self.server.read(&mut more)?;
            if count == 0 {
                return Ok(());
            }
            answer.extend(&more[..count]);
        }
        Ok(())
    }

    fn speak_as_pooler(&mut self) -> io::Result<()> {
        let Some(Loss::Pooler(sqlstate)) = self.losing.get() else {
            return Ok(());
        };
        let body = format!("SFATAL\0C{sqlstate}\0Mserver conn crashed?\0\0").into_bytes();
        self.client
            .write_all(&[&b"E"[..], &length_of(&body), &body].concat())?;
        // The driver forgets an error that it reads together with the end of the connection, and does not say when it has
        // read one. Where this is too short, less is proved, and nothing fails.
        thread::park_timeout(Duration::from_millis(200));
        Ok(())
    }

    fn close(&self) {
        self.client.close();
        self.server.close();
    }
}

/// Whether the messages end with `ReadyForQuery`.
fn is_complete(mut messages: &[u8]) -> bool {
    while let [kind, a, b, c, d, ..] = *messages {
        let length = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        if kind == b'Z' {
            return messages.len() >= length;
        }
        messages = messages.get(length..).unwrap_or_default();
    }
    false
}
