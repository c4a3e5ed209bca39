//! Line charts as SVG text.

use std::io;
use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement};
use plotters::prelude::{Color, IntoLogRange, RGBColor, SVGBackend, SeriesLabelPosition};
use plotters::series::LineSeries;
use plotters::style::{BLACK, IntoFont, WHITE};

/// A picture of lines over a common axis.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line<'a>>,
}

/// One direction of a chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) scale: Scale,
    /// How a value is written beside it.
    pub(crate) label: fn(f64) -> String,
}

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Powers of ten; values that are not positive are left out.
    Log,
}

/// Points that are joined by a line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether each point is drawn, because each is a measurement of its own.
    pub(crate) dots: bool,
}

/// The same picture for wide and for narrow windows, so that its letters can be read in both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) wide: String,
    pub(crate) narrow: String,
}

/// How a picture is laid out. Sizes are of its own coordinates; the page scales it.
struct Layout {
    size: (u32, u32),
    /// Room beside the vertical axis.
    left: u32,
    right: u32,
    /// Labels of each axis, at most about.
    labels: usize,
    /// Thin lines of the grid between labels.
    between: usize,
    /// Height of the vertical axis in heights of the lines: the names of these stand above.
    room: f64,
}

const WIDE: Layout = Layout { size: (960, 420), left: 84, right: 40, labels: 10, between: 5, room: 1.4 };
const NARROW: Layout = Layout { size: (440, 340), left: 72, right: 24, labels: 5, between: 1, room: 1.7 };
/// Told apart by readers who do not see all colours (Okabe and Ito's palette, without its yellow).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

impl Chart<'_> {
    /// The picture; `None` if there is nothing to draw.
    pub(crate) fn picture(mut self) -> Option<Picture> {
        let (x, y) = (self.x.scale, self.y.scale);
        for line in &mut self.lines {
            line.points.retain(|point| x.holds(point.0) && y.holds(point.1));
        }
        self.lines.retain(|line| !line.points.is_empty());
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let xs = x.along(points().map(|point| point.0))?;
        let draw = |layout: &Layout| {
            let (xs, ys) = (xs.clone(), y.above(layout.room, points().map(|point| point.1))?);
            let drawn = match (x, y) {
                (Scale::Linear, Scale::Linear) => self.draw(layout, xs, ys),
                (Scale::Linear, Scale::Log) => self.draw(layout, xs, ys.log_scale()),
                (Scale::Log, Scale::Linear) => self.draw(layout, xs.log_scale(), ys),
                (Scale::Log, Scale::Log) => self.draw(layout, xs.log_scale(), ys.log_scale()),
            };
            drawn.ok()
        };
        Some(Picture { wide: draw(&WIDE)?, narrow: draw(&NARROW)? })
    }

    /// A picture in memory cannot fail but for a span of nothing, which has been seen to.
    fn draw<X, Y>(&self, layout: &Layout, x: X, y: Y) -> Result<String, DrawingAreaErrorKind<io::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, layout.size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(layout.right)
            .x_label_area_size(48)
            .y_label_area_size(layout.left)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_labels(layout.labels)
            .y_labels(layout.labels)
            .max_light_lines(layout.between)
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .x_label_formatter(&|value| (self.x.label)(*value))
            .y_label_formatter(&|value| (self.y.label)(*value))
            .axis_desc_style(("sans-serif", 16).into_font())
            .label_style(("sans-serif", 14).into_font())
            .bold_line_style(BLACK.mix(0.15))
            .light_line_style(BLACK.mix(0.04))
            .draw()?;
        // Later lines are thinner, so that none hides another.
        let widths = (2..2 + self.lines.len() as u32).rev();
        for ((line, colour), width) in self.lines.iter().zip(COLOURS.iter().cycle()).zip(widths) {
            chart
                .draw_series(LineSeries::new(line.joined(), colour.stroke_width(width)))?
                .label(line.name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
            let dots = line.points.iter().filter(|_| line.dots || line.points.len() == 1);
            chart.draw_series(dots.map(|&point| Circle::new(point, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 15).into_font())
            .draw()?;
        drop(chart);
        area.present()?;
        drop(area);
        Ok(svg)
    }
}

impl Line<'_> {
    /// What the line goes through: of several measurements at one place, which follow each other, the median.
    fn joined(&self) -> Vec<(f64, f64)> {
        let at_one_place = self.points.chunk_by(|one, next| one.0 == next.0);
        at_one_place
            .map(|points| {
                let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
                values.sort_by(f64::total_cmp);
                (points[0].0, values[values.len() / 2])
            })
            .collect()
    }
}

impl Scale {
    fn holds(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }

    /// What a horizontal axis spans: all values, or from zero.
    fn along(self, values: impl Iterator<Item = f64> + Clone) -> Option<Range<f64>> {
        let least = values.clone().reduce(f64::min)?;
        let most = values.reduce(f64::max)?;
        Some(match self {
            Self::Linear => 0.0..if most > 0.0 { most } else { 1.0 },
            Self::Log => least..most.max(least * 2.0),
        })
    }

    /// What a vertical axis spans: with room for the names of the lines on top.
    fn above(self, room: f64, values: impl Iterator<Item = f64> + Clone) -> Option<Range<f64>> {
        let least = values.clone().reduce(f64::min)?;
        let most = values.reduce(f64::max)?;
        Some(match self {
            Self::Linear => 0.0..if most > 0.0 { most * room } else { 1.0 },
            Self::Log => {
                let decades = (most / least).log10().max(1.0);
                10_f64.powf(least.log10().floor())..most * 10_f64.powf(decades * (room - 1.0))
            }
        })
    }
}

/// Microseconds, as an axis shows them.
pub(crate) fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1.0 => (us * 1e3, "ns"),
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", round(value))
}

/// A number with its thousands or millions cut off.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value < 1e3 => round(value),
        value if value < 1e6 => format!("{}k", round(value / 1e3)),
        value => format!("{}M", round(value / 1e6)),
    }
}

/// Per cent.
pub(crate) fn percent(value: f64) -> String {
    format!("{} %", round(value))
}

/// A part of all, where the axis is one in how many lie beyond it: 1, 10, 100 are 0 %, 90 %, 99 %.
pub(crate) fn percentile(one_in: f64) -> String {
    percent(100.0 - 100.0 / one_in)
}

/// Without the rounding errors of ticks, and without zeros that say nothing.
fn round(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(x: Scale, y: Scale, points: &[(f64, f64)]) -> Option<Picture> {
        let axis = |scale| Axis { name: "an axis", scale, label: short };
        let line = Line { name: "a line", points: points.to_vec(), dots: true };
        Chart { x: axis(x), y: axis(y), lines: vec![line] }.picture()
    }

    #[test]
    fn a_chart_holds_every_point_it_can() {
        let points = [(1_000.0, 1.0), (2_000.0, 10.0), (4_000.0, 0.0)];
        for (x, y, drawn) in [
            (Scale::Linear, Scale::Linear, 3),
            (Scale::Log, Scale::Linear, 3),
            (Scale::Linear, Scale::Log, 2),
            (Scale::Log, Scale::Log, 2),
        ] {
            let Picture { wide, narrow } = chart(x, y, &points).unwrap();
            for svg in [wide, narrow] {
                assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
                assert_eq!(svg.matches("<circle").count(), drawn, "{x:?} {y:?}");
                assert!(svg.contains("a line") && svg.contains("an axis") && !svg.contains("NaN"));
            }
        }
    }

    #[test]
    fn nothing_is_no_picture_and_one_value_is_one() {
        assert_eq!(chart(Scale::Linear, Scale::Log, &[(1.0, 0.0)]), None);
        assert_eq!(chart(Scale::Linear, Scale::Linear, &[]), None);
        for scale in [Scale::Linear, Scale::Log] {
            let svg = chart(scale, scale, &[(10.0, 10.0)]).unwrap().wide;
            assert!(svg.contains("<circle") && !svg.contains("NaN"), "{svg}");
        }
        assert!(chart(Scale::Linear, Scale::Linear, &[(0.0, 0.0)]).is_some());
    }

    #[test]
    fn repeated_measurements_are_joined_by_their_median() {
        let points = vec![(1.0, 5.0), (2.0, 9.0), (2.0, 7.0), (2.0, 8.0), (3.0, 1.0)];
        let line = Line { name: "a line", points, dots: true };
        assert_eq!(line.joined(), [(1.0, 5.0), (2.0, 8.0), (3.0, 1.0)]);
    }

    #[test]
    fn labels_are_round() {
        assert_eq!([time(0.5), time(1.0), time(2_500.0), time(1e6)], ["500 ns", "1 µs", "2.5 ms", "1 s"]);
        assert_eq!([short(950.0), short(20_000.0), short(1.5e6)], ["950", "20k", "1.5M"]);
        assert_eq!([1.0, 10.0, 1_000.0, 100_000.0].map(percentile), ["0 %", "90 %", "99.9 %", "99.999 %"]);
    }
}
