//! The shared table of rows (AWS mode), as the daemon uses it: conditional writes, reads, and the
//! work index.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{Row, RowKey, RowWrite, Timestamp};

use crate::PortError;

/// How many partitions the work index has (PROTOCOL, `wk`).
pub const WORK_PARTITIONS: u8 = 64;

/// What came of one conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Done.
    Done,
    /// A condition does not hold; the row as it is, or none where there is no such row.
    Refused(Option<Row>),
}

/// A row with its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredEvent {
    /// What the row says.
    pub row: Row,
    /// The bytes to deliver; none where their item is gone.
    pub payload: Option<Bytes>,
}

/// A row that could be read, if it is there, or why it makes no sense.
pub type Readable = Result<Option<StoredEvent>, PortError>;

/// The shared table of rows.
///
/// An error of a write or a read says nothing about whether it was done: a reply may be lost. The
/// protocol's conditions make every write safe to repeat. One row's [`PortError::Permanent`] is of
/// that row alone: it makes no sense, whoever asks and however often (somebody wrote it by hand,
/// or a later version did). What refuses the call as a whole is no row's fault, and passes.
#[async_trait]
pub trait Rows: Send + Sync {
    /// Writes rows, each by itself, in as few requests as it can; one answer for each in order,
    /// all meaning what [`RowWrite::apply`] says. A call names a row once.
    async fn write(&self, writes: Vec<RowWrite>) -> Vec<Result<Written, PortError>>;
    /// Rows with their payloads, as the last acknowledged write left them; one answer for each in
    /// order; none where there is no such row.
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<StoredEvent>>, PortError>;
    /// The same, with an answer of its own for a row that makes no sense, so that it does not keep
    /// the others from being read.
    async fn read_each(&self, keys: &[RowKey]) -> Result<Vec<Readable>, PortError> {
        Ok(self.read(keys).await?.into_iter().map(Ok).collect())
    }
    /// Rows of one partition (below [`WORK_PARTITIONS`]) of the work index whose lease ends before
    /// `before`, soonest first, at most `max`. May lag behind the rows.
    async fn owed(
        &self,
        partition: u8,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<RowKey>, PortError>;
}
