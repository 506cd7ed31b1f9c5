//! Events: taken in one by one or in batches, listed, looked at, retried.

pub(crate) mod batch;
pub(crate) mod ingest;
pub(crate) mod read;
