//! Many files side by side, each one's output in the order in which the files were named.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Deepest folder below a named one that is looked into.
const DEPTH_MAX: usize = 32;

/// One sentence to whoever started the program.
pub(super) fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "warmline: {sentence}");
}

/// How many files are worked on at once when nothing is said.
pub(super) fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The files that were named: `@LIST` is a file of names, a folder stands for the WAV files in and below it, in order.
pub(super) fn files(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in named {
        if let Some(list) = name.to_str().and_then(|name| name.strip_prefix('@')) {
            let text = fs::read_to_string(list).with_context(|| format!("{list}: cannot be read"))?;
            found.extend(text.lines().filter(|line| !line.trim().is_empty()).map(PathBuf::from));
        } else if name.is_dir() {
            let before = found.len();
            walk(name, 0, &mut found).with_context(|| format!("{}: cannot be read", name.display()))?;
            if found.len() == before {
                bail!("{}: no WAV file in this folder", name.display());
            }
        } else {
            found.push(name.clone());
        }
    }
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() && depth < DEPTH_MAX {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")) {
            found.push(path);
        }
    }
    Ok(())
}

/// Runs `work` on every file with `jobs` threads. `worker` makes what a thread keeps from file to file. What `work` writes
/// comes out in the order of the files: at once for the one whose turn it is, else when its turn comes.
pub(super) fn run<W, R: Send>(
    files: &[PathBuf],
    jobs: usize,
    worker: impl Fn() -> anyhow::Result<W> + Sync,
    work: impl Fn(&mut W, &Path, &mut dyn Write) -> R + Sync,
) -> anyhow::Result<Vec<R>> {
    let bar = bar(files.len() as u64);
    let desk = Mutex::new(Desk { next_file: 0, next_out: 0, waiting: BTreeMap::new() });
    let results: Mutex<BTreeMap<usize, R>> = Mutex::default();
    let failure: Mutex<Option<anyhow::Error>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                let mut own = match worker() {
                    Ok(own) => own,
                    Err(error) => {
                        lock(&failure).get_or_insert(error);
                        return;
                    }
                };
                while let Some((n, path)) = take(&desk, files) {
                    let mut output = Output { n, desk: &desk, bar: &bar, buffer: Vec::new() };
                    let result = work(&mut own, path, &mut output);
                    output.close();
                    lock(&results).insert(n, result);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    match lock(&failure).take() {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut *lock(&results)).into_values().collect()),
    }
}

/// Whose turn it is to write, and what is written already but not out.
struct Desk {
    next_file: usize,
    next_out: usize,
    waiting: BTreeMap<usize, Vec<u8>>,
}

fn take<'a>(desk: &Mutex<Desk>, files: &'a [PathBuf]) -> Option<(usize, &'a Path)> {
    let mut desk = lock(desk);
    let n = desk.next_file;
    desk.next_file += 1;
    files.get(n).map(|path| (n, path.as_path()))
}

/// Bytes held back before they are written, or before it is looked whose turn it is.
const BUFFER_LEN: usize = 64 * 1024;

struct Output<'a> {
    n: usize,
    desk: &'a Mutex<Desk>,
    bar: &'a ProgressBar,
    buffer: Vec<u8>,
}

impl Output<'_> {
    fn close(self) {
        let mut desk = lock(self.desk);
        desk.waiting.insert(self.n, self.buffer);
        while let Some(bytes) = {
            let n = desk.next_out;
            desk.waiting.remove(&n)
        } {
            out(self.bar, &bytes);
            desk.next_out += 1;
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_LEN && lock(self.desk).next_out == self.n {
            out(self.bar, &self.buffer);
            self.buffer.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes where the progress bar is not. A reader who has gone away, as `head` does, ends the output and nothing else.
fn out(bar: &ProgressBar, bytes: &[u8]) {
    bar.suspend(|| {
        let _ = io::stdout().lock().write_all(bytes);
    });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Progress on a terminal; nothing in a pipe, or when there is only one file to wait for.
fn bar(files: u64) -> ProgressBar {
    if files < 2 || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32.cyan/blue} {pos}/{len} files, {eta} left");
    let bar = ProgressBar::new(files).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
