//! Charts as SVG: lines through points, with linear or logarithmic axes.

use crate::context::Failure;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

/// A chart.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Part of the file's name: `PROGRAM-NAME.svg`.
    pub name: String,
    /// Above the chart.
    pub title: String,
    /// Left to right.
    pub x: Axis,
    /// Bottom to top.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    is_logarithmic: bool,
}

impl Axis {
    /// Equal distances are equal differences; it begins at 0.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), is_logarithmic: false }
    }

    /// Equal distances are equal ratios. Values that are not above 0 are left out.
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), is_logarithmic: true }
    }
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Its points, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

impl Plot {
    /// A chart without lines.
    pub fn new(name: impl Into<String>, title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { name: name.into(), title: title.into(), x, y, series: Vec::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect() });
    }

    /// Writes the chart to a file; a chart without points writes none, and says so with `false`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<bool, Failure> {
        let lines: Vec<Vec<(f64, f64)>> = self.series.iter().map(|series| self.shown(series)).collect();
        let points = || lines.iter().flatten();
        if points().next().is_none() {
            return Ok(false);
        }
        let x = Scale::of(&self.x, points().map(|point| point.0));
        let y = Scale::of(&self.y, points().map(|point| point.1));
        let root = SVGBackend::new(path, (960, 600)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)?;
        chart.configure_mesh().light_line_style(WHITE).x_desc(&self.x.label).y_desc(&self.y.label).draw()?;
        for (index, (series, points)) in self.series.iter().zip(&lines).enumerate() {
            let color = Palette99::pick(index).to_rgba();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(true)
    }

    /// The points that the axes can show.
    fn shown(&self, series: &Series) -> Vec<(f64, f64)> {
        let can = |axis: &Axis, value: f64| value.is_finite() && (value > 0.0 || !axis.is_logarithmic);
        series.points.iter().copied().filter(|(x, y)| can(&self.x, *x) && can(&self.y, *y)).collect()
    }
}

/// An axis with where it begins and ends, and its ticks.
struct Scale {
    is_logarithmic: bool,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let extremes = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), extremes);
        let is_logarithmic = axis.is_logarithmic;
        let (from, to, ticks) = if is_logarithmic { logarithmic(low, high) } else { linear(low, high) };
        let ticks = ticks.into_iter().filter(|tick| (from..=to).contains(tick)).collect();
        Self { is_logarithmic, from, to, ticks }
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.is_logarithmic { value.log10() } else { value }
    }
}

fn linear(low: f64, high: f64) -> (f64, f64, Vec<f64>) {
    let from = low.min(0.0);
    let to = if high > from { high + (high - from) * 0.05 } else { from + 1.0 };
    let step = nice((to - from) / 8.0);
    let first = (from / step).ceil();
    (from, to, (0..=10).map(|number| (first + f64::from(number)) * step).collect())
}

/// Ticks at powers of ten; where there are few of them also at twice and five times as much.
fn logarithmic(low: f64, high: f64) -> (f64, f64, Vec<f64>) {
    let (from, to) = (low / 1.12, high * 1.12);
    let fine = if to / from < 2_000.0 { &[1.0f64, 2.0, 5.0][..] } else { &[1.0][..] };
    let powers = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
    let ticks = powers.flat_map(|power| fine.iter().map(move |factor| factor * 10f64.powi(power)));
    (from, to, ticks.collect())
}

/// The next of 1, 2, 5, 10, ... above a value.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= value);
    factor.unwrap_or(10.0) * power
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (self.scaled(*value) - self.scaled(self.from)) / (self.scaled(self.to) - self.scaled(self.from));
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        crate::report::number(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_written_and_an_empty_one_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("chart.svg");
        let mut plot = Plot::new("chart", "A chart", Axis::logarithmic("members"), Axis::linear("µs"));
        assert!(!plot.write(&path).expect("nothing is written"));
        plot.line("some", [(2.0, 1.0), (200.0, 3.5), (0.0, 9.0)]);
        assert!(plot.write(&path).expect("it is written"));
        let svg = std::fs::read_to_string(&path).expect("it is there");
        assert!(svg.contains("A chart") && svg.contains("members") && svg.matches("<circle").count() == 2, "{svg}");
    }
}
