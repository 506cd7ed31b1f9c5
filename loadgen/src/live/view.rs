//! How the state is drawn: from top to bottom, with what matters most where a small terminal ends
//! last. Draws into whatever frame it is given, so tests draw without a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, LineGauge, Paragraph, Row, Sparkline, Table};

use super::Palette;
use super::state::{State, share};
use crate::record::Quantiles;
use crate::units::{floor, ratio, show_count, show_duration};

/// What the shares of a heat strip's cell look like, from rare to most.
const HEAT: [(f64, Color, &str); 5] = [
    (0.0, Color::Indexed(61), "·"),
    (0.001, Color::Indexed(31), "░"),
    (0.01, Color::Indexed(36), "▒"),
    (0.1, Color::Indexed(113), "▓"),
    (0.3, Color::Indexed(220), "█"),
];

/// Below that a cell has nothing in it.
const SHARE_MIN: f64 = 1e-6;

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette) {
    let ink = Ink { palette };
    // A line for retries, where there are any.
    let (figures_height, heat_least) = if has_retries(state) { (9, 3) } else { (8, 4) };
    let [head, gauge, figures, heat, bottom, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(figures_height),
        Constraint::Min(heat_least),
        Constraint::Length(5),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(state, ink), head);
    progress(frame, gauge, state, ink);
    let [rates, latencies] =
        Layout::horizontal([Constraint::Length(27), Constraint::Min(40)]).areas(figures);
    draw_rates(frame, rates, state, ink);
    draw_latencies(frame, latencies, state, ink);
    draw_heat(frame, heat, state, ink);
    let [account, errors] =
        Layout::horizontal([Constraint::Percentage(58), Constraint::Percentage(42)]).areas(bottom);
    draw_account(frame, account, state, ink);
    draw_errors(frame, errors, state, ink);
    let note = state.notes.back().map_or("", String::as_str);
    let hint = "Ctrl-C stops, and writes what there is";
    let line = if note.is_empty() { hint.to_owned() } else { format!("{note}  ·  {hint}") };
    frame.render_widget(Paragraph::new(Line::styled(line, ink.quiet())), foot);
}

fn has_retries(state: &State) -> bool {
    state.last.as_ref().is_some_and(|last| last.retries.seen > 0)
}

/// Styles, with or without colours.
#[derive(Clone, Copy)]
struct Ink {
    palette: Palette,
}

impl Ink {
    fn coloured(self, colour: Color) -> Style {
        match self.palette {
            Palette::Colours => Style::new().fg(colour),
            Palette::Plain => Style::new(),
        }
    }

    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        match self.palette {
            Palette::Colours => Style::new().fg(Color::DarkGray),
            Palette::Plain => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// A count that should be 0.
    fn alarm(self, count: u64) -> Style {
        match count {
            0 => self.quiet(),
            _ => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

fn block(title: &str) -> Block<'_> {
    Block::bordered().title(title)
}

fn headline(state: &State, ink: Ink) -> Paragraph<'static> {
    let mut spans = vec![
        Span::styled(state.name.clone(), ink.strong()),
        Span::raw("  "),
        Span::styled(state.phase.clone(), ink.coloured(Color::Cyan).add_modifier(Modifier::BOLD)),
        Span::raw("  "),
    ];
    if state.closed_loop {
        let style = ink.coloured(Color::Yellow).add_modifier(Modifier::BOLD);
        spans.push(Span::styled("CLOSED LOOP: latencies say how long the queue is", style));
    } else {
        spans.push(Span::raw(format!("asked {}", state.asked)));
    }
    Paragraph::new(Line::from(spans))
}

fn progress(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let last = state.last.as_ref();
    let share = last.map_or(0.0, |last| last.progress).clamp(0.0, 1.0);
    let share = if share.is_finite() { share } else { 0.0 };
    let seconds = last.map_or(0.0, |last| last.interval.from_s + last.interval.length_s);
    let gauge = LineGauge::default()
        .ratio(share)
        .label(format!("{:3.0} % of the load, {seconds:.0} s ", 100.0 * share))
        .filled_symbol("━")
        .unfilled_symbol("─")
        .filled_style(ink.coloured(Color::Cyan))
        .unfilled_style(ink.quiet());
    frame.render_widget(gauge, area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let inside = block(" events/s ").inner(area);
    frame.render_widget(block(" events/s "), area);
    let [table, spark] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(1)]).areas(inside);
    let Some(last) = &state.last else {
        frame.render_widget(Paragraph::new(Line::styled("not yet", ink.quiet())), table);
        return;
    };
    let interval = &last.interval;
    let line = |name: &str, count: u64| {
        let rate = ratio(count as f64, interval.length_s);
        Line::from(vec![
            Span::raw(format!("{name:<11}")),
            Span::styled(format!("{rate:>12.1}"), ink.strong()),
        ])
    };
    let lines = vec![
        line("sent", interval.sent),
        line("accepted", interval.accepted),
        line("delivered", interval.delivered),
        Line::from(format!("{:<11}{:>12}", "in flight", show_count(interval.in_flight))),
    ];
    frame.render_widget(Paragraph::new(lines), table);
    let width = usize::from(spark.width);
    let recent = state.rates.iter().skip(state.rates.len().saturating_sub(width)).copied();
    let sparkline = Sparkline::default().data(recent.collect::<Vec<u64>>());
    frame.render_widget(sparkline.style(ink.coloured(Color::Cyan)), spark);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let title = " latency from the intended moment ";
    let Some(last) = &state.last else {
        frame.render_widget(block(title), area);
        return;
    };
    let interval = &last.interval;
    let mut rows = vec![
        ("end to end", "now", &interval.end_to_end),
        ("", "run", &last.end_to_end),
        ("publish", "now", &interval.publish),
        ("", "run", &last.publish),
        ("lag", "run", &last.lag),
    ];
    if has_retries(state) {
        rows.push(("retry late", "run", &last.retry_lateness));
    }
    // What a narrow terminal has no room for is left out, the least telling first.
    let fits = |(name, _): &&Column| match *name {
        "p90" => area.width >= 62,
        "p99.9" => area.width >= 52,
        _ => true,
    };
    let columns: Vec<Column> = COLUMNS.iter().filter(fits).copied().collect();
    let rows = rows.into_iter().map(|(name, span, quantiles)| {
        let row = Row::new(latency_cells(name, span, quantiles, &columns));
        if span == "run" { row.style(ink.strong()) } else { row }
    });
    let widths = [10, 3].into_iter().chain(columns.iter().map(|_| 8)).map(Constraint::Length);
    let names = ["", ""].into_iter().chain(columns.iter().map(|(name, _)| *name));
    let head = Row::new(names.map(|name| Cell::from(Line::from(name).right_aligned())));
    let table = Table::new(rows, widths).header(head.style(ink.quiet())).block(block(title));
    frame.render_widget(table, area);
}

type Column = (&'static str, fn(&Quantiles) -> u64);

/// The statistics that are shown.
const COLUMNS: [Column; 5] = [
    ("p50", |quantiles| quantiles.p50_ns),
    ("p90", |quantiles| quantiles.p90_ns),
    ("p99", |quantiles| quantiles.p99_ns),
    ("p99.9", |quantiles| quantiles.p99_9_ns),
    ("max", |quantiles| quantiles.max_ns),
];

fn latency_cells(
    name: &str,
    span: &str,
    quantiles: &Quantiles,
    columns: &[Column],
) -> Vec<Cell<'static>> {
    let mut cells = vec![Cell::from(name.to_owned()), Cell::from(span.to_owned())];
    cells.extend(columns.iter().map(|(_, of)| {
        let text =
            if quantiles.count == 0 { "–".to_owned() } else { show_duration(of(quantiles)) };
        Cell::from(Line::from(text).right_aligned())
    }));
    cells
}

/// Room for the labels of a heat strip.
const LABEL_WIDTH: u16 = 8;

/// Time from left to right, latency from bottom to top, by magnitudes; the fuller the brighter.
fn draw_heat(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let heat = block(" end to end over time ");
    let inside = heat.inner(area);
    frame.render_widget(heat, area);
    let columns = usize::from(inside.width.saturating_sub(LABEL_WIDTH + 1));
    let skipped = state.past.len().saturating_sub(columns);
    let shown: Vec<&Quantiles> = state.past.iter().skip(skipped).collect();
    let bounds = bounds(&shown, inside.height);
    let buffer = frame.buffer_mut();
    for (row, pair) in (0_u16..).zip(bounds.windows(2)) {
        let y = inside.bottom().saturating_sub(1 + row);
        // Every second row says what its lower bound is.
        if row.is_multiple_of(2) {
            let text = format!("{:>8}", show_duration(floor(pair[0])));
            buffer.set_stringn(inside.x, y, text, usize::from(LABEL_WIDTH), ink.quiet());
        }
        for (column, quantiles) in (0_u16..).zip(&shown) {
            let x = inside.x + LABEL_WIDTH + 1 + column;
            if let Some((_, colour, shade)) = hue(share(quantiles, pair[0], pair[1])) {
                let (symbol, style) = match ink.palette {
                    Palette::Colours => ("█", Style::new().fg(colour)),
                    Palette::Plain => (shade, Style::new()),
                };
                buffer[(x, y)].set_symbol(symbol).set_style(style);
            }
        }
    }
}

fn hue(share: f64) -> Option<(f64, Color, &'static str)> {
    let found = HEAT.into_iter().rev().find(|(least, ..)| share >= *least);
    found.filter(|_| share > SHARE_MIN)
}

/// The bounds of the rows, one more than there are rows, over what was seen.
fn bounds(shown: &[&Quantiles], rows: u16) -> Vec<f64> {
    let seen = || shown.iter().filter(|quantiles| quantiles.count > 0);
    let min = seen().map(|quantiles| quantiles.min_ns).min().unwrap_or(1_000_000).max(1_000) as f64;
    let max = seen().map(|quantiles| quantiles.max_ns).max().unwrap_or(100_000_000) as f64;
    let (from, to) = (min * 0.99, (max * 1.01).max(min * 10.0));
    let step = (to / from).powf(1.0 / f64::from(rows.max(1)));
    (0..=rows).map(|row| from * step.powi(i32::from(row))).collect()
}

fn draw_account(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let totals = state.last.as_ref().map(|last| last.totals).unwrap_or_default();
    let open = totals.accepted.saturating_sub(totals.delivered);
    let count = |name: &str, count: u64| {
        vec![
            Span::styled(format!("{name} "), ink.quiet()),
            Span::styled(show_count(count), ink.strong()),
            Span::raw("  "),
        ]
    };
    let bad = |name: &str, count: u64| {
        vec![
            Span::styled(format!("{name} "), ink.quiet()),
            Span::styled(show_count(count), ink.alarm(count)),
            Span::raw("  "),
        ]
    };
    let lines = vec![
        Line::from([count("sent", totals.sent), count("accepted", totals.accepted)].concat()),
        Line::from([count("delivered", totals.delivered), count("open", open)].concat()),
        Line::from(
            [
                bad("duplicated", totals.duplicated),
                bad("late", totals.late),
                bad("foreign", totals.foreign),
            ]
            .concat(),
        ),
    ];
    frame.render_widget(Paragraph::new(lines).block(block(" account ")), area);
}

fn draw_errors(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    let faulty = state.last.as_ref().map_or(0, |last| last.totals.faulty);
    let now = state.last.as_ref().map(|last| (last.interval.refused, last.interval.cut_off));
    let (refused_now, cut_off_now) = now.unwrap_or_default();
    let line = |name: &str, count: u64, now: Option<u64>| {
        let now = now.filter(|now| *now > 0).map_or_else(String::new, |now| format!("  {now} now"));
        Line::from(vec![
            Span::styled(format!("{name:<12}"), ink.quiet()),
            Span::styled(show_count(count), ink.alarm(count)),
            Span::styled(now, ink.coloured(Color::Red)),
        ])
    };
    let early = state.last.as_ref().map_or(0, |last| last.retries.early);
    let mut faulty = line("faulty", faulty, None);
    if early > 0 {
        faulty.push_span(Span::styled("  early ", ink.quiet()));
        faulty.push_span(Span::styled(show_count(early), ink.alarm(early)));
    }
    let lines = vec![
        line("refused", state.refused, Some(refused_now)),
        line("no answer", state.cut_off, Some(cut_off_now)),
        faulty,
    ];
    frame.render_widget(Paragraph::new(lines).block(block(" errors ")), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::account::Totals;
    use crate::record::RetryRecord;
    use crate::report::made::{self, Making};
    use crate::run::Snapshot;

    fn state() -> State {
        let (summary, _) = made::make(&Making { seconds: 20, ..Making::default() });
        let mut state = State {
            name: "steady".to_owned(),
            asked: "1,000/s at random".to_owned(),
            phase: "measure".to_owned(),
            ..State::default()
        };
        for interval in &summary.intervals {
            state.add(&Snapshot {
                interval: interval.clone(),
                totals: Totals { sent: 22_000, accepted: 21_990, ..summary.account },
                publish: summary.latencies.publish.quantiles,
                end_to_end: summary.latencies.end_to_end.quantiles,
                lag: summary.latencies.lag.quantiles,
                retry_lateness: summary.latencies.retry_lateness.quantiles,
                retries: summary.retries,
                progress: 0.62,
            });
        }
        state
    }

    fn drawn(state: &State, palette: Palette, width: u16, height: u16) -> (Vec<String>, Buffer) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, palette)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        ((0..height).map(row).collect(), buffer)
    }

    #[test]
    fn every_part_is_there() {
        for (width, height) in [(80, 24), (120, 40)] {
            let (lines, _) = drawn(&state(), Palette::Colours, width, height);
            let all = lines.join("\n");
            for part in [
                "steady  measure  asked 1,000/s at random",
                "62 % of the load",
                "delivered        1000.0",
                "in flight",
                "end to end",
                "p99.9",
                "sent 22,000",
                "duplicated 0",
                "no answer   0",
                "Ctrl-C",
            ] {
                assert!(all.contains(part), "{part} is not in\n{all}");
            }
            assert!(all.matches('█').count() > 20, "the strip has heat:\n{all}");
        }
    }

    /// Where there were retries they have a line, and an early one is red, on any terminal that
    /// has a view at all.
    #[test]
    fn retries_have_a_line() {
        assert!(!drawn(&state(), Palette::Colours, 80, 24).0.join("\n").contains("retry"));
        let mut retrying = state();
        if let Some(last) = &mut retrying.last {
            last.retries = RetryRecord { seen: 40, early: 3, ..RetryRecord::default() };
            last.retry_lateness = Quantiles { count: 40, p99_ns: 123_000_000, ..last.lag };
        }
        for (width, height) in [(72, 20), (80, 24), (120, 40)] {
            let (lines, buffer) = drawn(&retrying, Palette::Colours, width, height);
            let all = lines.join("\n");
            let line = lines.iter().find(|line| line.contains("retry late"));
            assert!(line.is_some_and(|line| line.contains("123 ms")), "{all}");
            let y = lines.iter().position(|line| line.contains("early 3")).expect(&all);
            let red = |x: &u16| buffer[(*x, u16::try_from(y).unwrap())].fg == Color::Red;
            assert_eq!((0..width).filter(red).count(), 1, "{all}");
            assert!(all.contains("sent 22,000") && all.contains("Ctrl-C"), "{all}");
        }
    }

    /// Most events are in the brightest cells, and nothing is above the longest latency.
    #[test]
    fn the_strip_shows_where_latencies_are() {
        let (lines, _) = drawn(&state(), Palette::Plain, 100, 30);
        let columns = |shade| lines.iter().filter(|line| line.contains(shade)).count();
        assert!(columns("▓") > 0 && columns("░") > 0, "{}", lines.join("\n"));
    }

    /// For all states: without colours there are none.
    #[test]
    fn no_color_is_kept_to() {
        let mut troubled = state();
        troubled.refused = 7;
        troubled.closed_loop = true;
        for state in [State::default(), state(), troubled] {
            let (_, buffer) = drawn(&state, Palette::Plain, 100, 30);
            for cell in buffer.content() {
                assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
            }
        }
    }

    #[test]
    fn errors_are_red() {
        let mut troubled = state();
        troubled.refused = 1_234;
        let (lines, buffer) = drawn(&troubled, Palette::Colours, 80, 24);
        let y = lines.iter().position(|line| line.contains("refused")).unwrap();
        let red = (0..80).filter(|x| buffer[(*x, u16::try_from(y).unwrap())].fg == Color::Red);
        assert_eq!(red.count(), "1,234".len());
    }

    /// For all sizes, even absurd ones, and for nonsense: drawing never fails.
    #[test]
    fn any_size_is_drawn() {
        let mut broken = state();
        if let Some(last) = &mut broken.last {
            last.progress = f64::NAN;
            last.interval.length_s = 0.0;
        }
        for state in [State::default(), broken] {
            for (width, height) in [(1, 1), (10, 3), (30, 60), (300, 5), (200, 100)] {
                drawn(&state, Palette::Colours, width, height);
            }
        }
    }
}
