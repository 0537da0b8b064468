//! What must not be lost, in SQLite: transfers and their outbox, verdicts, the audit chain; retention and erasure.
//! Absent here: sockets, decisions.
//!
//! One thread writes. It takes whatever waits, writes it in one transaction and syncs once, so that two hundred calls do not wait for
//! two hundred syncs. What cannot be written stays first in line and is tried again; whoever waits for it is told at once.

mod audit;
mod erasure;
mod record;
mod schema;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub use crate::clock::rfc3339;
pub use audit::{Checked, Entry, Fault, Written, entries, verify};
pub use erasure::{Receipt, Whom, forget, purge};
pub use record::{CallRow, Filter, MissedRow, Record, Verdict, VerdictRow};
pub use rusqlite::Connection;
use rusqlite::{ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use warmline_core::transfer::UnixMillis;

/// Changes that may wait to be written; beyond, the newest are refused, counted as lost and told in `/readyz`. While a disk is full this
/// is what memory holds of it.
pub const WAITING_MAX: usize = 65_536;

/// Changes written in one transaction.
pub const GROUP_MAX: usize = 1_024;

/// Readings that may wait; beyond, the next is refused (503).
pub const READS_MAX: usize = 256;

/// How long what could not be written waits before it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long a lock of another process (`warmline forget`) is waited for.
const BUSY: Duration = Duration::from_secs(2);

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file that outlives the program.
    File(PathBuf),
    /// In memory: gone with the program.
    Memory,
}

/// One thing to be kept.
#[derive(Clone, Debug)]
pub enum Change {
    /// A transfer was decided. It is refused as [`LedgerError::Exists`] if its id is known.
    Decided {
        /// The transfer.
        record: Box<Record>,
        /// Its context packet, JSON.
        packet: String,
    },
    /// A transfer stands differently. One that was erased stays so.
    Stands(Box<Record>),
    /// A call is over.
    CallOver(CallRow),
    /// Somebody says that a call should have been transferred.
    Missed(MissedRow),
    /// A line of the audit.
    Audit(Entry),
}

/// Why something was not kept, or not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be opened.
    #[error("{path}: {why}")]
    Open {
        /// Which file.
        path: String,
        /// What is wrong, and how to mend it.
        why: String,
    },
    /// It is not on the disk: the disk is full, cannot be written, or fails. It is tried again.
    #[error(
        "the ledger cannot be written: {0}: free some space or mend the disk; what waits is written then"
    )]
    NotWritten(String),
    /// Too much waits to be written, or to be read.
    #[error("too much waits for the ledger: try again")]
    Busy,
    /// A transfer of this id is known already.
    #[error("transfer {0} is known already")]
    Exists(String),
    /// SQLite says no.
    #[error("the ledger: {0}")]
    Sql(String),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(code) if is_of_the_disk(code) => Self::NotWritten(error.to_string()),
            Some(_) | None => Self::Sql(error.to_string()),
        }
    }
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Changes written.
    pub written: AtomicU64,
    /// Transactions they were written in.
    pub commits: AtomicU64,
    /// Transactions that failed.
    pub failed: AtomicU64,
    /// Changes that wait.
    pub waiting: AtomicU64,
    /// Changes given up: too many waited, or SQLite would not have them.
    pub lost: AtomicU64,
}

/// Told when a change is on the disk, or is not.
pub type Done = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// An open ledger. Dropping it writes what waits.
pub struct Ledger {
    shared: Arc<Shared>,
    reads: Arc<Lane<Read>>,
    threads: Vec<JoinHandle<()>>,
    place: Place,
}

struct Shared {
    jobs: Lane<Item>,
    counts: Counts,
    failing: Mutex<Option<String>>,
}

enum Item {
    Write(Job),
    Work(Work),
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

struct Job {
    changes: Vec<Change>,
    done: Option<Done>,
}

impl Ledger {
    /// Opens a ledger, and creates or migrates it.
    ///
    /// # Errors
    /// When the file cannot be opened, is of a newer program, or no thread can be started.
    pub fn open(place: Place) -> Result<Self, LedgerError> {
        Self::limited(place, None)
    }

    /// The same with so many pages of 4 KiB at most, which is how a test fills a disk.
    ///
    /// # Errors
    /// Likewise.
    pub fn limited(place: Place, pages: Option<u32>) -> Result<Self, LedgerError> {
        let writer = connect(&place)?;
        if let Some(pages) = pages {
            writer.pragma_update(None, "max_page_count", pages)?;
        }
        let shared = Arc::new(Shared {
            jobs: Lane::new(WAITING_MAX),
            counts: Counts::default(),
            failing: Mutex::default(),
        });
        let reads = Arc::new(Lane::new(READS_MAX));
        let mut threads = Vec::new();
        let failed = |error: std::io::Error| LedgerError::Sql(error.to_string());
        if let Place::File(_) = place {
            let (reader, lane) = (connect(&place)?, Arc::clone(&reads));
            let run = move || {
                while let Some(reads) = lane.take(GROUP_MAX, None) {
                    reads.into_iter().for_each(|read: Read| read(&reader));
                }
            };
            threads.push(thread::Builder::new().name("ledger-read".into()).spawn(run).map_err(failed)?);
        }
        let of_writer = Arc::clone(&shared);
        let run = move || write(&of_writer, writer);
        threads.push(thread::Builder::new().name("ledger-write".into()).spawn(run).map_err(failed)?);
        Ok(Self { shared, reads, threads, place })
    }

    /// Keeps changes, all or none, behind those given before. It never waits; `done` is told, on the ledger's thread, when they are on the
    /// disk, or that they are not: then they are tried again until they are, unless the error is [`LedgerError::Busy`] or
    /// [`LedgerError::Exists`].
    pub fn submit(&self, changes: Vec<Change>, done: Option<Done>) {
        let count = changes.len() as u64;
        self.shared.counts.waiting.fetch_add(count, Ordering::Relaxed);
        if let Err(Item::Write(job)) = self.shared.jobs.put(Item::Write(Job { changes, done })) {
            self.shared.counts.waiting.fetch_sub(count, Ordering::Relaxed);
            self.shared.counts.lost.fetch_add(count, Ordering::Relaxed);
            if let Some(done) = job.done {
                done(Err(LedgerError::Busy));
            }
        }
    }

    /// The same, awaited.
    ///
    /// # Errors
    /// When the changes are not on the disk.
    pub async fn keep(&self, changes: Vec<Change>) -> Result<(), LedgerError> {
        let (tell, told) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(tell.send(result)));
        self.submit(changes, Some(done));
        told.await.unwrap_or(Err(LedgerError::Busy))
    }

    /// Reads, on a thread of the ledger's own.
    ///
    /// # Errors
    /// When too much is being read, or SQLite says no.
    pub async fn read<T, F>(&self, read: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let read: Read = Box::new(move |connection| drop(tell.send(read(connection))));
        let put = match self.place {
            Place::File(_) => self.reads.put(read).is_ok(),
            Place::Memory => {
                self.shared.jobs.put(Item::Work(Box::new(|connection| read(connection)))).is_ok()
            }
        };
        if !put {
            return Err(LedgerError::Busy);
        }
        Ok(told.await.map_err(|_| LedgerError::Busy)??)
    }

    /// Erases what is older than a date, between two writes.
    ///
    /// # Errors
    /// When SQLite says no; then nothing was erased.
    pub async fn purge(&self, before: UnixMillis, at: UnixMillis) -> Result<Receipt, LedgerError> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| drop(tell.send(purge(connection, before, at))));
        self.shared.jobs.put(Item::Work(work)).map_err(|_| LedgerError::Busy)?;
        Ok(told.await.map_err(|_| LedgerError::Busy)??)
    }

    /// Allows the file so many pages, as if the disk had grown.
    ///
    /// # Errors
    /// When SQLite says no.
    pub async fn widen(&self, pages: u32) -> Result<(), LedgerError> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            drop(tell.send(connection.pragma_update(None, "max_page_count", pages)));
        });
        self.shared.jobs.put(Item::Work(work)).map_err(|_| LedgerError::Busy)?;
        Ok(told.await.map_err(|_| LedgerError::Busy)??)
    }

    /// Why nothing can be written, while nothing can.
    pub fn failing(&self) -> Option<String> {
        lock(&self.shared.failing).clone()
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shared.jobs.close();
        self.reads.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Opens the file alone, as `warmline audit` and `warmline forget` do beside a program that runs.
///
/// # Errors
/// When there is none, or it is no ledger.
pub fn open_existing(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        let why = "there is no such file: name the ledger with --ledger".into();
        return Err(LedgerError::Open { path: path.display().to_string(), why });
    }
    connect(&Place::File(path.to_owned()))
}

fn connect(place: &Place) -> Result<Connection, LedgerError> {
    let (path, opened) = match place {
        Place::File(path) => (path.display().to_string(), Connection::open(path)),
        Place::Memory => ("memory".into(), Connection::open_in_memory()),
    };
    let fault = |why: String| LedgerError::Open { path: path.clone(), why };
    let mut connection = opened.map_err(|error| fault(error.to_string()))?;
    schema::prepare(&mut connection).map_err(fault)?;
    Ok(connection)
}

/// The writing thread.
fn write(shared: &Shared, mut connection: Connection) {
    let mut jobs: VecDeque<Job> = VecDeque::new();
    loop {
        let patience = (!jobs.is_empty()).then_some(TRY_AGAIN);
        let room = WAITING_MAX.saturating_sub(jobs.len()).min(GROUP_MAX);
        let Some(items) = shared.jobs.take(room.max(1), patience) else {
            // The last chance of what waits.
            if !jobs.is_empty() {
                let _ = commit(shared, &mut connection, &mut jobs);
            }
            return;
        };
        for item in items {
            match item {
                Item::Write(job) => jobs.push_back(job),
                Item::Work(work) => work(&mut connection),
            }
        }
        while !jobs.is_empty() {
            match commit(shared, &mut connection, &mut jobs) {
                Ok(()) => {
                    if lock(&shared.failing).take().is_some() {
                        tracing::info!("the ledger is written again");
                    }
                }
                Err(error) => {
                    shared.counts.failed.fetch_add(1, Ordering::Relaxed);
                    let why = error.to_string();
                    if lock(&shared.failing).replace(why.clone()).is_none() {
                        tracing::error!(
                            why,
                            "the ledger cannot be written: transfers go out all the same, and wait in memory to be written"
                        );
                    }
                    for done in jobs.iter_mut().filter_map(|job| job.done.take()) {
                        done(Err(LedgerError::NotWritten(why.clone())));
                    }
                    break;
                }
            }
        }
    }
}

/// Writes the first of what waits in one transaction. Nothing leaves the queue unless it is on the disk, or never will be.
fn commit(shared: &Shared, connection: &mut Connection, jobs: &mut VecDeque<Job>) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::new();
    for job in jobs.iter().take(GROUP_MAX) {
        let savepoint = transaction.savepoint()?;
        match job.changes.iter().try_for_each(|change| record::apply(&savepoint, change)) {
            Ok(()) => {
                savepoint.commit()?;
                results.push(Ok(()));
            }
            Err(record::Refused::Exists(id)) => {
                drop(savepoint);
                results.push(Err(LedgerError::Exists(id)));
            }
            Err(record::Refused::Sql(error)) if error.sqlite_error_code().is_some_and(is_of_the_disk) => {
                return Err(error);
            }
            Err(record::Refused::Sql(error)) => {
                drop(savepoint);
                tracing::error!(%error, "a change is not kept");
                shared.counts.lost.fetch_add(job.changes.len() as u64, Ordering::Relaxed);
                results.push(Err(LedgerError::Sql(error.to_string())));
            }
        }
    }
    transaction.commit()?;
    shared.counts.commits.fetch_add(1, Ordering::Relaxed);
    for (job, result) in jobs.drain(..results.len()).zip(results) {
        let count = job.changes.len() as u64;
        shared.counts.waiting.fetch_sub(count, Ordering::Relaxed);
        if result.is_ok() {
            shared.counts.written.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(done) = job.done {
            done(result);
        }
    }
    Ok(())
}

/// Whether trying again later may help.
fn is_of_the_disk(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
    )
}

/// A bounded queue between threads.
struct Lane<T> {
    state: Mutex<(VecDeque<T>, bool)>,
    bell: Condvar,
    max: usize,
}

impl<T> Lane<T> {
    fn new(max: usize) -> Self {
        Self { state: Mutex::new((VecDeque::new(), false)), bell: Condvar::new(), max }
    }

    /// Gives it back if there is no room.
    fn put(&self, item: T) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.1 || state.0.len() >= self.max {
            return Err(item);
        }
        state.0.push_back(item);
        drop(state);
        self.bell.notify_one();
        Ok(())
    }

    /// What waits, at most so many; nothing when `patience` is over; `None` when the lane is closed and empty.
    fn take(&self, most: usize, patience: Option<Duration>) -> Option<Vec<T>> {
        let mut state = lock(&self.state);
        loop {
            if !state.0.is_empty() {
                let count = state.0.len().min(most);
                return Some(state.0.drain(..count).collect());
            }
            if state.1 {
                return None;
            }
            state = match patience {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.bell.wait_timeout(state, patience);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && state.0.is_empty() && !state.1 {
                        return Some(Vec::new());
                    }
                    state
                }
            };
        }
    }

    fn close(&self) {
        lock(&self.state).1 = true;
        self.bell.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
