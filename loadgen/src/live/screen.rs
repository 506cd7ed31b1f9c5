//! The terminal, taken and given back.
//!
//! Taken: the alternate screen, no cursor, no echo, no line editing, no keys that quit or suspend
//! this process (they would leave the terminal as it is). Signals stay on, unlike in raw mode, so
//! that Ctrl-C is an interrupt and not a letter. Given back exactly once, by whoever is first: the
//! end of the view, or a panic on any thread, before its message is printed.

use std::io::{self, Stdout};
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, size};
use ratatui::layout::Size;
use ratatui::{Frame, Terminal};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};

/// The terminal while it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    taken: Arc<Taken>,
}

/// How the terminal was before; `None` once it has been given back.
#[derive(Debug)]
struct Taken(Mutex<Option<Termios>>);

impl Screen {
    /// The size of the terminal.
    pub(super) fn size() -> Option<Size> {
        size().ok().map(|(width, height)| Size { width, height })
    }

    /// Takes the terminal; `None` where it cannot be had, which is no reason not to measure.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdout()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        for key in [SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP] {
            // 0 is _POSIX_VDISABLE.
            quiet.special_codes[key] = 0;
        }
        let taken = Arc::new(Taken(Mutex::new(Some(before))));
        let in_panic = Arc::clone(&taken);
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            in_panic.give_back();
            other(panic);
        }));
        let entered = tcsetattr(io::stdout(), OptionalActions::Now, &quiet)
            .map_err(io::Error::from)
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())))
            .and_then(|mut terminal| terminal.clear().map(|()| terminal));
        if let Ok(terminal) = entered {
            return Some(Self { terminal, taken });
        }
        taken.give_back();
        None
    }

    /// Draws, while the terminal is ours. A terminal that has gone away ends no run.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) {
        if self.taken.is_ours() {
            _ = self.terminal.draw(draw);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.taken.give_back();
    }
}

impl Taken {
    fn is_ours(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn give_back(&self) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            // There is nobody left to tell, and nothing else to try.
            _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
            _ = tcflush(io::stdout(), QueueSelector::IFlush);
            _ = tcsetattr(io::stdout(), OptionalActions::Now, &before);
        }
    }
}
