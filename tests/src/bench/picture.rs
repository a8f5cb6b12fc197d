//! Figures of a benchmark as pictures that scale.

use kuva::backend::svg::SvgBackend;
use kuva::plot::BarPlot;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;

/// Bars side by side, each with its value in its name.
pub fn bars(title: &str, unit: &str, values: impl Iterator<Item = (String, f64)>) -> String {
    let mut plot = BarPlot::new().with_color("#0072b2").with_horizontal(true);
    for (name, value) in values {
        let shown = if value < 10.0 { format!("{value:.2}") } else { super::machine::thousands(value) };
        plot = plot.with_bar(format!("{name}: {shown}"), value);
    }
    let plots = vec![Plot::Bar(plot)];
    let layout = Layout::auto_from_plots(&plots).with_title(title).with_x_label(unit).with_width(900.0);
    SvgBackend::default().with_embedded_font(false).render_scene(&render_multiple(plots, layout))
}
