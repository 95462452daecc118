//! Charts of lines, as SVG.

use std::error::Error;

use plotters::prelude::*;

/// What is drawn.
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x: &'static str,
    /// Beside it.
    pub y: &'static str,
    /// Names of the places 0, 1, .. below it, if they are no numbers.
    pub places: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
    /// How it looks.
    pub style: LineKind,
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// What was measured.
    Measured,
    /// What the paper has: dashed.
    Published,
    /// Points alone.
    Points,
}

const SIZE: (u32, u32) = (720, 440);
const FONT: &str = "sans-serif";

/// Of Okabe and Ito: told apart by everybody.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

impl Chart {
    /// Its picture.
    ///
    /// # Errors
    /// When it cannot be drawn, for want of finite points.
    pub fn svg(&self) -> Result<String, Box<dyn Error>> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let finite = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
        let xs = points().filter(finite).map(|(x, _)| *x);
        let (left, right) = (xs.clone().fold(f64::INFINITY, f64::min), xs.fold(0.0, f64::max));
        let top = points().filter(finite).map(|(_, y)| *y).fold(0.0, f64::max) * 1.08;
        if !(left <= right && top > 0.0) {
            return Err(format!("{}: there is nothing to draw", self.title).into());
        }
        let margin = (right - left).max(1.0) * 0.04;
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            root.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&root)
                .caption(&self.title, (FONT, 18))
                .margin(12)
                .x_label_area_size(44)
                .y_label_area_size(56)
                .build_cartesian_2d(left - margin..right + margin, 0.0..top)?;
            let place = |x: &f64| self.place(*x);
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .x_labels(if self.places.is_empty() { 8 } else { self.places.len() })
                .x_label_formatter(&place)
                .light_line_style(WHITE)
                .label_style((FONT, 13))
                .draw()?;
            for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
                let points: Vec<_> = line.points.iter().filter(finite).copied().collect();
                let stroke = colour.stroke_width(2);
                let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
                chart.draw_series(dots)?;
                let drawn = match line.style {
                    LineKind::Measured => chart.draw_series(LineSeries::new(points, stroke))?,
                    LineKind::Published => {
                        chart.draw_series(DashedLineSeries::new(points, 6, 5, stroke))?
                    }
                    LineKind::Points => chart.draw_series(LineSeries::new([], stroke))?,
                };
                drawn.label(&line.name).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            }
            chart
                .configure_series_labels()
                .position(self.corner())
                .label_font((FONT, 13))
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .draw()?;
            root.present()?;
        }
        Ok(text)
    }

    /// Where the names of the lines are in nobody's way.
    fn corner(&self) -> SeriesLabelPosition {
        let rise = |line: &Line| Some(line.points.last()?.1 - line.points.first()?.1);
        match self.lines.iter().filter_map(rise).sum::<f64>() > 0.0 {
            true => SeriesLabelPosition::UpperLeft,
            false => SeriesLabelPosition::UpperRight,
        }
    }

    /// What stands below a place.
    fn place(&self, x: f64) -> String {
        if self.places.is_empty() {
            return if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.1}") };
        }
        let is_whole = (x - x.round()).abs() < 0.05;
        let name = is_whole.then(|| self.places.get(x.round() as usize)).flatten();
        name.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let style = LineKind::Measured;
        let lines = vec![Line { name: "a line".to_owned(), points, style }];
        Chart { title: "A chart".to_owned(), x: "x", y: "y", places: Vec::new(), lines }
    }

    #[test]
    fn a_chart_names_what_it_shows() {
        let svg = chart(vec![(1.0, 2.0), (2.0, 3.0), (3.0, f64::NAN)]).svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("A chart") && svg.contains("a line"));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_is_not_drawn() {
        assert!(chart(Vec::new()).svg().unwrap_err().to_string().contains("A chart"));
    }
}
