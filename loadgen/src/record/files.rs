//! The files of a run, in the formats that HdrHistogram's own tools read.
//!
//! ```text
//! intervals.hlog (format 1.3)
//!   #[StartTime: <Unix seconds> (seconds since epoch), <date>]
//!   "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//!   Tag=publish,<seconds since StartTime>,<length in s>,<max in ms>,<V2, deflated, base 64>
//! *.hgrm
//!   Value  Percentile  TotalCount  1/(1-Percentile)      values in ms
//! ```
//!
//! Every interval is flushed when it ends, and a summary replaces the one before it by a rename:
//! a run that is cut off at any moment leaves files that can be read.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use posthaste_domain::Timestamp;
use thiserror::Error;

use super::latency::{Distribution, LatencySet};
use super::{SCHEMA, Summary};

/// Nanoseconds in the unit that people read these files in.
const MILLISECOND: f64 = 1e6;

/// Writes `intervals.hlog`.
#[derive(Debug)]
pub struct HlogWriter<W: Write> {
    to: W,
}

impl HlogWriter<BufWriter<File>> {
    /// Makes the file, with its head.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(path: &Path, started: Timestamp) -> io::Result<Self> {
        Self::begin(BufWriter::new(File::create(path)?), started)
    }
}

impl<W: Write> HlogWriter<W> {
    /// Writes the head of a log.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn begin(mut to: W, started: Timestamp) -> io::Result<Self> {
        let (seconds, date) = (started.as_millis() as f64 / 1e3, started.to_rfc3339());
        writeln!(to, "#[Logged by posthaste-loadgen {}]", env!("CARGO_PKG_VERSION"))?;
        writeln!(to, "#[Histogram log format version 1.3]")?;
        writeln!(to, "#[StartTime: {seconds:.3} (seconds since epoch), {date}]")?;
        writeln!(
            to,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
             \"Interval_Compressed_Histogram\""
        )?;
        to.flush()?;
        Ok(Self { to })
    }

    /// Adds an interval, by the seconds at which it began and its length: a line a histogram.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn add(&mut self, from_s: f64, length_s: f64, set: &LatencySet) -> io::Result<()> {
        for (tag, histogram) in set.named() {
            self.line(tag, from_s, length_s, histogram)?;
        }
        self.to.flush()
    }

    fn line(
        &mut self,
        tag: &str,
        from_s: f64,
        length_s: f64,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        let max = histogram.max() as f64 / MILLISECOND;
        let encoded = Distribution::of(histogram).histogram;
        writeln!(self.to, "Tag={tag},{from_s:.3},{length_s:.3},{max:.3},{encoded}")
    }
}

/// Writes the percentiles of a histogram, in milliseconds, five steps for each halving.
///
/// # Errors
/// Where they cannot be written.
pub fn write_hgrm(to: &mut impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    writeln!(to, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-P)")?;
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to().min(histogram.max()) as f64 / MILLISECOND;
        let quantile = step.quantile_iterated_to();
        write!(to, "{value:12.3} {quantile:2.12} {total:10}")?;
        if quantile < 1.0 {
            writeln!(to, " {:14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(to)?;
        }
    }
    let (mean, deviation) = (histogram.mean() / MILLISECOND, histogram.stdev() / MILLISECOND);
    let (max, count) = (histogram.max() as f64 / MILLISECOND, histogram.len());
    writeln!(to, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(to, "#[Max     = {max:12.3}, Total count    = {count:12}]")?;
    writeln!(to, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048)
}

/// Writes `summary.json`, whole or not at all.
///
/// # Errors
/// Where it cannot be written.
pub fn write_summary(folder: &Path, summary: &Summary) -> io::Result<()> {
    let (made, named) = (folder.join("summary.json.part"), folder.join("summary.json"));
    let mut file = BufWriter::new(File::create(&made)?);
    serde_json::to_writer_pretty(&mut file, summary)?;
    file.write_all(b"\n")?;
    file.flush()?;
    drop(file);
    fs::rename(made, named)
}

/// Why a summary cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it.
    #[error("{path} is no summary of a run")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Its version.
    #[error("{path} has schema {found}; this program reads schema {SCHEMA}")]
    Schema {
        /// Which.
        path: PathBuf,
        /// What it has.
        found: u64,
    },
}

/// Reads the summary of a run, from its folder or from the file itself.
///
/// # Errors
/// [`ReadError`] says why not.
pub fn read_summary(path: &Path) -> Result<Summary, ReadError> {
    let path = if path.is_dir() { path.join("summary.json") } else { path.to_owned() };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ReadError::File { path, source }),
    };
    let form = |source| ReadError::Form { path: path.clone(), source };
    // The version first: what another version means is not for this one to guess.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(form)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(SCHEMA) => Err(ReadError::Schema { path, found }),
        _ => serde_json::from_value(value).map_err(form),
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::latency::{decode, record};
    use super::*;

    /// For all sets: what HdrHistogram's own reader reads is what was written.
    #[test]
    fn an_interval_log_is_read_by_the_reference_reader() {
        let started = Timestamp::from_millis(1_767_225_600_123);
        let mut bytes = Vec::new();
        let mut log = HlogWriter::begin(&mut bytes, started).unwrap();
        let mut sets = Vec::new();
        for interval in 0..3_u32 {
            let mut set = LatencySet::new();
            for value in 1..=1000 * u64::from(interval) {
                record(&mut set.publish, value * 1_000);
                record(&mut set.end_to_end, value * 7_919);
                record(&mut set.retry_lateness, value * 104_729);
            }
            log.add(f64::from(interval), 1.0, &set).unwrap();
            sets.push(set);
        }
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.unwrap() {
                LogEntry::Interval(line) => read.push(line),
                LogEntry::StartTime(start) => {
                    assert_eq!(start.as_millis(), u128::from(started.as_millis()));
                }
                LogEntry::BaseTime(_) => panic!("no base time is written"),
            }
        }
        assert_eq!(read.len(), 12);
        for (number, line) in read.iter().enumerate() {
            let (tag, expected) = sets[number / 4].named()[number % 4];
            assert_eq!(line.tag().unwrap().as_str(), tag);
            assert_eq!(decode(line.encoded_histogram()).unwrap(), *expected);
            assert_eq!(line.start_timestamp().as_millis(), (number as u128 / 4) * 1000);
        }
    }

    #[test]
    fn percentiles_are_written_in_milliseconds() {
        let mut histogram = super::super::latency::histogram();
        for value in 1..=1000 {
            record(&mut histogram, value * 1_000_000);
        }
        let mut text = Vec::new();
        write_hgrm(&mut text, &histogram).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = |start: &str| text.lines().any(|line| line.trim_start().starts_with(start));
        assert!(line("500.") && line("#[Mean    =      500."), "{text}");
        assert!(text.contains("Total count    =         1000"));
    }

    #[test]
    fn a_summary_of_another_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        fs::write(&path, "{\"schema\": 999}").unwrap();
        assert!(matches!(read_summary(folder.path()), Err(ReadError::Schema { found: 999, .. })));
        fs::write(&path, "{\"schema\": 1}").unwrap();
        assert!(matches!(read_summary(&path), Err(ReadError::Form { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_summary(&path), Err(ReadError::File { .. })));
    }
}
