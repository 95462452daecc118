//! Draws what is known.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, List, Paragraph, Row, Sparkline, Table, TableState};

use super::state::{Device, Plan, State};

const COLUMNS: [&str; 7] =
    ["DEVICE", "STATE", "GFLOP/S", "LINK Mbit/s", "RTT ms", "MEMORY MiB", "ROWS %"];

const KEYS: &str = "q quit  up/down device  F6 sort  Tab model  Space stop  h help";

const HELP: &str = "\
ROWS % is the part of all feature maps that a device computes under the active plan.
The bars are milliseconds from a request's arrival to its answer, the newest at the left.
Waiting requests have a place in the queue; refused ones had none.

F6 or s sorts by the next column, Space stops the picture while the server goes on,
Tab shows the next model. Press h again to go back.";

/// How it is shown.
pub struct View {
    server: String,
    model: usize,
    sort: usize,
    table: TableState,
    pub is_stopped: bool,
    pub shows_help: bool,
}

impl View {
    pub fn new(server: &str) -> View {
        let (server, table) = (server.to_owned(), TableState::default());
        View { server, model: 0, sort: 0, table, is_stopped: false, shows_help: false }
    }

    /// Chooses a device further down or up.
    pub fn choose(&mut self, step: isize, devices: usize) {
        let at = self.table.selected().map_or(0, |at| at.saturating_add_signed(step));
        self.table.select(Some(at.min(devices.saturating_sub(1))));
    }

    pub fn sort_by_next(&mut self) {
        self.sort = (self.sort + 1) % COLUMNS.len();
    }

    pub fn next_model(&mut self, models: usize) {
        self.model = (self.model + 1) % models.max(1);
    }

    pub fn draw(&mut self, state: &State, frame: &mut Frame<'_>) {
        let model = state.models.get(self.model).map_or("", String::as_str);
        let plan = state.plan(model);
        let rows = state.devices.len() as u16 + 3;
        let [head, devices, times, changes, keys] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(rows.min(frame.area().height / 2)),
            Constraint::Length(7),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(state, model, plan), head);
        if self.shows_help {
            let area = Rect { height: devices.height + times.height + changes.height, ..devices };
            frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title("Help")), area);
        } else {
            self.draw_devices(state, model, frame, devices);
            draw_times(&state.times(model), frame, times);
            let lines = state.changes.iter().map(|change| Line::from(change.as_str()));
            let list = List::new(lines).block(Block::bordered().title("What changed"));
            frame.render_widget(list, changes);
        }
        frame.render_widget(Line::from(KEYS).style(Modifier::REVERSED), keys);
    }

    fn head(&self, state: &State, model: &str, plan: Option<&Plan>) -> Paragraph<'_> {
        let title = match &state.gone {
            Some(why) => Line::from(format!("{} does not answer: {why}", self.server)).red().bold(),
            None => Line::from(format!("EdgeLD at {}, model {model}", self.server)).bold(),
        };
        let figures = format!(
            "{:.1} answers a second, {} waiting, {} refused",
            state.rate(model),
            state.waiting,
            state.refused
        );
        let plan = plan.map_or("no plan yet".to_owned(), |plan| {
            let alone = plan.alone_ms.map(|alone| format!(", alone {alone:.0} ms"));
            format!(
                "plan {} ({}): predicted {:.0} ms{}",
                plan.generation,
                plan.reason,
                plan.predicted_ms,
                alone.unwrap_or_default()
            )
        });
        Paragraph::new(vec![title, Line::from(figures), Line::from(plan)])
    }

    fn draw_devices(&mut self, state: &State, model: &str, frame: &mut Frame<'_>, area: Rect) {
        let part = |device: &Device| state.part(model, &device.id) * 100.0;
        let mut devices: Vec<&Device> = state.devices.iter().collect();
        // Names upwards, figures downwards.
        devices.sort_by(|a, b| match self.sort {
            0 => Ordering::Equal,
            1 => a.state.cmp(&b.state),
            2 => down(a.gflops, b.gflops),
            3 => down(a.goodput_mbps, b.goodput_mbps),
            4 => down(a.rtt_ms, b.rtt_ms),
            5 => down(Some(a.memory_bytes), Some(b.memory_bytes)),
            _ => down(Some(part(a)), Some(part(b))),
        });
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let rows = devices.iter().map(|device| {
            let name =
                if device.leader { format!("{} *", device.name) } else { device.name.clone() };
            let style = match &device.state[..] {
                "active" => Style::new().fg(Color::Green),
                "lost" => Style::new().fg(Color::Red),
                "suspect" => Style::new().fg(Color::Yellow),
                _ => Style::new(),
            };
            Row::new([
                name,
                device.state.clone(),
                number(device.gflops, 1),
                number(device.goodput_mbps, 0),
                number(device.rtt_ms, 2),
                format!("{:.0}", device.memory_bytes / f64::from(1 << 20)),
                format!("{:.0}", part(device)),
            ])
            .style(style)
        });
        let titles = COLUMNS.iter().enumerate().map(|(index, title)| match index == self.sort {
            true => format!("{title}▼"),
            false => (*title).to_owned(),
        });
        let widths = [18, 9, 9, 12, 8, 11, 8].map(Constraint::Min);
        let table = Table::new(rows, widths)
            .header(Row::new(titles).style(Modifier::BOLD))
            .row_highlight_style(Modifier::REVERSED)
            .block(Block::bordered().title("Devices (* leads)"));
        frame.render_stateful_widget(table, area, &mut self.table);
    }
}

fn down(a: Option<f64>, b: Option<f64>) -> Ordering {
    let value = |figure: Option<f64>| figure.unwrap_or(f64::NEG_INFINITY);
    value(b).total_cmp(&value(a))
}

fn draw_times(times: &[f64], frame: &mut Frame<'_>, area: Rect) {
    let title = match (times.first(), times.iter().copied().reduce(f64::max)) {
        (Some(last), Some(most)) => {
            format!("Answers: last {last:.0} ms, at most {most:.0} of {}", times.len())
        }
        _ => "Answers: none yet".to_owned(),
    };
    let bars: Vec<u64> = times.iter().map(|time| time.round() as u64).collect();
    let bars = Sparkline::default()
        .data(bars)
        .style(Style::new().fg(Color::Cyan))
        .block(Block::bordered().title(title));
    frame.render_widget(bars, area);
}

#[cfg(test)]
mod tests {
    use super::super::example::example;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(view: &mut View, state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(state, frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content.chunks(usize::from(width));
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>()
        };
        lines.map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn devices_plans_and_changes_are_on_the_screen() {
        let (mut view, state) = (View::new("http://x"), example());
        let shown = screen(&mut view, &state, 100, 30);
        for word in
            ["attic *", "cellar", "ROWS %", "75", "plan 3 (joined)", "last 42 ms", "2 waiting"]
        {
            assert!(shown.contains(word), "{word:?} is not in\n{shown}");
        }
        for _ in 0..2 {
            view.sort_by_next();
        }
        let shown = screen(&mut view, &state, 100, 30);
        assert!(shown.find("cellar") < shown.find("attic"), "{shown}");
        view.shows_help = true;
        assert!(screen(&mut view, &state, 100, 30).contains("part of all feature maps"));
    }

    #[test]
    fn any_size_can_be_drawn() {
        let (mut view, mut state) = (View::new("http://x"), example());
        state.gone("refused".into());
        for (width, height) in [(1, 1), (10, 5), (300, 3), (20, 80)] {
            screen(&mut view, &state, width, height);
        }
        view.choose(5, 2);
        view.choose(-9, 0);
        view.next_model(0);
        assert!(screen(&mut view, &State::default(), 60, 20).contains("no plan yet"));
    }
}
