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
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, size,
};
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
        // Not `Terminal::clear`: it asks where the cursor is, and waits two seconds for an answer.
        let entered = tcsetattr(io::stdout(), OptionalActions::Now, &quiet)
            .map_err(io::Error::from)
            .and_then(|()| {
                execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide)
            })
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
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

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "LOADGEN_TEST_PANICS";

    /// For all panics, on whatever thread: the terminal is given back before the message, and echo
    /// is on again. Told by a real terminal (`script` makes one).
    #[test]
    fn a_panic_gives_the_terminal_back() {
        let this = env::current_exe().unwrap();
        let child = format!(
            "{} --exact live::screen::tests::panics_in_a_thread --ignored --nocapture; stty -a",
            this.display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--return", "--command", &child, "/dev/null"])
            .env(CHILD, "1")
            .output();
        let Ok(output) = script else {
            eprintln!("SKIPPED: there is no `script` here (util-linux)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = |what: &str| said.find(what).unwrap_or_else(|| panic!("no {what:?}: {said}"));
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"), "taken, then given back");
        assert!(place("\u{1b}[?1049l") < place("on purpose"), "the message is to be seen");
        assert_eq!(said.matches("\u{1b}[?1049l").count(), 1, "given back once");
        let modes = &said[place("isig")..];
        assert!(modes.contains(" echo ") && modes.contains(" icanon "), "{modes}");
    }

    /// Not a test by itself: see above.
    #[test]
    #[ignore = "the child of the test above"]
    fn panics_in_a_thread() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        let mut screen = Screen::enter().unwrap();
        screen.draw(|_| {});
        let panicked = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(panicked.is_err());
        screen.draw(|_| panic!("a terminal that is not ours is not drawn to"));
    }
}
