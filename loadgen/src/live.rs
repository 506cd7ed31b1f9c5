//! The live view: a run in a terminal, while it goes on.
//!
//! One more [`Observer`]: it draws what the run tells at the end of each interval, and stays out of
//! what is measured. The terminal keeps its signals, so Ctrl-C reaches the run as it does without
//! a view; only echo and line editing are off, and the keys that would stop or kill this process
//! without giving the terminal back. However it ends (a result, an error, a panic on whatever
//! thread), the terminal is as it was.
//!
//! Where there is no terminal, or `TERM=dumb`, or too small a one, there are plain lines instead.
//! `NO_COLOR` turns colours off; the heat strip then has shades of grey.

mod screen;
mod state;
mod view;

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use ratatui::layout::Size;

use self::screen::Screen;
pub use self::state::State;
pub use self::view::draw;
use crate::record::Summary;
use crate::run::{Observer, Plain, Snapshot};
use crate::scenario::Scenario;

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// There are.
    Colours,
    /// There are none: bold and shades only.
    Plain,
}

impl Palette {
    /// What the environment asks for: <https://no-color.org>.
    #[must_use]
    pub fn of_environment() -> Self {
        let asked = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if asked { Self::Plain } else { Self::Colours }
    }
}

/// The smallest terminal that all parts fit into.
const SIZE_MIN: Size = Size { width: 72, height: 20 };

/// Shows a run in the terminal; tells its result in plain lines, which stay.
#[derive(Debug)]
pub struct Live {
    screen: Option<Screen>,
    state: State,
    palette: Palette,
    plain: Plain<io::Stdout>,
}

impl Live {
    /// A view, where standard output is a terminal that has room for it.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if dumb || !io::stdout().is_terminal() {
            return None;
        }
        let size = Screen::size()?;
        (size.width >= SIZE_MIN.width && size.height >= SIZE_MIN.height).then(|| Self {
            screen: None,
            state: State::default(),
            palette: Palette::of_environment(),
            plain: Plain::new(io::stdout()),
        })
    }

    fn show(&mut self) {
        if let Some(screen) = &mut self.screen {
            let (state, palette) = (&self.state, self.palette);
            screen.draw(|frame| draw(frame, state, palette));
        }
    }
}

impl Observer for Live {
    fn begins(&mut self, scenario: &Scenario) {
        // What must be known of it stays in the terminal when the view has gone.
        self.plain.begins(scenario);
        self.state.begin(scenario);
        self.screen = Screen::enter();
        self.show();
    }

    fn note(&mut self, text: &str) {
        self.state.note(text);
        self.show();
    }

    fn phase(&mut self, name: &str) {
        name.clone_into(&mut self.state.phase);
        self.show();
    }

    fn interval(&mut self, snapshot: &Snapshot) {
        self.state.add(snapshot);
        self.show();
    }

    fn ends(&mut self, summary: &Summary, folder: &Path) {
        self.screen = None;
        self.plain.ends(summary, folder);
    }
}
