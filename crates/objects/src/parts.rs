//! Objects larger than a part: multipart uploads that are completed under the same condition as a whole put.
//!
//! ```text
//!   start ──▶ part ──▶ part ──▶ … ──▶ complete, if there is no such object
//!      └─ refused, given up, or the caller gone ──▶ abort
//! ```
//!
//! Nothing of an upload can be seen before it is completed, and of many completions one wins, so what is promised of a
//! whole put holds. The parts are slices of the content: nothing is copied. The upload runs in a task of its own, so that
//! it is aborted even when the caller's future is dropped; only a killed process leaves one behind, which a lifecycle rule
//! of the bucket has to remove.

use std::time::Duration;

use opendal::options::WriteOptions;
use opendal::{Buffer, Writer};
use tokio::sync::oneshot;

use crate::{Content, Metadata, ObjectError, PutOutcome, Store, error, write_options};

/// How long a request on its way may take when nobody wants its upload any more; it could not be aborted before.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// How an upload ended.
enum Ended {
    Completed,
    /// There is an object of this name.
    Exists,
    /// The server does not know the upload any more: it was completed and the answer lost, or somebody aborted it.
    Forgotten,
    Failed(opendal::Error),
    /// The caller is gone.
    Unwanted,
}

impl Store {
    /// As [`Store::put_if_absent`]; content of more than `part_bytes` goes up in parts of that size. S3's least is 5 MiB.
    ///
    /// # Errors
    /// As [`Store::put_if_absent`].
    pub async fn put_if_absent_in_parts(
        &self,
        key: &str,
        content: impl Into<Content>,
        metadata: Metadata,
        part_bytes: usize,
    ) -> Result<PutOutcome, ObjectError> {
        let content = content.into();
        if content.0.len() <= part_bytes {
            return self.put_if_absent(key, content, metadata).await;
        }
        let options = WriteOptions { if_not_exists: true, ..write_options(metadata) };
        let mut writer = self.operator.writer_options(key, options).await.map_err(|error| self.error(&error, key))?;
        // Dropped with this future.
        let (_wanted, unwanted) = oneshot::channel::<()>();
        let upload = tokio::spawn(async move {
            let ended = upload(&mut writer, content.0, part_bytes, unwanted).await;
            if !matches!(ended, Ended::Completed | Ended::Forgotten) {
                // An upload that cannot be aborted is left to the bucket's lifecycle rule.
                let _ = writer.abort().await;
            }
            ended
        });
        let retry =
            |reason: String| ObjectError::Retry { endpoint: self.endpoint.clone(), key: key.to_owned(), reason };
        match upload.await.map_err(|error| retry(error.to_string()))? {
            Ended::Completed => Ok(PutOutcome::Created),
            Ended::Exists => Ok(PutOutcome::Exists),
            Ended::Forgotten => match self.head(key).await? {
                Some(_) => Ok(PutOutcome::Exists),
                None => Err(retry("the multipart upload is gone".into())),
            },
            Ended::Failed(error) => Err(self.error(&error, key)),
            Ended::Unwanted => Err(retry("the multipart upload was given up".into())),
        }
    }
}

async fn upload(writer: &mut Writer, content: Buffer, part_bytes: usize, mut unwanted: oneshot::Receiver<()>) -> Ended {
    let size = content.len();
    let mut begin = 0;
    loop {
        let end = size.min(begin + part_bytes);
        let request = async {
            if begin < size { writer.write(content.slice(begin..end)).await } else { writer.close().await.map(drop) }
        };
        let gone = async {
            // Nothing is ever sent: it resolves when the caller is gone.
            let _ = (&mut unwanted).await;
            tokio::time::sleep(LAST_REQUEST).await;
        };
        let outcome = tokio::select! {
            outcome = request => outcome,
            () = gone => return Ended::Unwanted,
        };
        match outcome {
            Ok(()) if begin >= size => return Ended::Completed,
            // What is completed is completed; anything else is not wanted any more.
            Ok(()) if is_gone(&mut unwanted) => return Ended::Unwanted,
            Ok(()) => begin = end,
            Err(error) if error::exists_already(&error) => return Ended::Exists,
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => return Ended::Forgotten,
            Err(error) => return Ended::Failed(error),
        }
    }
}

/// Whether the other side was dropped.
fn is_gone(caller: &mut oneshot::Receiver<()>) -> bool {
    matches!(caller.try_recv(), Err(oneshot::error::TryRecvError::Closed))
}
