//! What a report must have in it.

use super::made::{self, Making};
use super::{html, markdown, write};
use crate::record::{Interval, Summary, Verdict};

fn ordinary() -> Summary {
    made::make(&Making::default()).0
}

/// For all runs: a page loads nothing, so that it can be read anywhere and for ever.
#[test]
fn a_page_needs_no_network() {
    for summary in [ordinary(), made::troubled()] {
        let page = html(&summary);
        for outside in ["http:", "https:", "//cdn", "url(", "@import", "<link", "src=", "<img"] {
            // The names of XML spaces are no addresses that anybody loads.
            let rest = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("width=device-width"));
    }
}

#[test]
fn an_invalid_run_says_so_before_any_figure() {
    let page = html(&made::troubled());
    let body = &page[page.find("<body").unwrap()..];
    let verdict = body.find("<strong>INVALID</strong>").unwrap();
    let reason = body.find("3 of 30,000 accepted events are missing").unwrap();
    let figures = body.find("<dl class=\"key\">").unwrap();
    assert!(verdict < reason && reason < figures);
    assert!(body.starts_with("<body class=\"invalid\">"));
    let text = markdown(&made::troubled());
    assert!(text.starts_with("### steady: **INVALID**"), "{text}");
    assert!(text.contains("| missing: accepted, and nobody has it: lost | **3** |"));
}

#[test]
fn a_page_has_every_part() {
    let page = html(&made::troubled());
    for part in [
        "Latency by percentile",
        "End to end over time",
        "Publish over time",
        "Throughput",
        "Backlog",
        "CPU of the system under test",
        "Memory of the system under test",
        "Pacer lag",
        "CPU of generator and sink",
        "Stops and starts",
        "Retries late, p99",
        "Retry lateness over time",
        "lets them; by 41.0 ms at most",
        "does not add up",
        "Jain’s index",
        "slowest tenants",
        "Made Processor 1",
        "process = &quot;poisson&quot;",
        "loadgen run steady --set phases.measure=30s",
        ">SIGKILL</text>",
        "refused or cut off",
    ] {
        assert!(page.contains(part), "{part} is not there");
    }
}

/// A run without failures has nothing to say about retries.
#[test]
fn no_retries_are_no_section() {
    let page = html(&ordinary());
    assert!(!page.contains("id=\"retries\"") && !page.contains("Retries late"));
    assert!(!markdown(&ordinary()).contains("retr"));
}

/// A summary from before retries were followed is read as one without retries.
#[test]
fn an_older_summary_is_read() {
    let mut older = serde_json::to_value(ordinary()).unwrap();
    older.as_object_mut().unwrap().remove("retries");
    let latencies = older["latencies"].as_object_mut().unwrap();
    assert!(latencies.remove("retry_lateness").is_some());
    for list in ["phases", "intervals"] {
        for entry in older[list].as_array_mut().unwrap() {
            assert!(entry.as_object_mut().unwrap().remove("retry_lateness").is_some());
        }
    }
    let read: Summary = serde_json::from_value(older).unwrap();
    assert_eq!((read.retries.seen, read.latencies.retry_lateness.quantiles.count), (0, 0));
    assert!(html(&read).contains("</html>"));
}

/// For all texts: what a scenario or the system says cannot become markup.
#[test]
fn hostile_names_stay_text() {
    let mut summary = ordinary();
    let hostile = "</script><script>alert(1)</script>|`x`";
    summary.scenario.name = hostile.to_owned();
    summary.scenario.description = hostile.to_owned();
    summary.scenario.toml = hostile.to_owned();
    summary.scenario.overrides = vec![hostile.to_owned()];
    summary.groups[0].name = hostile.to_owned();
    summary.answers.cut_off.insert(hostile.to_owned(), 3);
    summary.outcome.remarks.push(hostile.to_owned());
    summary.environment.cpu = hostile.to_owned();
    summary.phases[0].name = hostile.to_owned();
    let page = html(&summary);
    assert!(!page.contains("<script>alert"));
    // One for each chart, and the page's own.
    assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    assert!(!markdown(&summary).contains("<script>alert"));
}

/// A run that was cut off at its very beginning has a report too.
#[test]
fn an_empty_run_is_shown() {
    let mut summary = made::make(&Making { seconds: 0, rate: 0, ..Making::default() }).0;
    summary.outcome.verdict = Verdict::Interrupted;
    summary.intervals.clear();
    summary.phases.clear();
    summary.system.samples.clear();
    summary.generator.samples.clear();
    let page = html(&summary);
    assert!(page.contains("INTERRUPTED") && page.contains("Nothing was recorded"));
    assert!(!page.contains("NaN") && !markdown(&summary).contains("NaN"));
}

/// A day with an interval a second is no page that a browser cannot show.
#[test]
fn a_long_run_is_a_small_page() {
    let mut summary = ordinary();
    let like = summary.intervals[5].clone();
    let interval = |second: u32| Interval { from_s: f64::from(second), ..like.clone() };
    summary.intervals = (0..86_400).map(interval).collect();
    assert!(html(&summary).len() < 1_000_000);
}

#[test]
fn reports_are_written_beside_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    assert!(write(folder.path()).is_err(), "there is no run yet");
    made::write(folder.path(), &Making { seconds: 2, rate: 50, ..Making::default() });
    let page = write(folder.path()).unwrap();
    assert!(std::fs::read_to_string(page).unwrap().ends_with("</html>\n"));
    assert!(folder.path().join("report.md").exists());
}

/// Times are counted in ticks of 10 ms, so that a tick in the moment between the last interval and
/// the end of a run would be shown as many processors.
#[test]
fn a_short_last_sample_is_no_spike() {
    let greatest = |summary: &Summary| {
        let page = html(summary);
        let chart = &page[page.find("CPU of generator and sink").unwrap()..];
        let chart = chart.split("</figure>").next().unwrap();
        let labels = chart.match_indices("%<").filter_map(|(end, _)| {
            let start = chart[..end].rfind('>').unwrap() + 1;
            chart[start..end].trim().parse::<u32>().ok()
        });
        labels.max().unwrap()
    };
    let mut summary = ordinary();
    let before = greatest(&summary);
    assert!((1..500).contains(&before), "{before}");
    let last = *summary.generator.samples.last().unwrap();
    summary.generator.samples.push(crate::record::ProcessSample {
        at_s: last.at_s + 0.002,
        user_ns: last.user_ns + 10_000_000,
        ..last
    });
    assert_eq!(greatest(&summary), before);
}
