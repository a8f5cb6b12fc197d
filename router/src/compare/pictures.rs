//! Pictures of a comparison: the interval over the pairs, and the intervals of the slices, as SVG.
//!
//! Colours are Okabe and Ito's; the ground is white in both schemes of the page, as on paper.

use super::summary::Summary;
use crate::learn::plots::drawn;
use kuva::plot::LinePlot;
use kuva::plot::band::BandPlot;
use kuva::plot::forest::ForestPlot;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

const BLUE: &str = "#0072b2";
const RED: &str = "#d55e00";
/// Slices in one picture.
const MOST: usize = 24;

/// The interval and the mean over the number of pairs, with the margin; `None` without pairs.
pub fn course(summary: &Summary) -> Option<String> {
    let looks = &summary.course;
    let last = looks.last()?.pairs as f64;
    let xs = || looks.iter().map(|look| look.pairs as f64);
    let first = looks.first()?.pairs as f64;
    let margin = -summary.question.margin;
    let plots = vec![
        Plot::Band(
            BandPlot::new(xs(), looks.iter().map(|look| look.low), looks.iter().map(|look| look.high))
                .with_color(BLUE)
                .with_opacity(0.2),
        ),
        Plot::Line(
            LinePlot::new()
                .with_data(looks.iter().map(|look| (look.pairs as f64, look.mean)))
                .with_color(BLUE)
                .with_stroke_width(2.0)
                .with_legend("mean difference"),
        ),
        Plot::Line(
            LinePlot::new()
                .with_data([(first, margin), (last, margin)])
                .with_color(RED)
                .with_dashed()
                .with_legend("margin"),
        ),
    ];
    let layout = Layout::auto_from_plots(&plots)
        .with_title("Interval at every look")
        .with_x_label("pairs")
        .with_y_label("left less right");
    Some(fitting(&drawn(plots, layout), "The interval of the mean difference over the number of pairs"))
}

/// The interval of each slice; `None` where there is none.
pub fn slices(summary: &Summary) -> Option<String> {
    if summary.slices.is_empty() {
        return None;
    }
    let mut forest = ForestPlot::new().with_color(BLUE).with_null_value(-summary.question.margin);
    for found in summary.slices.iter().take(MOST) {
        let finding = &found.finding;
        let mean = finding.mean.unwrap_or_default();
        let name = format!("{} ({})", found.slice, finding.pairs);
        forest = forest.with_row(name, mean, finding.interval.low, finding.interval.high);
    }
    let plots = vec![Plot::Forest(forest)];
    let layout = Layout::auto_from_plots(&plots)
        .with_title("Slices; the dashed line is the margin")
        .with_x_label("left less right");
    Some(fitting(&drawn(plots, layout), "The interval of each slice beside the margin"))
}

/// The picture with a name for those who do not see it, and with a frame of its own, so that a narrow page makes it smaller
/// and cuts nothing off.
fn fitting(svg: &str, name: &str) -> String {
    let size = |key: &str| {
        let (_, rest) = svg.split_once(&format!(" {key}=\""))?;
        rest.split_once('"')?.0.parse::<f64>().ok()
    };
    let frame = match (svg.contains("viewBox"), size("width"), size("height")) {
        (false, Some(width), Some(height)) => format!(" viewBox=\"0 0 {width} {height}\""),
        _ => String::new(),
    };
    svg.replacen("<svg", &format!("<svg role=\"img\" aria-label=\"{name}\"{frame}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Judged, Question, Slice};

    #[test]
    fn pictures_shrink_with_their_page_and_have_a_name() {
        let slices = |n: usize| vec![Slice { by: "kind".into(), value: format!("a&b{}", n % 2) }];
        let pairs: Vec<Judged> = (0..60).map(|n| Judged { difference: 0.0, slices: slices(n) }).collect();
        let summary = Summary::of(Question { margin: 0.05, error: 0.05 }, &pairs, None);
        for picture in [course(&summary).unwrap(), super::slices(&summary).unwrap()] {
            assert!(picture.contains("viewBox=\"0 0 ") && picture.contains("aria-label"), "{}", &picture[..300]);
            assert!(!picture.contains("a&b"), "names are escaped");
        }
        let nothing = Summary::of(summary.question, &[], None);
        assert!(course(&nothing).is_none() && super::slices(&nothing).is_none());
    }
}
