//! Durable writing: staged files and folder syncs that many requests share.
//!
//! An object is written to a file in `staging/`, synced, and only then linked or renamed to where it is visible; the
//! folder is synced before the client hears of it. A staged file that is not published removes itself; those a crash
//! leaves are removed at start. Work on files runs on blocking threads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use s3s::StdError;
use tokio::sync::Mutex;

use crate::{
    digest::{Algorithm, Digests, Hasher},
    error::StoreError,
    record::{self, Metadata},
};

/// A body is handed to the disk in portions of about this size; also the most memory a body takes.
const PORTION_BYTES: usize = 1 << 20;
/// A client that sends nothing for so long has gone away; its request must not hold its place for ever.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Runs file work on a blocking thread.
///
/// # Errors
/// The work's own, or that the thread was lost.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(lost) => Err(StoreError::Io(io::Error::other(lost))),
    }
}

/// Fills `portion` from a file if its bytes are in memory, without waiting for the disk: `false` when some are not, or when
/// the file system cannot tell. Most reads are of what was just written, and going to another thread and back costs more than
/// copying them.
pub fn read_cached(file: &File, portion: &mut [u8], at: u64) -> bool {
    let mut done = 0;
    while done < portion.len() {
        let rest = &mut [io::IoSliceMut::new(&mut portion[done..])];
        match rustix::io::preadv2(file, rest, at + done as u64, rustix::io::ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => done += bytes,
        }
    }
    true
}

/// The folder of files that are not visible yet.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
}

impl Staging {
    /// Opens the folder and removes what a crash has left in it.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut leftovers = 0_u64;
        for entry in fs::read_dir(&folder)? {
            fs::remove_file(entry?.path())?;
            leftovers += 1;
        }
        if leftovers > 0 {
            tracing::info!(leftovers, "removed writes that were not finished when the server last ended");
        }
        Ok(Self { folder, next: AtomicU64::new(0) })
    }

    /// A new empty file. Names are unique in this process, and the folder was emptied at its start.
    fn create(&self) -> io::Result<Staged> {
        let path = self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Staged { path, file, size: 0, published: false })
    }

    /// Writes a small file durably and puts it in its place.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn write_file(&self, bytes: &[u8], target: &Path) -> io::Result<()> {
        let mut staged = self.create()?;
        staged.file.write_all(bytes)?;
        staged.file.sync_all()?;
        staged.publish(target)
    }
}

/// A file that nobody sees yet. Removes itself unless it is published.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: File,
    /// Bytes of the body so far.
    pub size: u64,
    published: bool,
}

impl Staged {
    /// Appends the metadata and makes the file durable.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn seal(&mut self, metadata: &Metadata) -> io::Result<()> {
        self.file.write_all(&record::trailer(metadata)?)?;
        self.file.sync_all()
    }

    /// Makes the file visible as `target`, which must not exist: of many racers exactly one succeeds.
    ///
    /// # Errors
    /// `AlreadyExists` when another was first.
    pub fn publish_new(mut self, target: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, target)?;
        self.published = true;
        // The object is in place; a leftover name in staging is removed at the next start.
        let _ = fs::remove_file(&self.path);
        Ok(())
    }

    /// Makes the file visible as `target`, in place of what may be there.
    ///
    /// # Errors
    /// When the rename fails; then nothing has changed.
    pub fn publish(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Nothing depends on it: the start removes leftovers as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a body into a staged file, portion by portion, while computing its digests.
///
/// # Errors
/// When the body breaks off or the disk is full; the file is removed.
pub async fn stage<B>(
    staging: &Arc<Staging>,
    body: Option<B>,
    algorithms: &[Algorithm],
) -> Result<(Staged, Digests), StoreError>
where
    B: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    let mut sink = Sink { staging: staging.clone(), staged: None, hasher: Hasher::new(algorithms) };
    let (mut portion, mut portion_bytes) = (Vec::new(), 0);
    if let Some(mut body) = body {
        loop {
            let next = tokio::time::timeout(STALL_MAX, body.next()).await.map_err(|_| StoreError::BodyStalled)?;
            let Some(bytes) = next else { break };
            let bytes = bytes.map_err(StoreError::Body)?;
            portion_bytes += bytes.len();
            portion.push(bytes);
            if portion_bytes >= PORTION_BYTES {
                let full = std::mem::take(&mut portion);
                portion_bytes = 0;
                sink = blocking(move || sink.write(&full)).await?;
            }
        }
    }
    blocking(move || sink.write(&portion)?.finish()).await
}

/// Copies pieces of open files, each `(file, from, length)` in bytes, one behind the other into a staged file.
///
/// # Errors
/// When reading or writing fails; the file is removed.
pub fn stage_copy(
    staging: &Arc<Staging>,
    sources: &[(Arc<File>, u64, u64)],
    algorithms: &[Algorithm],
) -> Result<(Staged, Digests), StoreError> {
    let mut sink = Sink { staging: staging.clone(), staged: None, hasher: Hasher::new(algorithms) };
    let mut buffer = vec![0; PORTION_BYTES];
    for (file, from, length) in sources {
        let mut at = *from;
        let end = from + length;
        while at < end {
            let portion = &mut buffer[..(end - at).min(PORTION_BYTES as u64) as usize];
            file.read_exact_at(portion, at)?;
            sink.append(portion)?;
            at += portion.len() as u64;
        }
    }
    sink.finish()
}

struct Sink {
    staging: Arc<Staging>,
    staged: Option<Staged>,
    hasher: Hasher,
}

impl Sink {
    fn write(mut self, portion: &[Bytes]) -> Result<Self, StoreError> {
        for bytes in portion {
            self.append(bytes)?;
        }
        Ok(self)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let staged = match &mut self.staged {
            Some(staged) => staged,
            none => none.insert(self.staging.create()?),
        };
        staged.file.write_all(bytes)?;
        staged.size += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    fn finish(mut self) -> Result<(Staged, Digests), StoreError> {
        let staged = match self.staged.take() {
            Some(staged) => staged,
            None => self.staging.create()?,
        };
        Ok((staged, self.hasher.finish()))
    }
}

/// Syncs a folder, once for all who ask while a sync is under way.
#[derive(Debug)]
pub struct FolderSync {
    folder: Arc<File>,
    /// Tickets taken: a change gets its ticket after it was made.
    asked: AtomicU64,
    state: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// Changes with a ticket below this one are durable.
    until: u64,
    /// A sync failed. The system may have dropped the changes and would report success the next time, so nothing
    /// more is promised until the server starts again and reads what the disk really holds.
    broken: bool,
}

impl FolderSync {
    /// # Errors
    /// When the folder cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: Arc::new(File::open(folder)?), asked: AtomicU64::new(0), state: Mutex::default() })
    }

    /// Returns when the changes made to the folder before this call are durable.
    ///
    /// # Errors
    /// When the disk fails, or failed once since the start: then it is unknown whether they are.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if state.broken {
            return Err(StoreError::Io(io::Error::other("a sync to disk failed before; restart the object server")));
        }
        if ticket >= state.until {
            let (from, until) = (state.until, self.asked.load(Ordering::SeqCst));
            let folder = self.folder.clone();
            let result = blocking(move || Ok(folder.sync_all()?)).await;
            state.broken = result.is_err();
            result?;
            state.until = until;
            metrics::histogram!("object_server_changes_per_folder_sync").record((until - from) as f64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_just_written_is_read_from_memory_and_nothing_is_read_beyond_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..300_000_u32).map(|byte| (byte % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut portion = vec![0; 200_000];
        // A file system that cannot tell says no each time; then the other way is taken, which other tests go.
        if read_cached(&file, &mut portion, 1_000) {
            assert_eq!(portion, bytes[1_000..201_000]);
        }
        assert!(!read_cached(&file, &mut portion, 250_000), "there are only 50,000 bytes there");
        assert!(read_cached(&file, &mut [], 300_000));
    }
}
