//! `edgeld top`: what a server's cluster does, in a terminal.
//!
//! It listens to the server's `/events`, as the page does. `state` keeps what was told, `view` draws
//! it; this file has the loop and the keys.

#[cfg(test)]
mod example;
mod state;
mod view;

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::exit::Exit;
use super::report::Report;
use super::serve::read_token;
use state::State;
use view::View;

/// How often the screen is drawn, events or not.
const TICK: Duration = Duration::from_millis(200);

/// Whether the terminal is taken.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// How long it waits before it connects anew.
const AGAIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  edgeld top                                 the server on this machine
  edgeld top http://kitchen.local:8000 --token-file token
  edgeld top --json | jq 'select(.event == \"plan\")'

Keys: q quits, up and down (k, j) choose a device, F6 (s) sorts by the next column, Tab shows the
next model, Space stops the picture, h tells of them.";

/// Shows what a server's cluster does, in a terminal
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// Where `edgeld serve` listens for HTTP.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8000")]
    url: String,
    /// The file with the server's token, if it asks for one.
    #[arg(long, env = "EDGELD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What came from the server.
enum News {
    Event(Value),
    /// It does not answer, and why.
    Gone(String),
}

/// Shows it until a key ends it.
///
/// # Errors
/// When standard output is no terminal and --json was not given, or cannot be written.
pub fn top(args: &TopArgs, report: &Report) -> Result<(), Exit> {
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let (tell, news) = channel();
    let url = format!("{}/events", args.url.trim_end_matches('/'));
    thread::spawn(move || listen(&url, token.as_deref(), &tell));
    if report.is_json() {
        return pass_on(&news, report);
    }
    if !std::io::stdout().is_terminal() {
        return Err(Exit::usage("standard output is not a terminal", "use --json"));
    }
    let mut terminal = ratatui::try_init().map_err(Exit::output)?;
    IS_SHOWN.store(true, Ordering::Relaxed);
    let shown = run(&mut terminal, &news, &args.url);
    leave();
    shown.map_err(Exit::output)
}

/// Gives the terminal back if it was taken.
pub fn leave() {
    if IS_SHOWN.load(Ordering::Relaxed) {
        ratatui::restore();
    }
}

/// Reads events as long as anybody wants them, connecting anew whenever they end.
fn listen(url: &str, token: Option<&str>, tell: &Sender<News>) {
    loop {
        let mut request = ureq::get(url);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let why = match request.call() {
            Err(error) => error.to_string(),
            Ok(response) => {
                let lines = BufReader::new(response.into_body().into_reader()).lines();
                for line in lines.map_while(Result::ok) {
                    let event = line.strip_prefix("data: ");
                    let event = event.and_then(|text| serde_json::from_str(text).ok());
                    if event.is_some_and(|event| tell.send(News::Event(event)).is_err()) {
                        return;
                    }
                }
                "it ended the connection".to_owned()
            }
        };
        if tell.send(News::Gone(why)).is_err() {
            return;
        }
        thread::sleep(AGAIN);
    }
}

/// Prints events as they come.
fn pass_on(news: &Receiver<News>, report: &Report) -> Result<(), Exit> {
    // The listener ends only after this.
    for one in news {
        match one {
            News::Event(event) => report.line(&event.to_string())?,
            News::Gone(why) => report.warn(format_args!("the server does not answer: {why}")),
        }
    }
    Ok(())
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    news: &Receiver<News>,
    server: &str,
) -> std::io::Result<()> {
    let (mut state, mut view) = (State::default(), View::new(server));
    loop {
        for one in news.try_iter() {
            match one {
                News::Event(event) => state.happened(&event),
                News::Gone(why) => state.gone(why),
            }
        }
        if !view.is_stopped {
            terminal.draw(|frame| view.draw(&state, frame))?;
        }
        if !event::poll(TICK)? {
            continue;
        }
        let event::Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::F(10) => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
            KeyCode::Down | KeyCode::Char('j') => view.choose(1, state.devices.len()),
            KeyCode::Up | KeyCode::Char('k') => view.choose(-1, state.devices.len()),
            KeyCode::F(6) | KeyCode::Char('s') => view.sort_by_next(),
            KeyCode::Tab => view.next_model(state.models.len()),
            KeyCode::Char(' ') => view.is_stopped = !view.is_stopped,
            KeyCode::F(1) | KeyCode::Char('h' | '?') => view.shows_help = !view.shows_help,
            _ => {}
        }
    }
}
