//! Pictures of figures: the reliability diagram and the cost-quality curve, as SVG and as PNG.

use super::metrics::{Figures, Scored, curve, reliability as bins};
use kuva::backend::png::PngBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::LinePlot;
use kuva::plot::scatter::ScatterPlot;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;

/// Colours that stay apart in print and for most eyes (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Most curves in one picture.
const MOST: usize = 7;

/// A picture in both forms.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Scalable, with its font inside.
    pub svg: String,
    /// Pixels.
    pub png: Vec<u8>,
}

/// Why a picture was not drawn.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct PlotError(String);

/// Mean score against mean need in ten bins; a calibrated head lies on the diagonal.
///
/// # Errors
/// The pixels cannot be encoded.
pub fn reliability(rows: &[Scored]) -> Result<Picture, PlotError> {
    let bins = bins(rows);
    let largest = bins.iter().map(|bin| bin.n).max().unwrap_or(1).max(1) as f64;
    let points = || bins.iter().map(|bin| (bin.score, bin.need));
    let draw = || {
        let plots = vec![
            Plot::Line(
                LinePlot::new()
                    .with_data([(0.0, 0.0), (1.0, 1.0)])
                    .with_color("#999999")
                    .with_dashed()
                    .with_legend("calibrated"),
            ),
            Plot::Line(LinePlot::new().with_data(points()).with_color(COLOURS[0]).with_legend("measured")),
            Plot::Scatter(
                ScatterPlot::new()
                    .with_data(points())
                    .with_sizes(bins.iter().map(|bin| 3.0 + 7.0 * (bin.n as f64 / largest).sqrt()))
                    .with_color(COLOURS[0]),
            ),
        ];
        let layout = Layout::auto_from_plots(&plots)
            .with_title(format!("Reliability, {} prompts, ECE {:.3}", rows.len(), Figures::of(rows).ece))
            .with_x_label("need as scored")
            .with_y_label("need as measured");
        (plots, layout)
    };
    picture(draw)
}

/// Mean quality against the share of strong calls, for each set of prompts; a straight line is chance.
///
/// # Errors
/// The pixels cannot be encoded.
pub fn cost_quality(sets: &[(String, Vec<Scored>)]) -> Result<Picture, PlotError> {
    let curves: Vec<(String, Vec<(f64, f64)>)> = sets
        .iter()
        .take(MOST)
        .map(|(name, rows)| (format!("{name}, APGR {:.3}", Figures::of(rows).apgr), thinned(curve(rows))))
        .collect();
    let draw = || {
        let mut plots = Vec::new();
        for ((name, points), colour) in curves.iter().zip(COLOURS) {
            plots.push(Plot::Line(
                LinePlot::new().with_data(points.clone()).with_color(colour).with_stroke_width(2.0).with_legend(name),
            ));
            let ends: Vec<(f64, f64)> = points.first().into_iter().chain(points.last()).copied().collect();
            plots.push(Plot::Line(
                LinePlot::new().with_data(ends).with_color(colour).with_stroke_width(0.7).with_dashed(),
            ));
        }
        let layout = Layout::auto_from_plots(&plots)
            .with_title("Quality for what is paid")
            .with_x_label("share of strong calls")
            .with_y_label("mean quality");
        (plots, layout)
    };
    picture(draw)
}

/// At most some 200 points: a picture shows no more.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(200).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last).map(|(_, point)| point).collect()
}

/// A picture that scales, in the font of its page.
pub(crate) fn drawn(plots: Vec<Plot>, layout: Layout) -> String {
    SvgBackend::default().with_embedded_font(false).render_scene(&render_multiple(plots, layout))
}

fn picture(draw: impl Fn() -> (Vec<Plot>, Layout)) -> Result<Picture, PlotError> {
    let (plots, layout) = draw();
    let scene = render_multiple(plots, layout);
    let svg = SvgBackend::default().with_embedded_font(true).render_scene(&scene);
    let png = PngBackend::new().with_scale(2.0).render_scene(&scene).map_err(PlotError)?;
    Ok(Picture { svg, png })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pictures_come_in_both_forms() {
        let row = |n: u32| Scored {
            score: f64::from(n % 10) / 10.0,
            weak: f64::from(n % 2),
            strong: 1.0,
            need: f64::from(1 - n % 2),
            weight: 1.0,
        };
        let rows: Vec<Scored> = (0..200).map(row).collect();
        for picture in [reliability(&rows).unwrap(), cost_quality(&[("all".into(), rows.clone())]).unwrap()] {
            assert!(picture.svg.starts_with("<svg") || picture.svg.contains("<svg"));
            assert_eq!(&picture.png[1..4], b"PNG");
        }
    }
}
